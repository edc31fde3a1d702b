"""Whether a block is a sequence by its form: a procedure, state handed on, parts of a proof, a talk
or a line of thought cut at its colons. Each of such steps needs the one before, whatever its words.
"""

import re

from pdata.rules.blocks.labels import Kind
from pdata.rules.blocks.steps import Block
from pdata.rules.dependence.formulas import finds_rewriting, formulas_of
from pdata.rules.dependence.procedures import is_procedure, is_verb
from pdata.rules.dependence.states import find_state
from pdata.rules.dependence.titles import strip_counter
from pdata.rules.prompt import Prompt

# what later parts of a proof use, said or not
_PROVES = re.compile(
    r"[\W_]*(?:\d{1,2}[.)]\W*)?(?:proof of (?:the )?)?"
    r"(?:lemma|claim|theorem|proposition|corollary|fact|observation|引理|定理|推论|命题)\s*"
    r"(?:\(?(?:\d+|[A-Z]\b|[ivx]+\b|[一二三四五])|[.:：])",
    re.IGNORECASE,
)
# titles that are a line of thought cut at its colons: "Dividing by 2, we get:"
_NARRATES = re.compile(
    r"\W*(?:first|next|now|then|so|thus|hence|therefore|since|because|finally|using|substituting|"
    r"taking|solving|simplifying|multiplying|dividing|adding|subtracting|combining|applying|"
    r"expanding|setting|rearranging|let|let's|we|to|from|by|after|for|if|this|that|it|which|"
    r"plugging|and|but|here|looking|wait|okay|ok|hmm|well|alternatively|maybe|perhaps|squaring|"
    r"factoring|rewriting|similarly|also|recall|consider|note|given)\b|"
    r"\W*(?:首先|然后|接着|所以|因此|因为|由|根据|代入|设|令|即|则|又)|"
    r".*\b(?:we (?:have|get|can|need|find|know|want|obtain)|is|are|becomes?|gives?|be)\W*$|"
    r".*(?:可得|得到|得|为|是|有)[:：]\s*$",
    re.IGNORECASE,
)
# of these, one is enough: no list has it between its titles
_GOES_ON = re.compile(
    r"\W*(?:so|thus|hence|therefore|then|next|now|wait|okay|ok|hmm|first|let's|let us|let me|we|"
    r"where|as a result|finally|substituting|simplifying|looking|breaking|solving|taking|dividing|"
    r"multiplying|rearranging|considering|plugging|recall|note)\b|"
    r".*\b(?:is|are|be|we (?:have|get|need)|becomes?|gives?|as follows|follow(?:s|ing)?)\W*$|"
    r"\W*(?:因此|所以|然后|接着|接下来|最后|故|于是|代入|其中|根据(?:题意|已知|条件|上述|以上))|"
    r".*(?:如下|可得|得到|可知)[:：]\W*$",
    re.IGNORECASE,
)
# the last item of a list of numbers that is worked out from the others
_TOTALS = re.compile(
    r"(?:the )?(?:grand )?(?:total|sum|overall|altogether|combined)\b|合计|总计|总共", re.I
)
# a title of what tells of the code or the answer before it
_EXPLAINS = re.compile(
    r"\W*(?:\d+\W+)?(?:explanation|how it works|output|(?:example |sample )?usage|"
    r"(?:expected )?result|解释|说明|解析|代码说明|输出|运行结果)\W*$",
    re.IGNORECASE,
)
# "First, we need to find ...": what is to be done, one thing after the other
_LOOKS = "(?:consider|look|think|keep|remember|require|be)"  # at sides of a thing, in any order
_NO_ACT = f"(?:need|can|could|may|might|are|were|had|do|don't|{_LOOKS})"
_PLANS = re.compile(
    r"[\s*_]*(?:first|second|third|fourth|fifth|sixth|next|finally|lastly)(?:ly)?,? "
    r"(?:[^,.\n]{1,60}, )?(?:we|you|i|one|let's|let us)(?:'ll| will| would| must| should)?"
    rf"(?: (?:need|have|want) to\b(?! {_LOOKS})| (?:first |then |now )?(?!{_NO_ACT}\b)[a-z]+\b)|"
    r"[\s*_]*(?:首先|其次|再次|然后|接着|最后)[，,]?(?:我们|你|您)(?:需要|要|应该先|必须)"
    r"(?!考虑|关注|注意|看)",
    re.IGNORECASE,
)
# "To isolate x, subtract 3 from both sides"
_TRANSFORMS = re.compile(
    r"[^.。\n]{0,120}\b(?:both sides|each side) (?:of|by|to|from|we|gives?|yields?)\b|"
    r"[^。\n]{0,40}(?:等式|方程)两边",
    re.IGNORECASE,
)
# "From clauses 1 and 4, we can infer": such steps are a chain, wherever their premises stand
_PREMISE = (
    r"(?:(?:clause|premise|statement|fact|rule|line|step|equation|condition|axiom|formula|hypothes|"
    r"assumption|proposition)\w*|\(\d{1,2}\)|[①-⑳\"“])"
)
_WORDS = r"[^-+*/×=.,\n]"  # no calculation
_DEDUCES = re.compile(
    rf"(?:from|by|combining|using|with|given)\s{_WORDS}{{0,40}}?{_PREMISE}{_WORDS}{{0,40}}?"
    rf"(?:\band\b|&|\bwith\b){_WORDS}{{1,60}}?,? ?\b(?:(?:we|one|you|i)(?: can| may|'ll| will)?"
    r"(?: also| now| then| further)? (?:infer|deduce|obtain|get|conclude|derive|know|have)|"
    r"it follows)\b|"
    r"resolv(?:e|ing)\b[^.\n]{0,40}\b(?:and|with)\b|"
    r"(?:由|从|根据|结合|综合)[^，。：:\n]{0,10}(?:[(（]\d{1,2}[)）]|[①-⑳“]|前提|条件|子句|规则)"
    r"[^，。：:\n]{0,20}[和与、及][^。：:\n]{1,24}?"
    r"(?:推|得|导)[出到知]",
    re.IGNORECASE,
)
# a question for the cause of one thing, and an answer that tells it from the beginning
_WHY = re.compile(r"\bwhy (?:is|are|does|do|did|was|were|the|can)\b|为什么", re.IGNORECASE)
_THEREFORE = re.compile(r"\b(?:therefore|thus|hence|as a result)\b|因此|所以|于是", re.IGNORECASE)
_EXPLANATION = re.compile(
    r"\b(?:explanation|how (?:it|this) (?:works|happens)|breakdown)\b[^.\n]{0,60}[:：]\W*$|"
    r"(?:解释|原理)[^。\n]{0,8}[:：]\W*$",
    re.IGNORECASE,
)
# "Second, it would need to ...": what would have to hold next, given what came first
_SUPPOSES = re.compile(
    r"[\s*_]*(?:first|second|third|fourth|fifth|finally|lastly)(?:ly)?,[^\n]*"
    r"\bwould (?:also |then )?(?:need|have) to\b|"
    r"[\s*_]*(?:首先|其次|再次|最后|第[一二三四五])[，,][^\n]*(?:就得|必须先|需要先)",
    re.IGNORECASE,
)
# of the sections of a plan or a report, those that speak of what the others hold
_LATER_SECTION = re.compile(
    r"[\s#*_\d.]*(?:deliverables?|timeline|schedule|budget|assessment|evaluation|results|findings|"
    r"discussion|(?:expected )?outcomes?|conclusions?|next steps)\b|"
    r"[\s#*_\d.一二三四五六、]*(?:未来|问题与|存在的?问题|改进|成果|进度|预算|评估|预期|结论)",
    re.IGNORECASE,
)
# what someone writes of their own work or life: later sections go on from the first one
_OWN_REPORT = re.compile(
    r"\b(?:personal statement|statement of purpose|(?:cover|motivation) letter|self[- ](?:review|"
    r"evaluation|assessment|introduction)|(?:work|internship|progress|annual|project|field) "
    r"(?:summary|report)|report (?:on|about) (?:my|our|your)|diary|memoir|reflection|speech)\b|"
    r"工作总结|总结报告|汇报|述职|实习报告|实践报告|心得|自我(?:评价|介绍|鉴定)|个人陈述|日记|"
    r"演讲稿|发言稿|申请书",
    re.IGNORECASE,
)
_OPENS_REPORT = re.compile(
    r"[\s#*_\d.、一(（)）]*(?:introduction|background|overview|about me|my role|role and|summary|"
    r"引言|前言|导言|开头|开场|背景|概[述况]|简介|工作背景|工作概|基本情况|个人职责|岗位职责|自我介绍)",
    re.IGNORECASE,
)
_FIRST_PERSON = re.compile(r"\b(?:I|my|our|we)\b|我|本人|笔者")
# steps that stand side by side, whatever they work out
_APART = re.compile(
    r"\W*(?:(?:case|method|option|way|approach|solution|if|when|for|part|example)\b|"
    r"情况|情形|方法|解法|当|若|如果|例)",
    re.IGNORECASE,
)
_ASKED = 300  # characters, in which a prompt asks and a lead announces
# a word that starts a sentence, which the prompt happens to have
_NO_NAME = re.compile(r"(?:We|It|This|Then|Thus|So|Now|Hence|Therefore|Since)$")
_TITLED_KINDS = (Kind.headed, Kind.heading, Kind.bold)
_COLON_KINDS = (Kind.headed, Kind.titled)
_STORY = re.compile(
    r"\b(?:story|tale|fable|novel|scene|fan ?fiction)\b|故事|小说|寓言", re.IGNORECASE
)


