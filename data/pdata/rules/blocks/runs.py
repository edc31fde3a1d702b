"""Which lines with labels are the steps of one block: what stands between two of them, what heads
or sums up the others, and whether like lines are left out."""

import re

from pdata.rules.blocks.block_end import follows, sums_up
from pdata.rules.blocks.labels import STYLED, Kind, Label, heading_level, is_heading
from pdata.rules.blocks.lines import Line, belongs, is_outside
from pdata.rules.blocks.titles import closes

_OPENS = re.compile(
    r"[#\s*\d.]*(?:introduction|overview|background|abstract|引言|简介|概述|前言)", re.I
)
_ENDS = re.compile(
    r"[#\s*\d.]*(?:conclusion|summary|final|closing|references|sources|notes?|tips|"
    r"additional|faq|结语|总结|结论|参考|注意)",
    re.I,
)
_FINAL = re.compile(r"[-*_#\s\d.、()]*(?:final|finally|最终)", re.IGNORECASE)


def find_runs(lines: list[Line], labels: dict[int, Label], kind: Kind) -> list[list[int]]:
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
    trimmed = (_trim(lines, labels, run, kind) for run in runs if len(run) > 1)
    return [run for run in trimmed if len(run) > 1]


def is_torn(lines: list[Line], labels: dict[int, Label], run: list[int], kind: Kind) -> bool:
    """Whether a like line stands next to the steps, but is none of them; one that sums them up may,
    unless it follows from them as their last step."""
    order = sorted(labels)
    first, last = order.index(run[0]), order.index(run[-1])
    before = order[first - 1] if first else None
    if before is not None and _is_bare(lines[before], labels[before]):
        before = None  # it heads the steps
    after = order[last + 1] if last + 1 < len(order) else None
    if kind is Kind.counted:
        style, numbers = labels[run[0]].frame[0], labels[run[0]].numbers
        torn = style.endswith("digit") and min(numbers) > 1
        torn |= before is not None and 1 in _gaps(labels[before], labels[run[0]])
        left_out = after is not None and 1 in _gaps(labels[run[-1]], labels[after])
    elif kind is Kind.heading:
        return _is_torn_heading(lines, run, len(labels[run[0]].frame[0]))
    elif kind in STYLED or kind is Kind.titled:
        torn = before is not None and _are_neighbours(lines, before, run[0])
        left_out = after is not None and _are_neighbours(lines, run[-1], after)
    else:
        return False
    if torn or not left_out or after is None:
        return torn
    # what only sums up may stay out; the last step of one line of thought may not
    title, body = labels[after].text, _body(lines[after:], labels[after].text)
    if not sums_up(title, body) or _FINAL.match(title):
        return True
    return False


def _is_torn_heading(lines: list[Line], run: list[int], level: int) -> bool:
    """Whether a heading of the same level, that neither opens nor closes the page, stands next to
    the steps."""
    like = [i for i, line in enumerate(lines) if heading_level(line.text) == level]
    before, after = [i for i in like if i < run[0]][-1:], [i for i in like if i > run[-1]][:1]
    higher = [i for i, line in enumerate(lines) if 0 < heading_level(line.text) < level]
    before = [i for i in before if not any(i < j < run[0] for j in higher)]
    after = [i for i in after if not any(run[-1] < j < i for j in higher)]
    return any(not _OPENS.match(lines[i].text) for i in before) or any(
        not (_ENDS.match(lines[i].text) or closes(lines[i].text)) for i in after
    )


def _is_bare(line: Line, label: Label) -> bool:
    """Whether a line says nothing but its label."""
    return not line.text[len(label.text) :].strip(" :：*")


def _are_neighbours(lines: list[Line], a: int, b: int) -> bool:
    """Whether nothing stands between two lines but what belongs to the first by its form."""
    return all(lines[i].blank or belongs(lines[i], lines[a]) for i in range(a + 1, b))


def _gaps(a: Label, b: Label) -> set[int]:
    """By how much b may be counted further than a; 0 where it is not."""
    return {max(y - x, 0) for x in a.numbers for y in b.numbers}


def _joined(lines: list[Line], labels: dict[int, Label], a: int, b: int, kind: Kind) -> bool:
    """Whether the lines between two steps all belong to the first of them.

    List items do, and what stands between two headings or between two numbers that follow one
    another. Else plain lines do up to a blank one, and under a title of the prompt's words only
    where a blank one follows: nobody could tell where the last step ends.
    """
    if any(is_outside(line, lines[a]) for line in lines[a + 1 : b]):
        return False
    level = len(labels[a].frame[0]) if kind is Kind.heading else 6
    if any(is_heading(line.text, level) for line in lines[a + 1 : b]):
        return False
    counted_on = kind is Kind.counted and 1 in _gaps(labels[a], labels[b])
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
    while len(run) > 1 and _concludes(lines[run[-1] :], labels[run[-1]], kind):
        run, texts = run[:-1], texts[:-1]
    heads = (
        len(run) > 2
        and _is_bare(lines[run[0]], labels[run[0]])
        and all(line.blank for line in lines[run[0] + 1 : run[1]])
    )
    return run[1:] if heads else run


def _concludes(rest: list[Line], label: Label, kind: Kind) -> bool:
    """Whether the step at the start of `rest` says that it is drawn from those before it; under a
    title of its own, "finally" just ends a list."""
    body = _body(rest, label.text)
    titled = re.search(r"\w{2}", label.text) and kind is not Kind.named and label.frame[0] != "首"
    return sums_up(label.text, body) or (not titled and follows(body))


def _body(rest: list[Line], label: str) -> str:
    """The first words of the step at the start of `rest`, after its label."""
    body = rest[0].text[len(label) :].strip(" :：*，,")
    return body or next((x.text for x in rest[1:] if not x.blank), "")
