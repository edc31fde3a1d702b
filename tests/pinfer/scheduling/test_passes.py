"""Passes are pinned: how many there are, which rows each has, and what the statistics say."""

import random

import pytest
import torch

from pbranch.format.layout import LayoutOptions
from pbranch.format.tree import Fork
from pinfer.output.generation import _stats
from pinfer.params import EngineLimits
from tests.conftest import MODEL_KINDS
from tests.support.toy_engine import END_OF_TEXT, MARKERS, Toy, greedy, scripted, toy_model

torch.set_num_threads(1)
OWN = LayoutOptions(outline="own")
AGAIN = LayoutOptions(join="reencode")


def some_prompts(n, seed=0):
    rng = random.Random(seed)
    return [[rng.randrange(16) for _ in range(rng.randint(1, 12))] for _ in range(n)]


def stats_of(request):
    tokens = [(t, f) for t, f, _ in request.trunk.tokens()]
    return _stats(request, sum(not f for _, f in tokens), len(tokens))


@pytest.mark.parametrize(
    "kind, options",
    [*((kind, o) for kind in MODEL_KINDS for o in (LayoutOptions(), AGAIN)), ("qwen3", OWN)],
    ids=str,
)
def test_passes_are_the_critical_path(kind, options):
    """Nested and repeated blocks, limits and all: exactly one pass a drawn token, less one."""
    model, prompts = toy_model(kind, 11), some_prompts(10)
    parallel = Toy(model, options).run(prompts, greedy())
    serial = Toy(model, options).run(prompts, greedy(mode="serial"))
    for request, alone in zip(parallel, serial, strict=True):
        drawn = sum(lane.budget.sampled for lane in request.lanes)
        assert drawn == request.trunk.budget.used == alone.trunk.budget.used
        assert request.stats.passes == request.trunk.critical_path() - 1
        assert alone.stats.passes == drawn - 1
    assert sum(r.stats.passes for r in parallel) < sum(r.stats.passes for r in serial)


@pytest.mark.parametrize("kind", ["qwen3"])
def test_a_pass_has_a_drawn_row_for_every_live_lane(kind):
    """Besides them, only rows that are injected or close something."""
    passes = []

    def look(batch, _):
        drawn, seen = set(batch.logits_indices), {}
        for i, row in enumerate(batch.tokens):
            request = row.lane.request
            count = seen.setdefault(request.number, [0, request])
            count[0] += i in drawn
        for count, request in seen.values():
            assert count == request.live, "a live lane has no row to draw from"
        passes.append(len(batch.tokens))

    Toy(toy_model(kind, 12), on_step=look).run(some_prompts(8), greedy())
    assert len(passes) > 20


def test_rows_of_each_pass_by_hand():
    """Two branches, one of them forks again: every row of every pass."""
    m = MARKERS
    scripts = {
        (): [m.fork, m.topic, 1, m.topic, 2, 3, m.spawn, 4, END_OF_TEXT],
        ((0, 0),): [5, m.end],
        ((0, 1),): [m.fork, m.topic, 6, m.topic, 7, m.spawn, 8, m.end],
        ((0, 1), (0, 0)): [m.end],
        ((0, 1), (0, 1)): [9, 10, m.end],
    }
    fed = []
    toy = Toy(
        toy_model("llama"),
        on_step=lambda batch, _: fed.append([r.token_id for r in batch.tokens]),
        choose=scripted(scripts),
    )
    (request,) = toy.run([[0, 1]], greedy())
    assert fed == [
        [0, 1],
        *([t] for t in [m.fork, m.topic, 1, m.topic, 2, 3]),
        [m.spawn, m.branch, 1, m.branch, 2, 3],  # spawn and all headers in one pass
        [5, m.fork],
        [m.end, m.topic],
        [6],
        [m.topic],
        [7],
        [m.spawn, m.branch, 6, m.branch, 7],
        [m.end, 9],
        [10],
        [m.end, m.join],  # the last end and the join in one
        [8],
        [m.end, m.join],
        [4],
    ]
    stats = stats_of(request)
    assert (stats.passes, stats.critical_path_tokens) == (len(fed) - 1, len(fed))
    assert stats.rows == sum(map(len, fed)) - 2
    assert stats.kv_rows == sum(map(len, fed))
    assert (stats.blocks, stats.branches, stats.max_width, stats.max_depth) == (2, 4, 2, 2)
    assert stats.generated_tokens == sum(map(len, scripts.values()))
    assert stats.injected_tokens == 5 + 2 + 4 + 2 - 2
    assert request.limits == [] and request.finish_reason == "stop"


@pytest.mark.parametrize("kind", ["qwen2", "gemma3"])
def test_statistics_agree_with_the_text(kind):
    toy = Toy(toy_model(kind, 13))
    for request in toy.run(some_prompts(10), greedy()):
        stats, trace = stats_of(request), toy.trace(request)
        forks = list(trace.all_forks())
        tokens = [(t, f) for t, f, _ in request.trunk.tokens()]
        assert stats.blocks == len(forks)
        assert stats.branches == sum(len(f.branches) for f in forks)
        assert stats.max_depth == trace.depth
        assert stats.generated_tokens + stats.injected_tokens == len(tokens)
        assert stats.generated_tokens <= request.trunk.budget.used <= request.params.max_new_tokens
        assert stats.rows <= len(tokens)
        if request.finish_reason == "stop":  # all but the end of the text was fed
            assert stats.rows == len(tokens) - 1
        assert stats.prompt_tokens == len(request.prompt)
        widest = max((len(p.branches) for p in trace.parts if isinstance(p, Fork)), default=1)
        assert stats.max_width >= widest


def test_prefill_is_not_counted():
    """However the prompt is cut."""
    model, prompt = toy_model("qwen3", 14), some_prompts(1, 3)[0] * 3
    for rows in (1, 2, 5, 512):
        (request,) = Toy(model, limits=EngineLimits(max_rows=rows)).run(
            [prompt], greedy(mode="linear", max_new_tokens=10)
        )
        assert request.stats.passes == request.stats.fed == request.trunk.budget.sampled - 1
