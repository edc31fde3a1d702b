"""Whether a block tells a procedure: steps that are carried out one after another, such as those of
a recipe, an installation or a calculation.

Told from what announces them, from how they are labelled, and from the verbs that they open with.
"""

import re

from pdata.rules.blocks.steps import Block, Step
from pdata.rules.dependence.titles import split_title, strip_counter
from pdata.rules.prompt import Prompt

_CAN_TAKE = r"(?:that )?(?:you|we|one|i|they) (?:can|could|might|should) take"
# what announces one thing after the other, in the line before the block
_STEPS = re.compile(
    r"(?<!their )(?<!its )"
    r"\b(?:these|the|following|general|basic|necessary|main|key|detailed|simple|required|\d+|several|"
    rf"few) (?:\w+ )?(?:steps|stages|phases)\b(?! {_CAN_TAKE})|"
    r"\bsteps (?:to|for|involved|required|needed|below|are)\b|"
    rf"\bsteps\b(?! {_CAN_TAKE})[^.\n]{{0,50}}[:：]\W*$|"
    r"\bstep[- ]by[- ]step (?!manner)\w+|\bwalk you through\b|\bfollow this guide\b|"
    r"\b(?:works?|proceeds?|operates|processes [^.\n]{1,30}) as follows\b|"
    r"\bhow (?!much|many|they|these|each|both|different)"
    # a survey of what has come about is no recipe
    r"(?![^.\n]{0,40} (?:came to|has|have|evolved|shaped|contributed)\b)[^.\n]{0,60}[:：]\W*$|"
    r"^\W*(?:\w+ )?(?:instructions|directions|steps|method|procedure|preparation|zubereitung|"
    r"anleitung|préparation|étapes|preparación|elaboración|preparazione|preparo)\W*$|"
    r"\b(?:instructions|(?<!for )directions|recipe|tutorial)\b[^.\n]{0,60}[:：]?\W*$|"
    r"\b(?:the|this|a|an|basic|general|complete|typical|\w+ing) (?:\w+ )?"
    r"(?:process|procedure|workflow|algorithm|pipeline)\b[^.\n]{0,60}[:：]\W*$|"
    # "companies and their stages" are companies
    r"(?<!及其)(?<!及其..)(?:步骤|流程|过程|工作原理|做法|教程|制作方法|操作方法|阶段|程序)[^。\n]{0,8}[:：]?\W*$",
    re.IGNORECASE,
)
# what announces things that stand side by side
_TIPS = re.compile(
    r"\b(?:tips|ways|ideas|suggestions|strategies|reasons|factors|examples|methods|benefits|options|"
    r"guidelines|practices|points|things|recommendations|techniques|approaches|features|types|"
    r"advantages|activities|possibilities|aspects|questions|measures|causes|effects|some steps|"
    rf"(?:steps|actions) {_CAN_TAKE})\b"
    # "tips on how to ..."
    r"(?: (?:on |for |of |about |as to )?how (?:(?!\bsteps?\b)[^.\n])*)?|"
    r"(?:一些|几[种个]|以下|下列|多种|各种|这些|[两三四五六七八九十\d][种个条点项大])[^。\n]{0,16}"
    r"(?:方法|方式|策略|技巧|措施|途径)|建议|最佳实践|因素|例子|原因|优点|特点|方面|可能性|要点",
    re.IGNORECASE,
)
_SAYS_STEPS = re.compile(r"\bsteps\b[^.\n]*[:：]\W*$|步骤[^。\n]*[:：]\W*$", re.IGNORECASE)
# a line that a list follows
_LISTS = re.compile(
    r"[:：]\W*$|\bhere(?:'s| is| are)\b|\bfollowing\b|\bsome\b|以下|如下", re.IGNORECASE
)
# prompts for a procedure
_HOW_TO = re.compile(
    r"\b(?:recipe|tutorial|step[- ]by[- ]step (?:guide|instructions?|process|procedure)|"
    r"(?:provide|give|write) (?:\w+ )?(?:instructions|directions|steps)|"
    r"instructions (?:for|to|on)|steps (?:to|for|of|in)|"
    r"(?:way(?: to)?|how (?:do|should|can|could|would|to|did)(?: (?:i|we|you|one))?) "
    r"(?:make|cook|bake|brew|assemble|install|build|prepare|fix|repair|replace|sew|knit|fold|"
    r"set ?up|configure|create|draw|solve|convert|connect|deploy|run|use|write|implement|add|"
    r"change|remove|clean|format|generate|"
    r"perform|tie|plant|calculate|publish|launch|register|host|back up|migrate))\b|"
    r"\b(?:guide|walk|talk) me through\b|"
    r"\b(?:routine|workout|directions|turn-by-turn)\b|"
    r"\bhow (?:does|do|did) [^?\n]{1,60} works?\b|"
    r"步骤|流程|教程|食谱|菜谱|怎么做|(?:如何|怎么|怎样)(?:制作|安装|创建|设置|申请|办理|注册|搭建)|(?:安装|使用|操作|制作)[^。\n]{0,12}指南",
    re.IGNORECASE,
)
_HOW_TO_ANY = re.compile(
    r"\bhow (?:do|should|can|could|would|to)(?: (?:i|we|you|one))? \w+", re.IGNORECASE
)
_ASKS_ADVICE = re.compile(r"\b(?:advice|tips|suggestions|ideas)\b|建议|技巧", re.IGNORECASE)
_ACTS = re.compile(r"[A-Z][a-z]+ (?:the|your|a|an|it|any|some|each)\b")  # "Dip the nib"
_ASKS_STEPS = re.compile(
    r"\b(?:what are|list|give|describe|outline|explain|write|provide|create)\b[^.?!\n]{0,20}"
    r"\b(?:steps|recipe|procedure|"
    r"step[- ]by[- ]step (?:guide|instructions?|process|procedure|plan))\b",
    re.IGNORECASE,
)
_PROMPT_END = 600  # characters, in which a prompt says what it asks for
# verbs that handle something: the next step takes it from there
_HANDLES = frozenset(
    """append assemble attach back-substitute bake beat bend blend boil bring brush calculate chill
    chop click close combine compile compute concatenate cook cool copy cover crack crush cut dice
    divide
    double-click download drag drain evaluate execute export extract factor fasten fill flip
    fold format fry garnish glue grate grease grill heat import initialise initialize insert
    install isolate iterate knead launch lift load log loop lower marinate mash melt mix
    multiply navigate open paste peel place plug pour preheat press print proceed push reboot
    refrigerate remove rename repeat replace restart return reverse rewrite right-click rinse
    roast roll rotate round run saute sauté save scrape screw select serve shake sift simmer
    simplify slice soak solve sort split spread sprinkle squeeze stir strain strip submit
    substitute subtract sum swap tighten top toss transfer turn type unscrew upload whisk wipe
    wrap""".split()
)
# a prompt that asks what code gives for an input
_RUN = re.compile(
    r"\bassert \w+\(|\b(?:what|predict|give|determine|find|trace|evaluate|tell)\b[^\n]{0,40}"
    r"\b(?:outputs?|prints?|printed|returns?|returned|value of)\b|"
    r"输出(?:是|什么|结果)|(?:运行|执行)结果",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"\bdef \w+\(|\bfunction\b[^\n]*\{|\bfor \w+ in |\bprint\w*\(|=>|;\n|"
    r"\b\w+\([^()\n]*\) \{|^\w+ = ",
    re.MULTILINE,
)
# what a run does with one value, from step to step
_RUNS = frozenset(
    """add append apply assign build capitalize combine concatenate convert create decrement delete
    divide encode extend extract filter get increment index insert iterate join loop lowercase map
    merge multiply output pop prepend print push put remove replace return reverse rotate round set
    slice sort split store strip subtract sum swap take transform trim truncate turn update
    uppercase""".split()
)
# "The list is sorted"
_IS_DONE = re.compile(r"(?:The|This|Its|A|Each) (?:\w+ ){1,4}(?:is|are|gets?) (?:\w+ly )?(\w+)")
# what is done with what the steps before have given
_CONCLUDES = frozenset("calculate combine compute convert evaluate simplify substitute".split())
# verbs of looks at one thing each, as in a search for a fault
_CHECKS = frozenset("check examine inspect look monitor review test verify".split())
# verbs of procedures and of advice alike
_WORKS = frozenset(
    """accept access add adjust allow analyse analyze apply arrange ask assign begin breathe
    build change check choose clean clear clone collect compare configure connect consider
    continue convert count create decide define deploy derive determine develop dip draw drive
    end enjoy enter establish estimate examine exhale exit expand express find finish fit
    follow gather generate get give grant hang head hold identify implement inhale integrate
    join label let lie list locate look make measure merge note notify obtain pass perform
    plan position prepare process prompt provide pull put raise read receive record request
    research respond review scan search secure set setup share show sign sit stand start stop
    store stretch take tap test train translate try update use verify visit wait
    wash write""".split()
)
_HANDLES_CN = re.compile(
    r"(?:首先|然后|接着|最后|先|再|接下来)?[，,]?(?:[在从][^，。：:\n]{1,16}(?:中|里|上)?[，,]?)?"
    r"(?:将|把|打开|点击|单击|双击|右键|拖动|拖放|勾选|找到|按下|启动|关闭|切换|安装|下载|运行|"
    r"输入|计算|求|代入|加入|倒入|放入|搅拌|切|煮|炒|烤|加热|取出|确定|选择|创建|新建|导入|设置|配置|"
    r"保存|填写|缴纳|携带|带上|领取|执行|返回|列出|设|连接|测试|验证|登录|重启|部署|编译|提交|"
    # "by way of a full disk, test the alarm"
    r"(?:通过|使用|用|利用)[^，。：:\n]{1,24}(?:来|以)?(?:测试|验证|连接|登录|启动|安装|部署))"
)
# what may stand before the verb: "In a bowl, mix", "It then splits"
_BEFORE_VERB = re.compile(
    r"[a-z]+ly,? |"
    r"(?:in|into|on|to|with|using|from) (?:a|an|the|your)\b[^,.\n]{0,50}, ?(?:[a-z]+ly )?|"
    r"(?:it|we|you|(?:the )?(?:function|code|program|loop|method|script|algorithm|user|website|"
    r"server|client|browser|system|app)) "
    r"(?:then |also |first |finally |now |next )?",
    re.IGNORECASE,
)
_STEP = re.compile(
    r"[\W_]*(?:step|stage|phase) \W?\d|[\W_]*(?:步骤|阶段)\s*[\d一二三四五]|"
    r"[\W_]*第[\d一二三四五六七八九十]+步",
    re.IGNORECASE,
)
# a line that is a title
_HEAD = re.compile(r"\W*[^\W\d][^.,;。，；\n]{1,40}(?:\*\*|[:：])\W*|#+ [^\n]{1,40}")
# what a list of parts and the work on them are headed with
_PARTS = re.compile(
    r"\W*(?:\w+ )?(?:ingredients|materials|tools|equipment|prerequisites|requirements|supplies|"
    r"you(?:'ll| will) need|what you need)\b|.{0,4}(?:食材|材料|用料|配料|原料|工具)",
    re.IGNORECASE,
)
_WORK = re.compile(
    r"\W*(?:\w+ )?(?:instructions|directions|steps|method|procedure|preparation|assembly|how to)\b|"
    r".{0,4}(?:步骤|做法|制作|方法)",
    re.IGNORECASE,
)


