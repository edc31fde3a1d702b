"""Which lines with labels are the steps of one block: what stands between two of them, and what
heads or sums up the others."""

import re
from collections import Counter
from itertools import pairwise

from pdata.rules.blocks.conclusions import follows, is_back_matter, is_closing, sums_up
from pdata.rules.blocks.labels import Kind, Label, is_heading
from pdata.rules.blocks.lines import Line, belongs, is_item, is_open, is_outside

# the number of an item, and right after it that of a part: (2)(i), 2. (a), 第二问①
_SUB_ITEM = re.compile(
    r"[\W_]*(?:\w+ )?第?(?:\d{1,3}|[A-Za-z]|[IVX]+|[一二三四五六七八九十]+)[^\w\s(（]*\s?"
    r"(?:[(（](?:[ivx]{1,4}|[a-h]|\d)[)）]|[ivx]{1,4}[.)）]|[a-h][)）]|[①-⑨])"
)
_JOINS = ("and", "or", "&", ",", "和", "与", "、")  # a name with others
ORDINALS = ("ordinal", "首")  # frames of words that count: Firstly, 首先


def find_runs(lines: list[Line], labels: dict[int, Label], kind: Kind) -> list[list[int]]:
    """Consecutive step lines, with nothing between them but what belongs to a step."""
    runs: list[list[int]] = []
    for i in sorted(labels):
        last = runs[-1][-1] if runs else None
        if last is None or not (kind is Kind.marked or _joined(lines, labels, last, i, kind)):
            runs.append([i])
        elif kind is Kind.counted and not any(gaps(labels[last], labels[i])):
            runs.append([i])  # counted from the start again
        else:
            runs[-1].append(i)
    trimmed = (_trim(lines, labels, run, kind) for run in runs if len(run) > 1)
    return [run for run in trimmed if len(run) > 1]


def conclusion_after(
    lines: list[Line], labels: dict[int, Label], last: int, kind: Kind
) -> int | None:
    """The line of the step that was counted with the others but sums them up, which tells where the
    last one ends."""
    after = min((i for i in labels if i > last), default=None)
    if kind is not Kind.counted or after is None or 1 not in gaps(labels[last], labels[after]):
        return None
    return after if _joined(lines, labels, last, after, kind) else None


def is_bare(line: Line, label: Label) -> bool:
    """Whether a line says nothing but its label."""
    return not line.text[len(label.text) :].strip(" :：*")


def leads(lines: list[Line], a: int, b: int) -> bool:
    """Whether an item leads to the items that follow it, right after its colon."""
    return all(line.blank for line in lines[a + 1 : b]) and is_open(lines[a].text)


def gaps(a: Label, b: Label) -> set[int]:
    """By how much b may be counted further than a; 0 where it is not. A numeral does not go on
    after a letter, and one that may be either is the next letter or none: D. and V."""
    found = {
        (sort, max(y - x, 0)) for sort, x in a.readings for other, y in b.readings if sort == other
    }
    either = len(b.numbers) > 1 and a.frame[0].endswith("upper")
    return {n for sort, n in found if not either or sort == "numeral" or n < 2}


def announces(lines: list[Line], labels: dict[int, Label], run: list[int]) -> bool:
    """Whether a step says something and ends in a colon, right before the next one: that one is
    what it announces, and no item of the same list."""
    for a, b in pairwise(run):
        last = max(i for i in range(a, b) if not lines[i].blank)
        # an item at the end heads the next section, as in a list under "Cons:"
        says = not is_item(lines[last]) if last > a else not is_bare(lines[a], labels[a])
        if says and is_open(lines[last].text):
            return True
    return False


def goes_on_within(lines: list[Line], labels: dict[int, Label], i: int, other: int | None) -> bool:
    """Whether a step and another one next to it are parts of the same item: (2)(i) and (2)(ii)."""
    if other is None or labels[i].numbers != labels[other].numbers:
        return False
    return all(_SUB_ITEM.match(lines[k].text) for k in (i, other))


