"""Reads other published forms of parallel traces: text of a dialect -> `pbranch.format.tree.Trace`.

What the tree cannot hold, or the dialect does not allow, raises FormatError with its offset.
Knows no files; the dialects are drawn at their readers.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pbranch.errors import DataError, FormatError
from pbranch.format.paper_dialect import CLOSE, COLONS, MARK
from pbranch.format.tree import Fork, Segment, Trace, make_trace

MAX_DEPTH = 32
COLON = "".join(COLONS)
_PAPER = re.compile(rf"(?:{MARK})?{CLOSE}|{MARK}#*")
_TITLE = re.compile(rf"[ \t]*(?=\S)((?:(?!{MARK})[^\n{COLON}])+?)[ \t]*[{COLON}]")
_OMITTED = re.compile(r"\s*[.…。]{3,}\s*")
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)*)[ \t]*:")

Parts = list[str | Fork]


def read_dialect(text: str, dialect: str) -> Trace:
    """The tree of `text`. Raises FormatError, and DataError on an unknown dialect."""
    if dialect not in DIALECTS:
        raise DataError(f"dialect {dialect!r}: expected {', '.join(DIALECTS)}")
    return DIALECTS[dialect](text)


def read_paper(text: str) -> Trace:
    """arXiv 2503.20533: `####title: body` for every branch, and `####%%%%` after the last.

    A branch starts with its title, and ends where the next mark stands. The white space before the
    marks becomes one separator, the commonest; a line that holds only the close mark goes.
    """
    parts: Parts = []
    branches: list[tuple[str, str]] = []  # topic and text, with the white space at its end
    cursor = opened = 0
    for mark in _PAPER.finditer(text):
        piece = text[cursor : mark.start()]
        if branches:
            branches[-1] = (branches[-1][0], piece)
        else:
            parts.append(piece)
            opened = mark.start()
        cursor = mark.end()
        if mark[0].endswith(CLOSE):
            if not branches:
                raise FormatError(f"found {mark[0]}, which closes no block", mark.start())
            fork, gap = _paper_fork(branches, opened)
            alone = gap.endswith("\n") and text.startswith("\n", cursor)
            parts += [fork, gap]
            cursor += alone
            branches = []
            continue
        title = _TITLE.match(text, cursor)
        if len(mark[0]) > len(MARK) or not title:
            found = text[mark.start() : mark.start() + 30]
            raise FormatError(f"found {found!r}, expected '{MARK}title:'", mark.start())
        cursor = title.start(1)
        branches.append((title[1], ""))
    if branches:
        raise FormatError(
            f"found the end of the text, expected {MARK}{CLOSE} (block opened at {opened})",
            len(text),
        )
    return make_trace(*parts, text[cursor:])


def _paper_fork(branches: list[tuple[str, str]], opened: int) -> tuple[Fork, str]:
    """The fork, and the white space after its last branch."""
    bodies = [text.rstrip() for _, text in branches]
    gaps = [text[len(body) :] for body, (_, text) in zip(bodies, branches, strict=True)]
    for n, ((topic, _), body) in enumerate(zip(branches, bodies, strict=True), 1):
        if _OMITTED.fullmatch(body[len(topic) :].lstrip(" \t" + COLON)):
            raise FormatError(f"branch {n} of the block is left out, expected its text", opened)
    separator = Counter(gaps[:-1] or ["\n"]).most_common(1)[0][0]
    traces = tuple(make_trace(body) for body in bodies)
    return Fork(tuple(topic for topic, _ in branches), traces, separator), gaps[-1]


@dataclass(frozen=True, slots=True)
class Grammar:
    """The tags of a dialect; a tag that it lacks is empty.

    numbered: outlines and branches start with `1:`; nested: a branch may hold a block.
    """

    start: str
    outline: str
    entry: tuple[str, str]
    outline_end: str
    branch: tuple[str, str]
    stop: str
    conclusion: tuple[str, str] = ("", "")
    numbered: bool = True
    nested: bool = False

    @property
    def tags(self) -> list[str]:
        return [t for t in (self.start, self.outline, *self.entry, self.outline_end, *self.branch,
                            *self.conclusion, self.stop) if t]  # fmt: skip

    @property
    def trigger(self) -> str:
        """The tag that opens a block."""
        return self.start or self.entry[0]


# <Parallel><Goal>goal <Outline>1: ..</Outline> <Outline>2: ..</Outline></Goal>
# <Path>1: ..</Path><Path>2: ..</Path><Conclusion>..</Conclusion></Parallel>, arXiv 2506.09991
MULTIVERSE = Grammar(
    "<Parallel>", "<Goal>", ("<Outline>", "</Outline>"), "</Goal>", ("<Path>", "</Path>"),
    "</Parallel>", ("<Conclusion>", "</Conclusion>"), nested=True,
)  # fmt: skip
# <Parallel><Outlines><Outline>1: ..</Outline> ..</Outlines>
# <Thread>1: ..</Thread><Thread>2: ..</Thread></Parallel>, arXiv 2512.07843
THREADWEAVER = Grammar(
    "<Parallel>", "<Outlines>", ("<Outline>", "</Outline>"), "</Outlines>",
    ("<Thread>", "</Thread>"), "</Parallel>",
)  # fmt: skip
# <|title|>t<|/title|> .. <|para|><|branch|>t: ..<|/branch|> .. <|/para|>, arXiv 2508.08895
ASPD = Grammar(
    "", "", ("<|title|>", "<|/title|>"), "<|para|>", ("<|branch|>", "<|/branch|>"),
    "<|/para|>", numbered=False,
)  # fmt: skip


def read_tagged(grammar: Grammar, text: str) -> Trace:
    """Text with the tags of `grammar`; tags that it does not name are ordinary text.

    A topic is what an outline says, with its number. A branch that does not begin with it gets it
    as a first line, in place of its number. A goal goes before the fork, a conclusion after it.
    White space at the tags' inside goes; where only a tag kept two texts apart, a line break does.
    """
    reader = _TagReader(grammar, text)
    parts, tag = reader.trunk(0)
    if tag:
        raise FormatError(f"found {tag} outside its block", reader.offset)
    return make_trace(*parts)


class _TagReader:
    """Walks (text before a tag, tag) pairs; `offset` is where the last tag stands."""

    def __init__(self, grammar: Grammar, text: str) -> None:
        self.grammar, self.text = grammar, text
        self.marks = re.finditer("|".join(map(re.escape, grammar.tags)), text)
        self.cursor = self.offset = 0

    def piece(self) -> tuple[str, str]:
        """The next run of ordinary text, and the tag that ends it (empty at the text's end)."""
        mark = next(self.marks, None)
        start, self.offset = self.cursor, mark.start() if mark else len(self.text)
        self.cursor = mark.end() if mark else len(self.text)
        return self.text[start : self.offset], mark[0] if mark else ""

    def trunk(self, depth: int) -> tuple[Parts, str]:
        """Parts up to a tag that does not belong here, and that tag."""
        parts: Parts = []
        while True:
            text, tag = self.piece()
            _append(parts, text)
            if tag != self.grammar.trigger:
                return parts, tag
            for part in self.block(depth):
                _append(parts, part)

    def block(self, depth: int) -> Parts:
        """The parts that a block becomes: its goal, the fork, its conclusion."""
        grammar, opened = self.grammar, self.offset
        if depth and not grammar.nested:
            raise FormatError("found a block inside a branch, expected one level", opened)
        if depth >= MAX_DEPTH:
            raise FormatError(f"found a block inside {depth} others, expected fewer", opened)
        parts: Parts = []
        if grammar.start:
            parts.append(self.expect(grammar.outline, opened).strip())
            parts.append(self.expect(grammar.entry[0], opened).strip())
        topics = self.topics(opened)
        branches = tuple(self.branch(topic, depth, opened) for topic in topics)
        parts.append(Fork(topics, branches))
        text, tag = self.piece()
        if tag and tag == grammar.conclusion[0] and not text.strip():
            inner, tag = self.trunk(depth + 1)
            if tag != grammar.conclusion[1]:
                raise self.misplaced(tag, grammar.conclusion[1], opened)
            parts += _strip(inner)
            text, tag = self.piece()
        if tag == grammar.branch[0]:
            raise FormatError(
                f"found {tag} again, expected as many as there are topics, {len(topics)}",
                self.offset,
            )
        if tag != grammar.stop or text.strip():
            raise self.misplaced(tag, grammar.stop, opened, text)
        return parts

    def topics(self, opened: int) -> tuple[str, ...]:
        """The entries of an outline, from the inside of the first one on."""
        opening, closing = self.grammar.entry
        topics: list[str] = []
        tag = opening
        while tag == opening:
            topic, tag = self.piece()
            if tag != closing:
                raise self.misplaced(tag, closing, opened)
            if not (_NUMBER.match(topic) if self.grammar.numbered else topic.strip()):
                wanted = "a number and ':'" if self.grammar.numbered else "a title"
                raise FormatError(
                    f"topic {len(topics) + 1} says {topic[:30]!r}, expected {wanted}", self.offset
                )
            topics.append(topic.strip())
            text, tag = self.piece()
            if text.strip():
                raise self.misplaced(tag, opening, opened, text)
        if tag != self.grammar.outline_end:
            raise self.misplaced(tag, self.grammar.outline_end, opened)
        return tuple(topics)

    def branch(self, topic: str, depth: int, opened: int) -> Trace:
        """The branch of `topic`, which it starts with."""
        self.expect(self.grammar.branch[0], opened, blank=True)
        start = self.offset
        parts, tag = self.trunk(depth + 1)
        if tag != self.grammar.branch[1]:
            raise self.misplaced(tag, self.grammar.branch[1], start)
        parts = _strip(parts)
        lead = parts[0] if parts and isinstance(parts[0], str) else ""
        if lead.startswith(topic) and not lead[len(topic) :][:1].isalnum():
            return make_trace(*parts)
        announced, own = _NUMBER.match(topic), _NUMBER.match(lead)
        if not self.grammar.numbered or not announced or not own or own[1] != announced[1]:
            wanted = f"{announced[1]}:" if announced else topic
            raise FormatError(f"a branch starts with {lead[:30]!r}, expected {wanted!r}", start)
        rest = lead[own.end() :].lstrip()
        return make_trace(topic, "\n", rest, *parts[1:])

    def expect(self, wanted: str, opened: int, blank: bool = False) -> str:
        text, tag = self.piece()
        if tag != wanted or (blank and text.strip()):
            raise self.misplaced(tag, wanted, opened, text if blank else "")
        return text

    def misplaced(self, found: str, wanted: str, opened: int, text: str = "") -> FormatError:
        seen = repr(text.strip()[:30]) if text.strip() else found or "the end of the text"
        return FormatError(f"found {seen}, expected {wanted} (opened at {opened})", self.offset)


def _append(parts: Parts, part: str | Fork) -> None:
    """Add `part`; a line break goes between where neither side has white space."""
    if not part:
        return
    last = parts[-1] if parts else "\n"
    before = isinstance(last, str) and last[-1].isspace()
    after = isinstance(part, str) and part[0].isspace()
    parts += [part] if before or after else ["\n", part]


def _strip(parts: Parts) -> Parts:
    """`parts` without white space at both ends."""
    merged = make_trace(*parts).parts
    parts = [p.text if isinstance(p, Segment) else p for p in merged]
    if parts and isinstance(parts[0], str):
        parts[0] = parts[0].lstrip()
    if parts and isinstance(parts[-1], str):
        parts[-1] = parts[-1].rstrip()
    return [part for part in parts if part]


DIALECTS: dict[str, Callable[[str], Trace]] = {
    "paper": read_paper,
    "multiverse": partial(read_tagged, MULTIVERSE),
    "threadweaver": partial(read_tagged, THREADWEAVER),
    "aspd": partial(read_tagged, ASPD),
}