def find_sequence(block: Block, prompt: Prompt) -> str | None:
    """What makes `block` a sequence, None where nothing does."""
    texts = [step.text for step in block.steps]
    own_items = _own_items(block, prompt)
    if not own_items and all(map(_PROVES.match, texts)):
        return "its parts are those of a proof"
    if block.kind in _COLON_KINDS and _is_narration(block, own_items):
        return "its steps are a line of thought"
    labels = [step.label.text for step in block.steps]
    if block.kind is Kind.named and any(map(_NO_NAME.match, labels)):
        return "its steps are a line of thought"
    if block.kind in _TITLED_KINDS and any(map(_EXPLAINS.match, labels[1:])):
        return "a step explains one before it"
    if block.kind is Kind.named and _STORY.search(prompt.text):
        return "its steps tell a story"
    if not own_items and _TOTALS.match(strip_counter(texts[-1])) and re.search(r"\d", texts[-1]):
        return "its last step is a total"
    if block.kind is Kind.counted and sum(map(_is_plan, texts)) >= len(texts) / 2:
        return "its steps are a plan"
    if sum(bool(_DEDUCES.match(strip_counter(text))) for text in texts) > len(texts) / 2:
        return "its steps are deductions"
    if block.kind is Kind.counted and not own_items and _rewrites(texts, block, prompt):
        return "its steps transform an equation"
    if all(map(_SUPPOSES.match, texts)):
        return "its steps are a line of thought"
    if block.kind in _TITLED_KINDS and sum(map(_is_later_section, labels)) > 1:
        return "its sections are those of one report"
    if _is_own_report(texts, block, prompt):
        return "its sections are those of one report"
    if any(_TRANSFORMS.match(strip_counter(text)) for text in texts[1:]):
        return "its steps transform an equation"
    if (
        any(map(_THEREFORE.search, texts[1:]))
        and _WHY.search(prompt.text[-_ASKED:])
        and _EXPLANATION.search(block.lead[-_ASKED:])
    ):
        return "its steps explain how one thing comes about"
    if state := find_state(texts, prompt.text, block.lead):
        return state
    return "its steps are a procedure" if is_procedure(block, prompt, own_items) else None


