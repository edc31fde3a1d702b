"""What a line of a trace starts with: a counted label, a title, a name that the prompt knows.

Only reads one line at a time against the prompt; which lines form a block is decided in steps.py.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from pdata.rules.prompt import COMMON, Prompt

MAX_WORDS = 8
# titles of a conclusion, not of a step
CLOSINGS = frozenset(
    "answer answers name conclusion result results total summary note notes question reason "
    "reasoning output solution therefore".split()
)
# a title that names a phase of one line of thought, which the next phase builds on
_PHASE = re.compile(
    r"\b(?:set(?:ting)?[ -]?up|understand|given|solv|calculat|comput|verif|check|plan|deriv|"
    r"simplif|substitut|approach$|method$|proof|step|first|then|next|prepar|implement)|"
    r"求解|计算|验证|步骤|推导|代入|准备",
    re.IGNORECASE,
)
_BULLET = r"(?:[-*•+][ \t]+)?"
_BOLD = r"(?:\*\*)?"
# the end of a label, which is not part of it
_STOP = r"(?=\s*[:：]|[.)](?:\s|$)|\s[-–—]\s(?!\s*[\d$]))"
_CN = "一二三四五六七八九十"
_COUNTED = re.compile(rf"{_BULLET}{_BOLD}([A-Z]\w+(?: \w+){{0,4}}) (\d+|[A-Z]|[IVX]+){_STOP}")
_NUMBERED = re.compile(
    rf"[ \t]*{_BULLET}{_BOLD}(?:"
    rf"(?P<a>\d{{1,3}}|[A-Z])(?:[.)](?=\s)|[、．])|(?P<b>[A-Za-z])\)(?=\s)|"
    rf"\((?P<c>\w|\d\d)\)(?=\s)|(?P<d>[{_CN}]{{1,3}})、|[（(](?P<e>[{_CN}]{{1,3}}|\d)[）)])"
)
_COUNTED_CN = re.compile(
    rf"{_BULLET}{_BOLD}(?:"
    rf"(步骤|情况|方案|案例|部分|问题|文档|选项|维度|方面|场景|阶段)[ \t]*(\d+|[{_CN}]{{1,3}})|"
    rf"第(\d+|[{_CN}]{{1,3}})(部分|步|个|种|点|方面|项|类|位|篇))(?=[:：，,、])"
)
_ORDINALS = "First Second Third Fourth Fifth Sixth Seventh Eighth Ninth Tenth".split()
_ORDINAL = re.compile(
    rf"{_BULLET}{_BOLD}({'|'.join(_ORDINALS)}) (?:(\w+(?: \w+)?)(?=\s*[:：])|(approach|option|case|"
    r"way|method|reason|point|possibility|scenario|aspect|factor|candidate|item|question|document)\b)"
)
_ORDINAL_CN = re.compile(
    rf"{_BULLET}{_BOLD}(?:第([{_CN}])[，,、：:]|(首先|其次|再次|再者|最后)[，,：:])"
)
_BULLETED = re.compile(r"[ \t]*([-*•+])[ \t]+(?=\S)")
_HEADING = re.compile(r"(#{1,6})[ \t]+(?=\S)")
_ALONE = re.compile(rf"{_BOLD}[^-*•+#\d\s][^\n]{{0,60}}[:：](?:\*\*)?[ \t]*$")
_TITLE = re.compile(rf"{_BULLET}({_BOLD})([^\n:：]{{1,90}}?)(?:\*\*)?(?=\s*[:：])")
_BOLD_LEAD = re.compile(r"(?:[-*•+][ \t]+)?\*\*([^*\n]{1,90})\*\*")
_NUMBER_TITLE = re.compile(rf"\s*{_BOLD}[^\n:：.]{{1,90}}?(?:\*\*)?(?=\s*[:：])")
_NAME = re.compile(
    rf"{_BULLET}((?:[A-Z]|No\b)[\w'’.-]*(?: (?:[A-Z0-9][\w'’-]*|of|de|van|von|the))*)"
)
_TAIL = re.compile(r"(?:['’]s|['’]|[.,;]| (?:of|de|van|von|the))+$")


class Kind(StrEnum):
    """How the steps of a block are recognised; the earlier one wins where both fit."""

    marked = "marked"  # ####title: body
    counted = "counted"  # Case 3: …, 2. …, (b) …
    heading = "heading"  # ## Title
    titled = "titled"  # a title that holds something of the prompt
    named = "named"  # a name of the prompt and then a sentence
    bold = "bold"  # - **Title**: …
    bulleted = "bulleted"  # - any sentence
    worked = "worked"  # a line of arithmetic; found in worked_arithmetic.py
    headed = "headed"  # a title alone on its line, with its colon


# a list of one style at a time, which `frame` tells
STYLED = (Kind.counted, Kind.heading, Kind.bulleted)
UNLABELLED = (Kind.bulleted, Kind.worked)  # whose topics are just their first words


@dataclass(frozen=True, slots=True)
class Label:
    """The topic that a line starts with.

    subject: the part of it that the prompt knows; frame: what is left around the subject, or how
    it is counted; numbers: which one it may be, where it is counted (I is 1 or 9).
    """

    text: str
    subject: str = ""
    frame: tuple[str, str] = ("", "")
    numbers: tuple[int, ...] = ()


def find_labels(line: str, prompt: Prompt) -> dict[Kind, list[Label]]:
    """The labels that `line` may start with, by kind; for titles, one by subject."""
    labels: dict[Kind, list[Label]] = {}
    if counted := _counted(line, prompt):
        labels[Kind.counted] = [counted]
    heading, text = _HEADING.match(line), line.rstrip()
    if heading and not _closes(text[heading.end() :]):
        subject = _subject(text[heading.end() :], prompt)
        if subject or not _PHASE.search(text):
            labels[Kind.heading] = [Label(text, subject, (heading[1], ""))]
    if _ALONE.match(line) and _is_short(line) and not _closes(line.rstrip(":：* \t")):
        labels[Kind.headed] = [Label(line.rstrip(), _subject(line.rstrip(":：* \t"), prompt))]
    if bullet := _BULLETED.match(line):
        labels[Kind.bulleted] = [Label(bullet[0], frame=(bullet[1], str(len(bullet[0]))))]
    title = _TITLE.match(line)
    if title and 0 < count_words(title[2]) <= MAX_WORDS and not _closes(title[2]):
        whole = _close_bold(line, title[0].rstrip())
        labels[Kind.titled] = _split_title(title[2].split(), whole, prompt)
    if name := _name(line, prompt):
        labels[Kind.named] = [name]
    bold = _BOLD_LEAD.match(line)
    if bold and count_words(bold[1]) <= MAX_WORDS and not _closes(bold[1].rstrip(":： ")):
        labels[Kind.bold] = [Label(bold[0], _subject(bold[1], prompt))]
    return labels


def is_heading(line: str, level: int = 6) -> bool:
    """Whether `line` is a heading of Markdown with at most `level` marks."""
    match = _HEADING.match(line)
    return match is not None and len(match[1]) <= level


def _counted(line: str, prompt: Prompt) -> Label | None:
    """What counts a line: Case 3, 2., (b), 一、, Second approach, 其次."""
    match = _COUNTED.match(line)
    if match and match[1].split()[0].lower() not in COMMON:
        subject = _subject(match[0], prompt)
        return Label(match[0], subject, (match[1], ""), _numbers(match[2]))
    if match := _ORDINAL.match(line):
        number = _ORDINALS.index(match[1]) + 1
        return Label(
            match[0], _subject(match[0], prompt), (match[2] or match[3], "ordinal"), (number,)
        )
    if match := _COUNTED_CN.match(line):
        kind, value = match[1] or match[4], match[2] or match[3]
        return Label(match[0], _subject(match[0], prompt), (kind, ""), _numbers(value))
    if match := _ORDINAL_CN.match(line):
        words = ("首先", "其次", "再次", "再者", "最后")
        places = _numbers(match[1]) if match[1] else (words.index(match[2]) + 1,)
        frame = ("第" if match[1] else "首", "")
        return Label(match[0].rstrip("，,、：:"), frame=frame, numbers=places)
    if not (match := _NUMBERED.match(line)):
        return None
    title = _NUMBER_TITLE.match(line, match.end())
    text = title and line[: title.end()]
    text = _close_bold(line, text) if text and _is_short(text) else match[0]
    style, value = next((k, v) for k, v in match.groupdict().items() if v)
    sort = "digit" if value.isdigit() else "upper" if value.isupper() else "lower"
    indent = len(line) - len(line.lstrip())
    return Label(text, frame=(style + sort, str(indent)), numbers=_numbers(value))


def _numbers(text: str) -> tuple[int, ...]:
    """Every reading: of digits, a numeral of Rome or China, or a letter."""
    if text.isdigit():
        return (int(text),)
    if text[0] in _CN:
        tens, ten, units = text.rpartition("十")
        unit = _CN.index(units) + 1 if units else 0
        return ((_CN.index(tens) + 1 if tens else 1) * 10 + unit if ten else unit,)
    letter = (ord(text[0].lower()) - ord("a") + 1,) if len(text) == 1 else ()
    if not re.fullmatch("[IVX]+", text):
        return letter
    values = [{"I": 1, "V": 5, "X": 10}[c] for c in text]
    return (sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True)), *letter)


def _is_short(title: str) -> bool:
    """Short enough for a topic; a word of Chinese is about two characters."""
    return count_words(title) + len(re.findall(r"[一-鿿]", title)) / 2 <= 2 * MAX_WORDS


def title_of(line: str, prompt: Prompt) -> Label:
    """The title of a marked line: what precedes the colon, or the whole line."""
    match = _TITLE.match(line)
    text = _close_bold(line, match[0].rstrip()) if match else line.rstrip()
    return Label(text, _subject(text, prompt))


def count_words(text: str) -> int:
    return len(re.findall(r"\w[\w'’.-]*", text))


def _closes(title: str) -> bool:
    """Whether a title announces the conclusion."""
    words = re.findall(r"\w+", title.lower())
    return not words or words[-1] in CLOSINGS


def _close_bold(line: str, text: str) -> str:
    """`text`, the start of `line`, up to the end of the bold type that it opens."""
    end = re.match(r"\s*[:：]?\*\*", line[len(text) :]) if text.count("**") % 2 else None
    return text + end[0] if end else text


def _split_title(words: list[str], text: str, prompt: Prompt) -> list[Label]:
    """The whole title, or its longest known end, its longest known beginning, and none of it.

    A title that begins with what the prompt knows is cut after it: "Box 3 against the rule".
    """
    if prompt.knows(" ".join(words)):
        return [Label(text, " ".join(words))]
    splits = []
    for n in range(len(words) - 1, 0, -1):
        if prompt.knows(end := " ".join(words[-n:])):
            splits.append(Label(text, end, (" ".join(words[:-n]), "")))
            break
    for n in range(len(words) - 1, 0, -1):
        if prompt.knows(start := " ".join(words[:n])):
            end_at = text.find(start) + len(start)
            cut = text[:end_at] if start in text and "**" not in text else text
            splits.append(Label(cut, start, ("", " ".join(words[n:]))))
            break
    return [*splits, Label(text, "", (" ".join(words), "?"))]


def _subject(text: str, prompt: Prompt) -> str:
    """The longest end of `text`, or else the longest beginning, that the prompt knows."""
    words = re.sub(r"^[-*•+\s]+|\*\*", "", text).split()
    ends = [words[i:] for i in range(len(words))]
    starts = [words[:i] for i in range(len(words) - 1, 0, -1)]
    return next((s for s in map(" ".join, [*ends, *starts]) if prompt.knows(s)), "")


def _name(line: str, prompt: Prompt) -> Label | None:
    """A name at the start: capitalised words and numbers that the prompt knows as they stand."""
    match = _NAME.match(line)
    if not match:
        return None
    name = _TAIL.sub("", match[1])
    while name and not prompt.knows(name):
        shorter, _, last = name.rpartition(" ")
        name = _TAIL.sub("", shorter) if last[:1].isdigit() else ""
    if not name or count_words(name) > MAX_WORDS:
        return None
    end = match.start(1) + len(name)
    return Label(line[:end], name) if line[end:].strip(" :.") else None
