"""Branches do not see one another: changing one's body moves no other's logits. And the order in
which the rows of a pass are fed moves nothing."""

import pytest
import torch

from pbranch.format.layout import LayoutOptions
from pinfer.params import EngineLimits
from pinfer.request import transitions
from pinfer.scheduling import scheduler
from tests.conftest import MODEL_KINDS
from tests.support.toy_engine import (
    END_OF_TEXT,
    MARKERS,
    Recorder,
    Toy,
    greedy,
    scripted,
    toy_model,
)

torch.set_num_threads(1)
M = MARKERS
SCRIPTS = {
    (): [3, M.fork, M.topic, 1, M.topic, 2, 3, M.topic, 4, M.spawn, 5, 6, END_OF_TEXT],
    ((0, 0),): [7, 8, 9, M.end],
    ((0, 1),): [10, M.fork, M.topic, 11, M.topic, 12, M.spawn, 13, M.end],
    ((0, 1), (0, 0)): [14, 15, 14, M.end],
    ((0, 1), (0, 1)): [0, 1, M.end],
    ((0, 2),): [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, M.end],
}
OPTIONS = [LayoutOptions(), LayoutOptions("flat", "own"), LayoutOptions(join="reencode")]
CASES = [
    *((kind, OPTIONS[i % 2]) for i, kind in enumerate(MODEL_KINDS)),
    *(("qwen2", options) for options in OPTIONS[1:]),
]


def run(model, scripts, options=None, **limits):
    """Logits of drawn rows by (path, how many its lane had drawn)."""
    record = Recorder()
    toy = Toy(model, options, EngineLimits(**limits), on_step=record, choose=scripted(scripts))
    toy.run([[5, 4, 3, 2]], greedy())
    lanes: dict = {}
    for (_, path, position), logits in sorted(record.logits.items(), key=lambda x: x[0][2]):
        lanes.setdefault(path, []).append((position, logits))
    return lanes


def related(a, b):
    """One lane is the other, or lies inside it."""
    n = min(len(a), len(b))
    return a[:n] == b[:n]


@pytest.mark.parametrize("changed", [p for p in SCRIPTS if p], ids=str)
@pytest.mark.parametrize("kind, options", CASES, ids=str)
def test_a_branchs_body_moves_no_sibling(kind, changed, options):
    """Another word first, and two words more: the lane moves, its siblings and their lanes do not;
    the trunk moves from the join on."""
    model = toy_model(kind, 21)
    before = run(model, SCRIPTS, options)
    body = SCRIPTS[changed]
    for other in ([(body[0] + 1) % 16, *body[1:]], [9, 9, *body]):
        after = run(model, {**SCRIPTS, changed: other}, options)
        for path, rows in before.items():
            if related(path, changed):
                continue
            for (p, one), (q, two) in zip(rows, after[path], strict=True):
                assert p == q
                torch.testing.assert_close(one, two, rtol=0, atol=1e-12)
        outline = len(SCRIPTS[()]) - 3  # rows of the trunk in front of the branches
        for (_, one), (_, two) in zip(before[()][:outline], after[()][:outline], strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-12)
        moved = (after[changed][1][1] - before[changed][1][1]).abs().max()
        assert moved > 1e-3, "the probe itself sees nothing"
        if kind != "mistral":  # its window, 8, may end behind the word that was changed
            for parent in {(), changed[:-1]}:
                joined = (after[parent][-2][1] - before[parent][-2][1]).abs().max()
                assert joined > 1e-9, "the join does not see the branch"


@pytest.mark.parametrize("width", [None, 2])
@pytest.mark.parametrize("kind, options", CASES, ids=str)
def test_the_order_of_branches_in_a_pass_moves_nothing(kind, width, options, monkeypatch):
    model, fed = toy_model(kind, 22), []

    def logits(choose_next):
        def admit(request, rules, others):
            while request.waiting and (width is None or request.live < width):
                lane = choose_next(request.waiting, key=lambda x: x.path)
                request.waiting.remove(lane)
                transitions.start(lane, rules)

        monkeypatch.setattr(scheduler, "admit", admit)
        record = Recorder()
        passes = []

        def look(batch, found):
            passes.append([row.lane.path for row in batch.tokens])
            record(batch, found)

        Toy(model, options, on_step=look, choose=scripted(SCRIPTS)).run([[5, 4, 3]], greedy())
        fed.append(passes)
        return record.logits

    one, two = logits(min), logits(max)
    assert fed[0] != fed[1]
    assert one.keys() == two.keys()
    for key, found in one.items():
        torch.testing.assert_close(found, two[key], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_outline_own_hides_the_outline_from_branches_only(kind):
    """A topic of the same length, changed: with `own` only its branch and the join move."""
    model = toy_model(kind, 23)
    changed = {**SCRIPTS, (): [3, M.fork, M.topic, 1, M.topic, 2, 9, *SCRIPTS[()][7:]]}
    for outline in ("own", "all"):
        before = run(model, SCRIPTS, LayoutOptions(outline=outline))
        after = run(model, changed, LayoutOptions(outline=outline))
        first = (before[((0, 2),)][0][1] - after[((0, 2),)][0][1]).abs().max()
        assert (first < 1e-12) == (outline == "own")
        renamed = (before[((0, 1),)][0][1] - after[((0, 1),)][0][1]).abs().max()
        assert renamed > 1e-3