def _rewrites(texts: list[str], block: Block, prompt: Prompt) -> bool:
    """Whether steps, none of them a case or a part (1), write an equation of the prompt anew."""
    if any(
        re.match(r"\s*[(（]", t) or _APART.match(t) for t in (*texts, *map(strip_counter, texts))
    ):
        return False
    return finds_rewriting([formulas_of(t) for t in texts], f"{prompt.text}\n{block.lead}")


def _is_later_section(label: str) -> bool:
    return _LATER_SECTION.match(label) is not None


def _is_own_report(texts: list[str], block: Block, prompt: Prompt) -> bool:
    """Whether the first section brings in who writes, and the others go on from it; where the lead
    or a longer prompt tells it, each may stand alone."""
    if not (_OWN_REPORT.search(prompt.text) and _OPENS_REPORT.match(texts[0])):
        return False
    told = _FIRST_PERSON.search(block.lead)
    return not told and sum(bool(_FIRST_PERSON.search(text)) for text in texts) > len(texts) / 2


def _is_plan(text: str) -> bool:
    return _PLANS.match(strip_counter(text)) is not None


def _own_items(block: Block, prompt: Prompt) -> bool:
    """Whether every step is about an item of its own that the prompt names."""
    items = [step.label.subject or _named_first(step.text, prompt) for step in block.steps]
    return all(items) and len(set(items)) == len(items)


def _named_first(text: str, prompt: Prompt) -> str:
    """The name or number of the prompt that a step opens with."""
    body = strip_counter(text)[:40]
    words = re.findall(r"[\w'’-]+", body)[:4]
    words = words[1:] if words and is_verb(words[0]) else words  # "Split" is no name
    named = (w for w in words if (w[0].isupper() or w[0].isdigit()) and prompt.knows(w))
    title = re.match(r"[\w'’-]+(?=:)", body)
    return next(named, title[0] if title and prompt.knows(title[0]) else "")


def _is_narration(block: Block, own_items: bool) -> bool:
    """Whether titles are parts of one line of thought."""
    labels = [step.label.text for step in block.steps]
    later = labels if block.kind is Kind.headed else labels[1:]
    narrate = sum(bool(_NARRATES.match(label)) for label in labels) > len(labels) / 2
    return any(map(_GOES_ON.match, later)) or (narrate and not own_items)
