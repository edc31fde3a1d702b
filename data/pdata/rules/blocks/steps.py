"""Finds the block of a linear trace: a run of lines or paragraphs that are steps, by their form.

A step may go on over several lines. Whether the steps depend on each other is independence.py's.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from pbranch.format.paper_dialect import MARK
from pdata.rules.blocks.block_end import is_cut_short, last_end, leads_on, sentence_start
from pdata.rules.blocks.conclusions import answers, looks_at_all, turns
from pdata.rules.blocks.faults.find_fault import NO_END, find_fault
from pdata.rules.blocks.labels import STYLED, Kind, Label, find_labels, title_of
from pdata.rules.blocks.lines import Line, split
from pdata.rules.blocks.runs import conclusion_after, find_runs
from pdata.rules.blocks.titles import is_short
from pdata.rules.blocks.topics import make_topics
from pdata.rules.prompt import Prompt

_OPTION = re.compile(r"(?:^|[\s(])([A-J])\W*$")
_LETTERS = re.compile(r"(?<!\w)[A-J](?!\w)")


@dataclass(frozen=True, slots=True)
class Step:
    """The text of one branch and the label it starts with."""

    label: Label
    text: str


@dataclass(frozen=True, slots=True)
class Block:
    """A trace in three: `lead` + steps joined by `separator` + `tail`. `spans`: where the steps
    stand in the text, which a rewriter's own blocks do not tell; `fault`: what else speaks against
    it."""

    kind: Kind
    lead: str
    steps: tuple[Step, ...]
    separator: str
    tail: str
    spans: tuple[tuple[int, int], ...] = ()
    fault: str | None = None

    @property
    def flaw(self) -> str | None:
        """Why these cannot be branches, None when they can."""
        topics = [step.label.topic for step in self.steps]
        if len(topics) < 2:
            return "one branch"
        if len({" ".join(t.lower().split()) for t in topics}) < len(topics):
            return "equal topics"
        if not all(re.search(r"\w", topic) for topic in topics):
            return "no topic"
        if any(not re.search(r"\w", s.text[len(s.label.topic) :]) for s in self.steps):
            return "empty body"
        if self.kind is Kind.marked or self.fault:
            return self.fault
        texts = [step.text for step in self.steps]
        if any(map(leads_on, texts[:-1])):
            return "dependent steps"
        return NO_END if is_cut_short(texts, self.tail) else None


def find_blocks(text: str, prompt: Prompt) -> list[Block]:
    """Candidates: one that others lie within comes before them, and then the one with more steps;
    where they tie, in the order of `Kind`."""
    sections, close = split(text)
    blocks = [
        replace(
            _cut(text, lines, labels, run, kind, close is not None and lines is sections[-1]),
            fault=find_fault(lines, labels, run, kind, prompt),
        )
        for lines in sections
        for kind, labels in _label_lines(lines, prompt)
        for run in find_runs(lines, labels, kind)
    ]
    order = list(Kind)
    blocks.sort(key=lambda b: (-len(b.steps), order.index(b.kind)))
    return sorted(blocks, key=lambda b: -sum(_within(other, b) for other in blocks))


def split_close(text: str) -> tuple[str, str, str]:
    """What stands before the first close mark, the mark, and what follows it."""
    _, close = split(text)
    start, end = close or (len(text), len(text))
    return text[:start], text[start:end], text[end:]


def _within(inner: Block, outer: Block) -> bool:
    """Whether all of `inner` stands in one step of `outer`."""
    first, last = inner.spans[0][0], inner.spans[-1][1]
    return any(a <= first and last <= b for a, b in outer.spans)


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


def _cut(
    text: str,
    lines: list[Line],
    labels: dict[int, Label],
    run: list[int],
    kind: Kind,
    closed: bool,
) -> Block:
    """The block of the step lines `run`; a step keeps its mark, which its topic starts with."""
    marks = [MARK if lines[i].marked else "" for i in run]
    starts = [lines[i].start - len(mark) for i, mark in zip(run, marks, strict=True)]
    ends = [lines[i - 1].end for i in run[1:]]
    after = conclusion_after(lines, labels, run[-1], kind)
    ends.append(
        lines[after - 1].end if after else last_end(lines, run, closed and max(labels) == run[-1])
    )
    texts = [text[a:b].rstrip() for a, b in zip(starts, ends, strict=True)]
    step_labels = _drop_shared_subjects(
        [replace(labels[i], text=m + labels[i].text) for i, m in zip(run, marks, strict=True)]
    )
    if kind is not Kind.marked:
        texts[-1] = _without_answer(texts, step_labels[-1])
    gaps = [text[a + len(t) : b] for a, t, b in zip(starts, texts, starts[1:], strict=False)]
    end = starts[-1] + len(texts[-1])
    lead, tail = text[: starts[0]], text[end:]
    step_labels = _name_steps(kind, step_labels, texts)
    steps = tuple(Step(label, t) for label, t in zip(step_labels, texts, strict=True))
    spans = tuple((a, a + len(t)) for a, t in zip(starts, texts, strict=True))
    return Block(kind, lead, steps, Counter(gaps).most_common(1)[0][0], tail, spans)


def _without_answer(texts: list[str], label: Label) -> str:
    """The last step without the sentences from the one on that says what the answer is, or turns
    back, where the other steps say no such thing. What is nothing else is no step, but an option
    may be it."""
    last = texts[-1]
    counts = label.frame[0] in ("首", "第", "ordinal") or label.frame[0].endswith("digit")
    for is_meant in (answers, turns, looks_at_all):
        if not is_meant(last) or any(map(is_meant, texts[:-1])):
            continue
        start = sentence_start(last, len(label.text), is_meant)
        if is_meant is turns and _is_of_own(last[start:], label):
            continue  # an afterthought
        if start > len(label.text) or (counts and is_meant is answers):
            last = last[:start].rstrip()
    return last


def _is_of_own(text: str, label: Label) -> bool:
    """Whether an afterthought speaks of the option with this label, and of no other."""
    own = None if text.startswith("Alternatively") else _OPTION.search(label.text)
    return own is not None and set(_LETTERS.findall(text)) == {own[1]}


def _name_steps(kind: Kind, labels: list[Label], texts: list[str]) -> list[Label]:
    """The labels with topics that say something: a number gets the first words of its step."""
    equal = len({label.text for label in labels}) < len(labels)
    if kind is Kind.counted and any(label.bare for label in labels):
        return _name_numbers(labels, texts)
    if kind is Kind.bulleted or (kind is Kind.bold and equal):
        topics = make_topics(texts)
        return [replace(label, text=topic) for label, topic in zip(labels, topics, strict=True)]
    return labels


def _name_numbers(labels: list[Label], texts: list[str]) -> list[Label]:
    """The labels, numbers with the title or the first words that follow."""
    firsts = [text.partition("\n")[0].rstrip() for text in texts]
    if all(_is_title_line(x, len(t)) for x, t in zip(firsts, texts, strict=True)):
        topics = firsts
    else:
        bare = [(x.text, t) for x, t in zip(labels, texts, strict=True) if x.bare]
        made = iter(make_topics([t for _, t in bare], [x for x, _ in bare]))
        topics = [next(made) if label.bare else label.text for label in labels]
    if not all(re.search(r"\w", t[len(x) :]) for x, t in zip(topics, texts, strict=True)):
        return labels  # a topic is all that a step says
    return [
        replace(label, more=topic[len(label.text) :])
        for label, topic in zip(labels, topics, strict=True)
    ]


def _is_title_line(line: str, length: int) -> bool:
    """Whether the first line of a step of some length is a title by itself."""
    ended = re.search(r"[.!?;。！？；，,:：]$", line.rstrip(" *"))
    return len(line) < length and is_short(line) and not ended


def _drop_shared_subjects(labels: list[Label]) -> list[Label]:
    """Labels without a subject that most labels hold: it tells nothing apart."""
    texts = [f" {label.text} " for label in labels]
    most = max(len(labels) // 2, 1)
    return [
        replace(x, subject="") if sum(f" {x.subject} " in t for t in texts) > most else x
        for x in labels
    ]