def is_procedure(block: Block, prompt: Prompt, own_items: bool) -> bool:
    """Whether a block is one; `own_items`: every step is about an item that the prompt names."""
    labels = [step.label.text for step in block.steps]
    heads = [line for line in block.lead.splitlines() if _HEAD.fullmatch(line)]
    if any(map(_PARTS.match, [*labels, *heads])) and any(map(_WORK.match, labels)):
        return True
    if own_items:
        return False
    texts = [step.text for step in block.steps]
    verbs = [_verb(text) for text in texts]
    told = [_told_verb(step) for step in block.steps]
    handles = sum(verb in _HANDLES for verb in verbs)
    works = handles + sum(verb in _WORKS for verb in verbs)
    works_told = [verb for verb in told if verb in _HANDLES or verb in _WORKS]
    # where each step does the same, it does so to a thing of its own; "put" is any verb of Chinese
    all_works = works if len({*works_told} - {"put"}) == 1 else len(works_told)
    n = len(verbs)
    if (
        _RUN.search(prompt.text)
        and _CODE.search(prompt.text)
        and _is_run([_passive(text) or verb for text, verb in zip(texts, verbs, strict=True)])
    ):
        return True
    if sum(bool(_STEP.match(text)) for text in texts) > n / 2:
        titled = all(split_title(step)[0] for step in block.steps)
        if not titled or all_works > n / 3:
            return True
    # "Connect the alarm", "Test it", "Verify it" is none
    if sum(verb in _CHECKS for verb in verbs) >= 2 / 3 * n and (
        verbs[0] in _CHECKS or verbs[0] not in _HANDLES | _WORKS
    ):
        return False
    announced = _announced(block.lead)
    if announced is not None:
        return announced or (handles > n / 2 and _SAYS_STEPS.search(block.lead[-200:]) is not None)
    asked = prompt.text[-_PROMPT_END:]
    if _ASKS_STEPS.search(asked):
        return True
    if _ASKS_ADVICE.search(asked):
        return handles > n / 2
    if _HOW_TO_ANY.search(asked):
        acts = (bool(_ACTS.match(strip_counter(text))) for text in texts)
        done = sum(act or v in _HANDLES or v in _WORKS for act, v in zip(acts, verbs, strict=True))
        if done >= 2 / 3 * n:
            return True
    return (
        handles > n / 2
        or (n > 2 and verbs[-1] in _CONCLUDES and verbs.count(verbs[-1]) == 1)
        or (all_works >= n / 2 if _HOW_TO.search(asked) else works >= n)
        or (works >= 2 / 3 * n and verbs[-1] in _HANDLES)
    )


