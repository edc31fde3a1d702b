"""Where the steps that a model outlines stand in the trace, of which it copies the first words.

Small models miscount sentences, but copy well: asked for numbers, Qwen2.5-Coder-1.5B had no usable
outline for half of the traces (docs/data.md).
"""

import re
from collections.abc import Sequence
from itertools import groupby, pairwise

from pdata.llm.proposal import Fault

Span = tuple[int, int]  # the first and the last sentence, counted from 1
_NUMBER = re.compile(r"^\W*\d{1,3}[.)]\s")  # of a list's item, which a copy may leave out
ENOUGH = 24  # letters that begin as a sentence does: a copy may go wrong behind them


def find_groups(
    steps: Sequence[tuple[str, int]], sentences: Sequence[str], problem: str
) -> list[list[Span]]:
    """The spans of each group of two and more steps.

    steps: (first words, group), in order; neighbours of the same group above 0 are independent. A
    step ends where the next one begins. Only letters and digits are compared, and of a long copy
    the first. Words from within a sentence, or from the problem, begin none. Raises Fault at other
    words that do not stand behind those of the step before, if a branch begins or ends there.
    """
    if all(group <= 0 for _, group in steps):
        return []
    inside = _letters(problem)
    begins: list[tuple[int, int]] = []  # sentence, group
    for words, group in steps:
        wanted, (at, last) = _letters(words), begins[-1] if begins else (-1, 0)
        found = _find(words, sentences, at + 1)
        if found is not None:
            begins.append((found, group))
            continue
        known = inside + "\n" + _letters("".join(sentences[max(0, at) :]))
        if (group > 0 or last > 0) and (not wanted or wanted[:ENOUGH] not in known):
            raise Fault("not in the trace", f"{words!r:.80}, behind the step before it")
    edges = pairwise([*begins, (len(sentences), 0)])
    spans = [(at + 1, end, group) for (at, group), (end, _) in edges]
    groups = []
    for group, found_steps in groupby(spans, lambda span: span[2]):
        members = [(first, last) for first, last, _ in found_steps]
        if group > 0 and len(members) > 1:
            groups.append([*members[:-1], _cut(members, sentences)])
    return groups


def _letters(text: str) -> str:
    return "".join(re.findall(r"[^\W_]", text.casefold()))


def _find(words: str, sentences: Sequence[str], at: int) -> int | None:
    """The first sentence from `at` on that begins with these words, or else with the first."""
    copies = [c for c in (_letters(words), _letters(_NUMBER.sub("", words))) if c]
    for enough in (len(words), ENOUGH):
        for i in range(at, len(sentences)):
            rest = "".join(sentences[i : i + 1 + words.count(" ")])  # each has a word at least
            said = _letters(rest), _letters(_NUMBER.sub("", rest))
            if any(s.startswith(c[:enough]) for c in copies for s in said):
                return i
    return None


def _cut(members: Sequence[Span], sentences: Sequence[str]) -> Span:
    """The last member, which goes over no larger break than the others: what follows concludes."""

    def breaks(span: Span) -> list[int]:
        inner = sentences[span[0] - 1 : span[1] - 1]
        return [s[len(s.rstrip()) :].count("\n") for s in inner]

    usual = max((n for span in members[:-1] for n in breaks(span)), default=0)
    first, last = members[-1]
    cut = next((k for k, n in enumerate(breaks((first, last))) if n > usual), last - first)
    return first, first + cut
