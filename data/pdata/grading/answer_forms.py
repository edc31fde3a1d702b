"""Spellings of one answer: plain text, the letters of options, numbers with units, yes and no.

Strips what is only dress: LaTeX, Markdown, quotes, brackets around one thing. Knows no traces.
"""

import re
from fractions import Fraction

_DRESS = (  # what a formula is dressed in, and what is left of it
    (r"\\d?boxed\{(.*)\}", r"\1"),
    (r"\\(?:text(?:bf|it|rm|tt)?|math(?:rm|bf|it|sf|tt)?|mbox|operatorname)\s*\{([^{}]*)\}", r"\1"),
    (r"\\[dt]frac", r"\\frac"),
    (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
    (r"(\d)\s*\\frac\s*\{(\d+)\}\s*\{(\d+)\}", r"\1 \2/\3"),  # a mixed number
    (r"\\frac\s*\{([\w.\\-]+)\}\s*\{([\w.\\]+)\}", r"\1/\2"),
    (r"\\frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}", r"(\1)/(\2)"),
    (r"\{,\}", ","),
    (r"\^\s*\{?\s*\\circ\s*\}?|\\degree|°", ""),
    (r"\\(?:left|right|big|Big|displaystyle)(?![a-zA-Z])|(?<!\\)\\[,!;: ]|\\?\$|\\[()\[\]]", ""),
    (r"\\(?:times|cdot)(?![a-zA-Z])|[×·]", "*"),
    (r"\\%", "%"),
    (r"\\([{}])", r"\1"),
    (r"\\pi(?![a-zA-Z])", "π"),
)
_EDGES = re.compile(r"""^[\s"'“”‘’*_`{}]+|[\s"'“”‘’*_`{}.,;:!?。，；：！？]+$""")
_FORM = re.compile(r"^(?:name|answer)\s*:\s*", re.IGNORECASE)
_PAIRS = {"(": ")", "[": "]"}
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x2212: "-", 0x2044: "/"}

_LETTERS = re.compile(r"[A-J](?:(?:\s*[,、&/和及]\s*|\s*,?\s+and\s+|)[A-J])*")
_OPTION = re.compile(
    r"(?:(?i:the\s+)?(?i:option|choice|answer)|选项?)?\s*"
    r"(?:[(\[]([A-J])[)\]]|([A-J])(?=\s*[).:、]|\s+[-–]\s|,\s+(?i:because|since|as|which)\b|\s*选?项|\s+(?i:is)\s+(?i:correct|right)|$))"
    r"\s*[).:、,]?\s*(?:[-–]\s)?(.*)",
    re.DOTALL,
)
_NUMBER = r"[-+]?(?:\d{1,3}(?:[, ]\d{3})+|\d+)?(?:\.\d+)?"
_VALUE = re.compile(
    rf"[€£¥]?\s*(?P<whole>{_NUMBER})(?:\s+(?P<top>\d+)/(?P<bottom>\d+)|/(?P<over>\d+(?:\.\d+)?))?"
    r"(?:\s*\*?\s*(?P<base>10)\s*\^\s*\{?(?P<power>[-+]?\d{1,3})\}?|e(?P<exp>[-+]?\d{1,3}))?"
    r"\s*(?P<unit>%|[^\W\d_](?:[^\d,;=+*^\\]*))?"
)
# words after a number that are no unit
_NO_UNIT = re.compile(
    r"\b(?:or|and|to|million|billion|trillion|thousand|hundred|dozen)\b|[万亿千百]", re.IGNORECASE
)
_TRUTH = {"yes": True, "true": True, "no": False, "false": False}


def undress(answer: str) -> str:
    """`answer` without what is only dress, in its own case."""
    text = answer.translate(_WIDE)
    for pattern, plain in _DRESS:
        text = re.sub(pattern, plain, text, flags=re.DOTALL)
    text = " ".join(text.split())
    before = None
    while text != before:
        before = text
        text = _FORM.sub("", _EDGES.sub("", text))
        text = _open_brackets(text)
    return text


def clean_answer(answer: str) -> str:
    """`answer` without case, dress, brackets around one thing, and closing punctuation."""
    text = undress(answer).casefold()
    return text.replace(",", "") if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", text) else text


def squash(answer: str) -> str:
    """A formula without blanks and braces."""
    return re.sub(r"[\s{}]", "", clean_answer(answer))


def read_option(answer: str) -> tuple[str, str]:
    """(the letters of options in order, what stands behind a single one); no letters if none."""
    text = undress(answer)
    if _LETTERS.fullmatch(text):
        return "".join(sorted(set(re.findall(r"[A-J]", text)))), ""
    found = _OPTION.fullmatch(text)
    return (found[1] or found[2], found[3]) if found else ("", text)


def read_number(answer: str) -> tuple[Fraction, str] | None:
    """(the number, its unit); None for what is no number, or one of several."""
    found = _VALUE.fullmatch(clean_answer(answer))
    if not found or not re.search(r"\d", found["whole"]):
        return None
    unit = (found["unit"] or "").strip()
    if _NO_UNIT.search(unit):
        return None
    value = Fraction(re.sub(r"[, ]", "", found["whole"]))
    if found["top"]:
        if not int(found["bottom"]):
            return None
        part = Fraction(int(found["top"]), int(found["bottom"]))
        value += -part if found["whole"].startswith("-") else part
    if found["over"]:
        if not Fraction(found["over"]):
            return None
        value /= Fraction(found["over"])
    power = found["power"] or found["exp"]
    return value * Fraction(10) ** int(power or 0), unit


def read_truth(answer: str) -> bool | None:
    """Whether an answer says yes or no, with or without a reason after a comma."""
    return _TRUTH.get(re.split(r"[,.;:]", clean_answer(answer))[0].strip())


def _open_brackets(text: str) -> str:
    """`text` without brackets around one thing: those of a pair or an interval stay."""
    if text[:1] in _PAIRS and text.endswith(_PAIRS[text[0]]):
        inner = text[1:-1]
        return text if re.search(r"[,()\[\]]", inner) else inner
    if text[:1] in _PAIRS and not re.search(r"[)\]]", text):
        return text[1:]
    return text[:-1] if text.endswith((")", "]")) and not re.search(r"[(\[]", text) else text
