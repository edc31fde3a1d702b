"""Finds the block of a linear trace: a run of lines or paragraphs that are steps, by their form.

A step may go on over several lines. Whether the steps depend on each other is independence.py's.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from pbranch.format.paper_dialect import CLOSE, MARK, STEP_PATTERN
from pdata.rules.blocks.block_end import CONTINUES, Line, last_end, sums_up
from pdata.rules.blocks.labels import STYLED, Kind, Label, find_labels, is_heading, title_of
from pdata.rules.blocks.topics import make_topics
from pdata.rules.prompt import Prompt

_STEP_MARK = re.compile(STEP_PATTERN)
_CLOSE_MARK = re.compile(rf"#*{CLOSE}%*[ \t]*")


@dataclass(frozen=True, slots=True)
class Step:
    """The text of one branch and the label it starts with."""

    label: Label
    text: str


@dataclass(frozen=True, slots=True)
class Block:
    """A trace in three: `lead` + steps joined by `separator` + `tail`. `spans`: where the steps
    stand in the text, which a rewriter's own blocks do not tell."""

    kind: Kind
    lead: str
    steps: tuple[Step, ...]
    separator: str
    tail: str
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def flaw(self) -> str | None:
        """Why these cannot be branches, None when they can."""
        topics = [step.label.text for step in self.steps]
        if len(topics) < 2:
            return "one branch"
        if len({" ".join(t.lower().split()) for t in topics}) < len(topics):
            return "equal topics"
        if not all(re.search(r"\w", topic) for topic in topics):
            return "no topic"
        if any(not re.search(r"\w", s.text[len(s.label.text) :]) for s in self.steps):
            return "empty body"
        return None


def find_blocks(text: str, prompt: Prompt) -> list[Block]:
    """Candidates: one that others lie within comes before them, and then the one with more steps;
    where they tie, in the order of `Kind`."""
    lines, close = _split(text)
    blocks = []
    for kind, labels in _label_lines(lines, prompt):
        for run in _runs(lines, labels, kind):
            if len(run) >= 2:
                blocks.append(_cut(text, lines, labels, run, kind, close))
    order = list(Kind)
    blocks.sort(key=lambda b: (-len(b.steps), order.index(b.kind)))
    return sorted(blocks, key=lambda b: -sum(_within(other, b) for other in blocks))


def split_close(text: str) -> tuple[str, str, str]:
    """What stands before the first close mark, the mark, and what follows it."""
    _, close = _split(text)
    start, end = close or (len(text), len(text))
    return text[:start], text[start:end], text[end:]


def _within(inner: Block, outer: Block) -> bool:
    """Whether all of `inner` stands in one step of `outer`."""
    first, last = inner.spans[0][0], inner.spans[-1][1]
    return any(a <= first and last <= b for a, b in outer.spans)


def _split(text: str) -> tuple[list[Line], tuple[int, int] | None]:
    """Lines up to the close mark, and where that mark stands."""
    lines: list[Line] = []
    for match in re.finditer(r"[^\n]*\n?", text):
        if not match[0]:
            break
        close = _CLOSE_MARK.match(match[0])
        if close:
            return lines, (match.start(), match.start() + close.end())
        mark = _STEP_MARK.match(match[0])
        start = match.start() + (mark.end() if mark else 0)
        body = text[start : match.end()].rstrip("\n")
        lines.append(Line(start, start + len(body), body, mark is not None))
    return lines, None


def _label_lines(lines: list[Line], prompt: Prompt) -> Iterator[tuple[Kind, dict[int, Label]]]:
    """The label of every line that may be a step, a kind and, where it has styles, a style at a
    time: steps of a list are written alike."""
    candidates: dict[Kind, dict[int, list[Label]]] = {kind: {} for kind in Kind}
    for i, line in enumerate(lines):
        if not line.blank:
            for kind, labels in find_labels(line.text, prompt).items():
                candidates[kind][i] = labels
    chosen = {kind: {i: labels[0] for i, labels in candidates[kind].items()} for kind in Kind}
    chosen[Kind.titled] = _agree(candidates[Kind.titled])
    chosen[Kind.marked] = _marked(lines, prompt, chosen[Kind.titled])
    for kind, mine in chosen.items():
        styles = {label.frame for label in mine.values()} if kind in STYLED else {None}
        for style in sorted(styles, key=str):
            yield kind, {i: x for i, x in mine.items() if style in (None, x.frame)}


def _agree(titles: dict[int, list[Label]]) -> dict[int, Label]:
    """One reading of each title: whole, or with a frame that other lines share.

    A title that the prompt does not know counts where it has the others' frame, or where it stands
    alone between two that count.
    """
    counts = Counter(label.frame for labels in titles.values() for label in labels)
    chosen = {i: max(labels, key=lambda label: counts[label.frame]) for i, labels in titles.items()}
    kept = {
        i: label
        for i, label in chosen.items()
        if label.subject and (label.frame == ("", "") or counts[label.frame] > 1)
    }
    starts = tuple(f"{frame[0]} " for frame in {k.frame for k in kept.values()} if frame[0])
    alone = len(kept) > 2 and all(j - i < 3 for i, j in pairwise(sorted(kept)))
    for i, labels in titles.items():
        text = labels[-1].text
        between = alone and i - 1 in kept and i + 1 in kept
        if i not in kept and (between or (starts and text.startswith(starts))):
            kept[i] = Label(text)
    return kept


