"""What a line of a trace starts with: a counted label, a title, a name that the prompt knows.

Only reads one line at a time against the prompt; which lines form a block is decided in steps.py.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from pdata.rules.blocks.counted import find_count
from pdata.rules.blocks.masks import BLANK, unshield
from pdata.rules.blocks.titles import (
    MAX_WORDS,
    close_bold,
    closes,
    count_words,
    is_part,
    is_phase,
    is_title,
    thinks,
)
from pdata.rules.prompt import Prompt

_BULLET = r"(?:[-*•+][ \t]+)?"
_BOLD = r"(?:\*\*)?"
_BULLETED = re.compile(rf"{BLANK}*([-*•+]){BLANK}+(?=\S)")
_HEADING = re.compile(r"(#{1,6})[ \t]+(?=\S)")
_ALONE = re.compile(rf"{_BOLD}[^-*•+#\d\s][^\n]{{0,60}}[:：](?:\*\*)?[ \t]*$")
# the colon of 10:30 ends no title
_TITLE = re.compile(
    rf"{_BULLET}({_BOLD})((?:[^\n:：]|(?<=\d):(?=\d)){{1,90}}?)(?:\*\*)?(?=\s*[:：])(?!:\d)"
)
_BOLD_LEAD = re.compile(r"(?:[-*•+][ \t]+)?\*\*([^*\n]{1,90})\*\*")
_NAME = re.compile(
    rf"{_BULLET}((?:[A-Z]|No\b)[\w'’.-]*(?: (?:[A-Z0-9][\w'’-]*|of|de|van|von|the))*)"
)
# a letter that counts: D. (b) Case A:
_LETTER = re.compile(r"[\W_]*(?:[A-Z]\w+ )*[(（]?[A-Za-z]\b")
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
STYLED = (Kind.counted, Kind.heading, Kind.bulleted, Kind.headed)
UNLABELLED = (Kind.bulleted, Kind.worked)  # whose topics are just their first words


@dataclass(frozen=True, slots=True)
class Label:
    """The topic that a line starts with.

    subject: the part of it that the prompt knows; frame: what is left around the subject, or how
    it is counted; numbers: which one it may be, where it is counted (I is 1 or 9); bare: whether
    it is a number that names nothing; more: what its topic takes from the text after it.
    """

    text: str
    subject: str = ""
    frame: tuple[str, str] = ("", "")
    numbers: tuple[int, ...] = ()
    bare: bool = False
    more: str = ""

    @property
    def topic(self) -> str:
        return self.text + self.more

    @property
    def readings(self) -> list[tuple[str, int]]:
        """Which one it may be, of letters or of numerals, where it is counted."""
        letter = bool(_LETTER.match(self.text))
        *numerals, last = self.numbers
        return [*(("numeral", n) for n in numerals), ("letter" if letter else "numeral", last)]


def find_labels(line: str, prompt: Prompt) -> dict[Kind, list[Label]]:
    """The labels that `line`, shielded, may start with, by kind; for titles, one by subject."""
    labels: dict[Kind, list[Label]] = {}
    if counted := find_count(line):
        text = unshield(counted.text)
        subject = "" if counted.bare else _subject(text, prompt)
        known = counted.bare and bool(prompt.mentions(text.strip()))
        label = Label(text, subject, counted.frame, counted.numbers, counted.bare and not known)
        labels[Kind.counted] = [label]
    heading, text = _HEADING.match(line), unshield(line.rstrip())
    if heading and not closes(text[heading.end() :]) and not is_part(text[heading.end() :]):
        subject = _subject(text[heading.end() :], prompt)
        if subject or not is_phase(text):
            labels[Kind.heading] = [Label(text, subject, (heading[1], ""))]
    if _ALONE.match(line) and is_title(line):
        labels[Kind.headed] = [Label(text, _subject(text.rstrip(":：* \t"), prompt), _look(line))]
    if bullet := _BULLETED.match(line):
        labels[Kind.bulleted] = [Label(bullet[0], frame=(bullet[1], str(len(bullet[0]))))]
    title = _TITLE.match(line)
    if title and 0 < count_words(title[2]) <= MAX_WORDS and not _no_title(title[2]):
        whole = unshield(close_bold(line, title[0].rstrip()))
        labels[Kind.titled] = _split_title(unshield(title[2]).split(), whole, prompt)
    if name := _name(line, prompt):
        labels[Kind.named] = [name]
    bold = _BOLD_LEAD.match(line)
    if bold and count_words(bold[1]) <= MAX_WORDS and _heads(bold[1]):
        labels[Kind.bold] = [Label(unshield(bold[0]), _subject(unshield(bold[1]), prompt))]
    return labels


def _heads(title: str) -> bool:
    """Whether a title in bold type heads a step."""
    return not closes(title.rstrip(":： ")) and not is_part(title)


def _no_title(title: str) -> bool:
    """Whether a title with a name of the prompt heads no step."""
    return closes(title) or thinks(title)


def _look(line: str) -> tuple[str, str]:
    """What sets titles apart from others: bold type, and how far they stand in."""
    return ("**" if "**" in line else "", str(len(line) - len(line.lstrip())))


def is_heading(line: str, level: int = 6) -> bool:
    """Whether `line` is a heading of Markdown with at most `level` marks."""
    return 0 < heading_level(line) <= level


def heading_level(line: str) -> int:
    """How many marks of Markdown a heading has, 0 where `line` is none."""
    match = _HEADING.match(line)
    return len(match[1]) if match else 0


def title_of(line: str, prompt: Prompt) -> Label:
    """The title of a marked line: what precedes the colon, or the whole line."""
    match = _TITLE.match(line)
    text = unshield(close_bold(line, match[0].rstrip()) if match else line.rstrip())
    return Label(text, _subject(text, prompt))


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
    line = unshield(line)
    name = _TAIL.sub("", match[1])
    while name and not prompt.knows(name):
        shorter, _, last = name.rpartition(" ")
        name = _TAIL.sub("", shorter) if last[:1].isdigit() else ""
    if not name or count_words(name) > MAX_WORDS:
        return None
    end = match.start(1) + len(name)
    return Label(line[:end], name) if line[end:].strip(" :.") else None