def _joined(lines: list[Line], labels: dict[int, Label], a: int, b: int, kind: Kind) -> bool:
    """Whether the lines between two steps all belong to the first of them.

    List items do, and what stands between two headings or between two numbers that follow one
    another. Else plain lines do up to a blank one, and under a title of the prompt's words only
    where a blank one follows: nobody could tell where the last step ends.
    """
    steps = gaps(labels[a], labels[b]) if kind is Kind.counted else set()
    if kind is Kind.counted and a and is_outside(lines[b], lines[a]):
        return False  # it is of a list further out; only a text may begin with spaces
    outside = (i for i in range(a + 1, b) if is_outside(lines[i], lines[a]))
    # the text of an item may go on further out, right under it
    if any(1 not in steps or lines[i - 1].blank or is_item(lines[i]) for i in outside):
        return False
    level = len(labels[a].frame[0]) if kind is Kind.heading else 6
    if any(is_heading(line.text, level) for line in lines[a + 1 : b]):
        return False
    # what comes last may come after any number, but from "first" to "finally" a story is told
    ordinal = labels[a].frame[0] in ORDINALS and max(labels[a].numbers) > 1
    counted_on = 1 in steps or (ordinal and any(steps))
    if kind in (Kind.heading, Kind.headed) or counted_on:
        return True
    plain_too = kind in (Kind.counted, Kind.bold) or (kind is Kind.titled and lines[b - 1].blank)
    return not any(
        not lines[i].blank
        and (lines[i - 1].blank or not plain_too)
        and not belongs(lines[i], lines[a])
        for i in range(a + 1, b)
    )


def _trim(lines: list[Line], labels: dict[int, Label], run: list[int], kind: Kind) -> list[int]:
    """Without a heading before, and a conclusion after: it says so, or begins with an earlier
    name."""
    texts = [labels[i].text for i in run]
    while kind is Kind.named and len(run) > 2 and texts[-1] in texts[:-1]:
        run, texts = run[:-1], texts[:-1]
    subjects = [labels[i].subject for i in run]
    while (
        kind is Kind.titled and len(run) > 2 and subjects[len(run) - 1] in subjects[: len(run) - 1]
    ):
        run, texts = run[:-1], texts[:-1]
    closing = next((n for n, i in enumerate(run) if n > 1 and is_closing(lines[i].text)), None)
    if closing and all(is_back_matter(lines[i].text) for i in run[closing + 1 :]):
        run = run[:closing]
    while len(run) > 1 and _concludes(lines[run[-1] :], labels[run[-1]], kind):
        run, texts = run[:-1], texts[:-1]
    bare = len(run) > 2 and is_bare(lines[run[0]], labels[run[0]])
    heads = bare and all(line.blank for line in lines[run[0] + 1 : run[1]])
    if kind is Kind.bulleted and len(run) > 2 and not leads(lines, run[1], run[2]):
        heads = leads(lines, run[0], run[1])
    return run[1:] if heads else run


def _concludes(rest: list[Line], label: Label, kind: Kind) -> bool:
    """Whether the step at the start of `rest` says that it is drawn from those before it; under a
    title of its own, "finally" just ends a list."""
    body = body_of(rest, label.text)
    titled = re.search(r"\w{2}", label.text) and kind is not Kind.named and label.frame[0] != "首"
    return sums_up(label.text, body) or (not titled and follows(body))


def body_of(rest: list[Line], label: str) -> str:
    """The first words of the step at the start of `rest`, after its label."""
    body = rest[0].text[len(label) :].strip(" :：*，,")
    return body or next((x.text for x in rest[1:] if not x.blank), "")


def is_pattern(lines: list[Line], labels: dict[int, Label], run: list[int]) -> bool:
    """Whether most names go on with the same word, as sentences do that say the same of each; "and"
    says nothing, nor is there a list where a name is told again by a part of it."""
    names = [f" {labels[i].text.strip(' -*•+')} " for i in run]
    if any(a != b and a in b for a in names for b in names):
        return False
    ends = [re.search(r"\w+|[^\w\s]", lines[i].text[len(labels[i].text) :]) for i in run]
    often = Counter(end[0] for end in ends if end).most_common(1)
    return bool(often) and often[0][0] not in _JOINS and often[0][1] >= max(2, 2 * len(run) / 3)
