"""Lines of a trace: their marks, how far they stand in, and which of them may share a block."""

import re
from dataclasses import dataclass
from itertools import pairwise

from pbranch.format.paper_dialect import CLOSE, STEP_PATTERN
from pdata.rules.blocks.masks import BLANK, is_display, split_lines

_STEP_MARK = re.compile(STEP_PATTERN)
_CLOSE_MARK = re.compile(rf"#*{CLOSE}%*[ \t]*")
# a number may touch a word of Chinese
_ITEM = re.compile(
    rf"{BLANK}*(?:(?:[-*•+·]|\(?(?:\d{{1,3}}|[A-Za-z])[.)]|[①-⑳]){BLANK}|\d{{1,3}}[.)](?=[一-鿿《“]))"
)
# its bullet set as a formula, or drawn into one
_SET_ITEM = re.compile(r"\$ *(?:[*-]|\\(?:bullet|ast|cdot)) *(?:\$ |\\[a-z]+[ {])")
_BULLET = re.compile(rf"{BLANK}*[-*•+·]{BLANK}")

# the marker of an item, with its number
_MARKER = re.compile(
    rf"(?P<indent>{BLANK}*)(?:(?P<number>\d{{1,3}})(?:[.)](?:{BLANK}|(?=[一-鿿《“]))|[、．）])|(?P<sign>[-*•+·]){BLANK})"
)

_INLINE_FIRST = re.compile(r"(?:[:：][ \t]*|^)[(（][a1][)）]")
_INLINE = re.compile(
    r"(?:(?<=[:;,.] )|(?<=[：；，。])|(?<=\band )|(?<=\bor )|^)[(（]([a-h1-8])[)）](?=\s\S|[一-鿿])"
)
_OPTION_TOLD = re.compile(r"[.:?!] +(?=(Option|Choice|Statement) A\b)")
_IS_OPEN = re.compile(
    r"(?:[:：]|\b(?:e\.g\.|for (?:example|instance)|such as|as follows)\W?|"
    r"(?:例如|比如|譬如|如下)[。，]?)"
    r"[-–—*_\s]*$",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?]\s|[。！？]\S")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the trace, shielded; `start` is where its text begins, after a mark."""

    start: int
    end: int
    text: str
    marked: bool

    @property
    def blank(self) -> bool:
        return not self.text.strip()

    @property
    def indent(self) -> int:
        return len(self.text) - len(self.text.lstrip())

    @property
    def display(self) -> bool:
        """Whether it is a formula, code, a table or HTML."""
        return is_display(self.text)


def split(text: str) -> tuple[list[list[Line]], tuple[int, int] | None]:
    """Lines up to the close mark, and where that mark stands. What is thought and what is said are
    lists of their own, as no block goes from one to the other."""
    sections: list[list[Line]] = [[]]
    for line in split_lines(text):
        if line.is_thought_tag:
            sections.append([])
            continue
        if close := _CLOSE_MARK.match(line.text):
            return sections, (line.start, line.start + close.end())
        mark = _STEP_MARK.match(line.text)
        cuts = [mark.end() if mark else 0, *_items_inside(line.text, text), len(line.text)]
        for n, (at, end) in enumerate(pairwise(cuts)):
            part, marked = line.text[at:end], mark is not None and not n
            sections[-1].append(Line(line.start + at, line.start + end, part, marked))
    return sections, None


def _items_inside(line: str, text: str) -> list[int]:
    """Where steps begin that have no line of their own."""
    return _inline_items(line) or _option_told(line, text)


def _option_told(line: str, text: str) -> list[int]:
    """Where the first option begins that a line turns to after other words, as "Think of each.
    Option A is", if further ones have lines of their own."""
    match = _OPTION_TOLD.search(line) if " A" in line else None
    return [match.end()] if match and f"\n{match[1]} B" in text else []


def _inline_items(text: str) -> list[int]:
    """Where the items of a list begin that stands in one sentence, as in "there are: (a) one; (b)
    another"; none unless they are counted from the start, and nothing is said after the last."""
    if "(" not in text and "（" not in text:
        return []
    items = list(_INLINE.finditer(text)) if _INLINE_FIRST.search(text) else []
    values = "".join(item[1] for item in items)
    if len(items) < 2 or not ("abcdefgh".startswith(values) or "12345678".startswith(values)):
        return []
    after = text[items[-1].end() :].rstrip()
    return [] if _SENTENCE_END.search(after) else [item.start() for item in items if item.start()]


def belongs(line: Line, label: Line) -> bool:
    """Whether `line` is part of the step that begins with `label` by its form: it stands further
    in, or is an item of a list and not further out."""
    if line.blank or line.indent < label.indent:
        return False
    return line.indent > label.indent or bool(_BULLET.match(line.text))


def is_outside(line: Line, label: Line) -> bool:
    """Whether `line` stands further out than the step that begins with `label`; a text may begin
    with a space."""
    return not line.blank and line.indent + 1 < label.indent and not line.display


def item_numbers(lines: list[Line]) -> list[int]:
    """The numbers of the items that do not stand further in."""
    found = (_MARKER.match(line.text) for line in lines)
    return [int(m["number"]) for m in found if m and m["number"] and not m["indent"]]


def goes_on_list(lines: list[Line]) -> bool:
    """Whether the last line is the next item of the list that the lines before it hold: it has the
    same bullet, or counts one further."""
    *before, last = (_MARKER.match(line.text) for line in lines)
    alike = [m for m in before if m and last and m["indent"] == last["indent"]]
    if not alike or not last:
        return False
    if last["number"] and alike[-1]["number"]:
        return int(last["number"]) == int(alike[-1]["number"]) + 1
    return last["sign"] == alike[-1]["sign"]


def is_open(text: str) -> bool:
    """Whether a text ends in a colon, or says in other words that something follows."""
    return bool(_IS_OPEN.search(text))


def is_set_item(text: str) -> bool:
    """Whether `text`, not shielded, is an item whose bullet is a formula or stands in one."""
    return bool(_SET_ITEM.match(text))


def is_item(line: Line) -> bool:
    """Whether `line` is an item of a list."""
    return bool(_ITEM.match(line.text))
