"""Lines of a trace: their marks, how far they stand in, and which of them may share a block."""

import re
from dataclasses import dataclass

from pbranch.format.paper_dialect import CLOSE, STEP_PATTERN
from pdata.rules.blocks.masks import is_display, split_lines

_STEP_MARK = re.compile(STEP_PATTERN)
_CLOSE_MARK = re.compile(rf"#*{CLOSE}%*[ \t]*")
_ITEM = re.compile(r"[ \t]*(?:[-*•+·]|\(?(?:\d{1,3}|[A-Za-z])[.)]|[①-⑳])[ \t]")

_BULLET = re.compile(r"[ \t]*[-*•+·][ \t]")


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
        at = mark.end() if mark else 0
        sections[-1].append(Line(line.start + at, line.end, line.text[at:], mark is not None))
    return sections, None


def belongs(line: Line, label: Line) -> bool:
    """Whether `line` is part of the step that begins with `label` by its form: it stands further
    in, or is an item of a list and not further out."""
    if line.blank or line.indent < label.indent:
        return False
    return line.indent > label.indent or bool(_BULLET.match(line.text))


def is_outside(line: Line, label: Line) -> bool:
    """Whether `line` stands further out than the step that begins with `label`."""
    return not line.blank and line.indent < label.indent and not line.display


def is_item(line: Line) -> bool:
    """Whether `line` is an item of a list."""
    return bool(_ITEM.match(line.text))