def _is_run(verbs: list[str]) -> bool:
    """Whether steps are those of one run of code: they do different things, to one value; where all
    do the same, each may be about an input of its own."""
    forms = [{verb, verb[:-1], verb[:-2]} & _RUNS for verb in verbs]
    return len(set().union(*forms)) > 1 and sum(map(bool, forms)) > 1


def _passive(text: str) -> str:
    """What is done to a thing, as in "The list is sorted"."""
    match = _IS_DONE.match(strip_counter(text))
    return match[1] if match else ""


def _announced(lead: str) -> bool | None:
    """Whether the lead announces a procedure, False where it announces things side by side, such as
    tips; what it says last holds."""
    line = lead.strip().rsplit("\n", 1)[-1][-200:]
    steps, tips = _last(_STEPS, line), _last(_TIPS, line)
    if not _LISTS.search(line):
        tips = -1  # it only speaks of them
    return None if steps == tips == -1 else steps > tips


def _last(pattern: re.Pattern[str], text: str) -> int:
    """Where the last match ends, -1 where there is none."""
    return max((match.end() for match in pattern.finditer(text)), default=-1)


def _told_verb(step: Step) -> str:
    """The verb of the work that a step opens with, or else its text under a title."""
    verb, (title, told) = _verb(step.text), split_title(step)
    known = verb in _HANDLES or verb in _WORKS or not title
    return verb if known else _verb(told.lstrip(":： "))


def is_verb(word: str) -> bool:
    """Whether a word is a verb of such work."""
    return word.lower() in _HANDLES or word.lower() in _WORKS


def _verb(text: str) -> str:
    """The verb of the work that a step may open with, in lower case and in the imperative."""
    body = strip_counter(text).lstrip(' *_`"“')
    if _HANDLES_CN.match(body):
        return "put"
    before = _BEFORE_VERB.match(body)
    word = re.match(r"[A-Za-z-]+", body[before.end() :] if before else body)
    if not word:
        return ""
    verb = word[0].lower()
    known = (v for v in (verb, verb[:-1], verb[:-2]) if v in _HANDLES or v in _WORKS)
    # "Replaces" tells what a function does
    return next(known, verb) if verb.endswith("s") else verb
