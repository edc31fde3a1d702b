"""Where the steps that a model outlines stand in the trace, of which it copies the first words.

Small models miscount sentences, but copy well: asked for numbers, Qwen2.5-Coder-1.5B had no usable
outline for half of the traces (docs/data.md).
"""

import re
from collections.abc import Sequence
from itertools import groupby, pairwise

from pdata.llm.proposal import Fault

Span = tuple[int, int]  # the first and the last sentence, counted from 1
# what a copy may leave out: marks of a list, a heading, bold or a quotation
_MARKS = re.compile(r"^(?:[\s*#>•'_-]|\d{1,3}[.)]\s)+")
_QUOTES = str.maketrans(dict.fromkeys('“”„‘’"', "'"))


def find_groups(
    steps: Sequence[tuple[str, int]], sentences: Sequence[str], problem: str
) -> list[list[Span]]:
    """The spans of each group of two and more steps.

    steps: (first words, group), in order; neighbours of the same group above 0 are independent. A
    step ends where the next one begins. Words from within a sentence, or from the problem, begin
    none. Raises Fault at other words that do not stand behind those of the step before.
    """
    problem, texts = _flatten(problem), list(map(_flatten, sentences))
    begins: list[tuple[int, int]] = []  # sentence, group
    for words, group in steps:
        wanted, at = _flatten(words).rstrip(".… "), begins[-1][0] + 1 if begins else 0
        if not _MARKS.sub("", wanted):
            raise Fault("wrong schema", f"'begins' {words!r}: expected the first words of a step")
        found = next((i for i in range(at, len(texts)) if _begins(texts, i, wanted)), None)
        if found is not None:
            begins.append((found, group))
        elif wanted not in problem and wanted not in " ".join(texts[max(0, at - 1) :]):
            raise Fault("not in the trace", f"{words!r:.80}, behind the step before it")
    edges = pairwise([*begins, (len(texts), 0)])
    spans = [(at + 1, end, group) for (at, group), (end, _) in edges]
    groups = []
    for group, found_steps in groupby(spans, lambda span: span[2]):
        members = [(first, last) for first, last, _ in found_steps]
        if group > 0 and len(members) > 1:
            groups.append([*members[:-1], _cut(members, sentences)])
    return groups


def _flatten(text: str) -> str:
    """Without line breaks, and with one kind of quotation mark: a copy may have others."""
    return " ".join(text.split()).translate(_QUOTES)


def _begins(texts: Sequence[str], i: int, wanted: str) -> bool:
    """Whether what stands from sentence `i` on begins with these words."""
    rest = " ".join(texts[i : i + 1 + wanted.count(" ")])  # a sentence has a word at least
    return rest.startswith(wanted) or _MARKS.sub("", rest).startswith(_MARKS.sub("", wanted))


def _cut(members: Sequence[Span], sentences: Sequence[str]) -> Span:
    """The last member, which goes over no larger break than the others: what follows concludes."""

    def breaks(span: Span) -> list[int]:
        inner = sentences[span[0] - 1 : span[1] - 1]
        return [s[len(s.rstrip()) :].count("\n") for s in inner]

    usual = max((n for span in members[:-1] for n in breaks(span)), default=0)
    first, last = members[-1]
    cut = next((k for k, n in enumerate(breaks((first, last))) if n > usual), last - first)
    return first, first + cut
