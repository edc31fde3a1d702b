"""Which words may be the title of a step: not a sentence, not a conclusion, not a phase of a work.

Knows one title at a time and no prompt.
"""

import re

MAX_WORDS = 8
# titles of a conclusion, not of a step
_CLOSINGS = frozenset(
    "answer answers name conclusion result results total summary note notes question reason "
    "reasoning output solution therefore".split()
)
# a title that names a phase of one line of thought, which the next phase builds on
_PHASE = re.compile(
    r"\b(?:set(?:ting)?[ -]?up|understand|given|solv|calculat|comput|verif|check|plan|deriv|"
    r"simplif|substitut|approach$|method$|proof|step|first|then|next|prepar|implement|iterat)|"
    r"求解|计算|验证|步骤|推导|代入|准备|第.步",
    re.IGNORECASE,
)
# a part of a page that another part makes use of: what to take and what to do with it, code and how
# it is called, an answer and why
_PART = re.compile(
    r"(?:(?:the|an?|key|main|basic|step[- ]by[- ]step|required|example|sample|brief) )*"
    r"(?:ingredients?|instructions?|directions?|preparation|procedures?|methods?|materials?|"
    r"equipment|supplies|zutaten|zubereitung|anleitung|ingrédients|préparation|étapes|ingredientes|"
    r"preparación|elaboración|ingredienti|preparazione|preparo|what you(?:['’]ll| will)? need|"
    r"how to \w+|explanations?|rationale|justification|examples?|usage|where|inputs?|outputs?|"
    r"code|steps?|definitions?|proof|thought|"
    r"correct \w+|options?|here|finally|subject|dear \w+|fade (?:in|out))(?: usage)?\s*$|"
    r"(?:所需)?(?:材料|配料|食材|原料|用料|做法|步骤|制作方法|制作步骤|操作步骤|烹饪步骤|答案?(?:类型)?|解答?|"
    r"解析|解释|说明|分析|备注|示例|例如|输入|输出|其中|题目|要点)\s*$",
    re.IGNORECASE,
)
_THINKS = re.compile(
    r"\W*(?:alternatively|perhaps|maybe|wait|hmm+|okay|however)\b|另外|或者|也许", re.IGNORECASE
)
# words that make a line with a colon a sentence, which tells what comes next
_TELLS = re.compile(
    r"\b(?:is|are|was|were|has|have|had|gets?|gives?|yields?|becomes?|follows?|following|follow|"
    r"below|let|lets|we|i|you|us|our|your|their|its|it|this|these|that|here|can|could|will|would|should|must|"
    r"may|might|do|does|did|say|says|said|using|so|if|then|thus|hence|therefore|now|next|finally|"
    r"because|since|alternatively|also|both sides|subtract|multiply|divide|factor|expand|isolate|"
    r"plug|rewrite|distribute|evaluate|convert)\b|"
    r"(?:ing|['’]s) .*\b(?:by|to|into|from)\b|^(?:to|for|as|in terms of) |"
    r"可以|可得|得到|得出|如下|以下|下面|下列|我们|您|你|这|那|则|即|因为|所以|因此|根据|由于|首先|其次|"
    r"然后|接着|最后|将|把|解得|求|为$|是$|有$|到$|出$",
    re.IGNORECASE,
)
_NO_TITLE = re.compile(r"[,;.!?=<>\\_{}\[\]\"“”，。；！？、\ue000-\uf8ff]|\(\)|\w\(")


def closes(title: str) -> bool:
    """Whether a title announces the conclusion."""
    words = re.findall(r"\w+", title.lower())
    return not words or words[-1] in _CLOSINGS


def is_phase(title: str) -> bool:
    """Whether a title names a phase of one line of thought."""
    return bool(_PHASE.search(title))


def thinks(title: str) -> bool:
    """Whether a title is a thought that turns to something else."""
    return bool(_THINKS.match(title))


def is_part(title: str) -> bool:
    """Whether a title names a part of a page that another part makes use of."""
    return bool(_PART.match(title.strip(" *:：#")))


def is_title(line: str) -> bool:
    """Whether a line with its colon is a title, and not a sentence that leads on."""
    title = line.strip(" *:：\t")
    short = count_words(title) + len(re.findall(r"[一-鿿]", title)) / 2 <= MAX_WORDS
    return (
        short
        and not _NO_TITLE.search(title)
        and not _TELLS.search(title)
        and not (closes(title) or is_part(title) or is_phase(title))
    )


def is_short(title: str) -> bool:
    """Short enough for a topic; a word of Chinese is about two characters."""
    return count_words(title) + len(re.findall(r"[一-鿿]", title)) / 2 <= 2 * MAX_WORDS


def count_words(text: str) -> int:
    return len(re.findall(r"\w[\w'’.-]*", text))


def close_bold(line: str, text: str) -> str:
    """`text`, the start of `line`, up to the end of the bold type that it opens."""
    if text.count("**") % 2 == 0:
        return text
    end = re.match(r"[^*\n]*\*\*", line[len(text) :])
    return text + end[0] if end else text