def _marked(lines: list[Line], prompt: Prompt, titled: dict[int, Label]) -> dict[int, Label]:
    """Marked lines; a first one that is unlike all others, or says nothing, is a heading."""
    marked = [i for i, line in enumerate(lines) if line.marked]
    if len(marked) > 2:
        first, others = marked[0], marked[1:]
        title = title_of(lines[first].text, prompt).text
        empty = not lines[first].text[len(title) :].strip(" :：") and others[0] == first + 1
        if empty or (first not in titled and all(i in titled for i in others)):
            marked = others
    return {i: titled.get(i) or title_of(lines[i].text, prompt) for i in marked}


def _runs(lines: list[Line], labels: dict[int, Label], kind: Kind) -> list[list[int]]:
    """Consecutive step lines, with nothing between them but what belongs to a step."""
    runs: list[list[int]] = []
    for i in sorted(labels):
        last = runs[-1][-1] if runs else None
        if last is None or not (kind is Kind.marked or _joined(lines, labels, last, i, kind)):
            runs.append([i])
        elif kind is Kind.counted and not any(_gaps(labels[last], labels[i])):
            runs.append([i])  # counted from the start again
        else:
            runs[-1].append(i)
    return [_trim(lines, labels, run, kind) for run in runs if len(run) > 1]


def _gaps(a: Label, b: Label) -> set[int]:
    """By how much b may be counted further than a; 0 where it is not."""
    return {max(y - x, 0) for x in a.numbers for y in b.numbers}


def _joined(lines: list[Line], labels: dict[int, Label], a: int, b: int, kind: Kind) -> bool:
    """Whether the lines between two steps all belong to the first of them.

    List items do, and what stands between two headings or between two numbers that follow one
    another. Else plain lines do up to a blank one, and under a title of the prompt's words only
    where a blank one follows: nobody could tell where the last step ends.
    """
    level = len(labels[a].frame[0]) - 1 if kind is Kind.heading else 6
    if any(is_heading(line.text, level) for line in lines[a + 1 : b]):
        return False
    counted_on = kind is Kind.counted and 1 in _gaps(labels[a], labels[b])
    if kind in (Kind.heading, Kind.headed) or counted_on:
        return True
    plain_too = kind in (Kind.counted, Kind.bold) or (kind is Kind.titled and lines[b - 1].blank)
    return not any(
        not lines[i].blank
        and (lines[i - 1].blank or not plain_too)
        and not CONTINUES.match(lines[i].text)
        for i in range(a + 1, b)
    )


def _trim(lines: list[Line], labels: dict[int, Label], run: list[int], kind: Kind) -> list[int]:
    """Without a heading before, and a conclusion after: it says so, or begins with an earlier
    name."""
    texts = [labels[i].text for i in run]
    while kind is Kind.named and len(run) > 2 and texts[-1] in texts[:-1]:
        run, texts = run[:-1], texts[:-1]
    while len(run) > 2 and _concludes(lines[run[-1] :], texts[-1]):
        run, texts = run[:-1], texts[:-1]
    first = lines[run[0]].text[len(texts[0]) :].strip(" :：*")
    heads = not first and all(line.blank for line in lines[run[0] + 1 : run[1]])
    return run[1:] if len(run) > 2 and heads else run


def _concludes(rest: list[Line], label: str) -> bool:
    """Whether the step at the start of `rest` says that it is drawn from those before it."""
    body = rest[0].text[len(label) :].strip(" :：*") or next(
        (x.text for x in rest[1:] if not x.blank), ""
    )
    return sums_up(label, body)


def _cut(
    text: str,
    lines: list[Line],
    labels: dict[int, Label],
    run: list[int],
    kind: Kind,
    close: tuple[int, int] | None,
) -> Block:
    """The block of the step lines `run`; a step keeps its mark, which its topic starts with."""
    marks = [MARK if lines[i].marked else "" for i in run]
    starts = [lines[i].start - len(mark) for i, mark in zip(run, marks, strict=True)]
    ends = [lines[i - 1].end for i in run[1:]]
    ends.append(last_end(lines, run, close is not None and max(labels) == run[-1]))
    texts = [text[a:b].rstrip() for a, b in zip(starts, ends, strict=True)]
    gaps = [text[a + len(t) : b] for a, t, b in zip(starts, texts, starts[1:], strict=False)]
    end = starts[-1] + len(texts[-1])
    lead, tail = text[: starts[0]], text[end:]
    step_labels = _drop_shared_subjects(
        [replace(labels[i], text=m + labels[i].text) for i, m in zip(run, marks, strict=True)]
    )
    equal = len({label.text for label in step_labels}) < len(step_labels)
    if kind is Kind.bulleted or (kind is Kind.bold and equal):
        topics = make_topics(texts)
        step_labels = [
            replace(label, text=topic) for label, topic in zip(step_labels, topics, strict=True)
        ]
    steps = tuple(Step(label, t) for label, t in zip(step_labels, texts, strict=True))
    spans = tuple((a, a + len(t)) for a, t in zip(starts, texts, strict=True))
    return Block(kind, lead, steps, Counter(gaps).most_common(1)[0][0], tail, spans)


def _drop_shared_subjects(labels: list[Label]) -> list[Label]:
    """Labels without a subject that most labels hold: it tells nothing apart."""
    texts = [f" {label.text} " for label in labels]
    most = max(len(labels) // 2, 1)
    return [
        replace(x, subject="") if sum(f" {x.subject} " in t for t in texts) > most else x
        for x in labels
    ]
