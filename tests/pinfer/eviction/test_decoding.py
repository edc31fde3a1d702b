"""Decoding with a bounded cache: what tokens see, what stays, and that nothing else changes it."""

import copy
import dataclasses
import random

import pytest
import torch

from pbranch.errors import RequestError
from pbranch.format.layout import LayoutOptions
from pinfer.attention import dense
from pinfer.eviction.options import NAMES, TIMED, KVOptions
from pinfer.params import EngineLimits
from pinfer.scheduling.kv_bound import PagedBound
from tests.support.draft_sources import recalling
from tests.support.toy_engine import (
    END_OF_TEXT,
    MARKERS,
    Recorder,
    Toy,
    greedy,
    pieces,
    scripted,
    toy_model,
)

torch.set_num_threads(1)
M = MARKERS
PAGE, BUDGET = 4, 24
EVICTING = [name for name in NAMES if name != "none"]
LAYOUTS = {
    "keep": LayoutOptions(),
    "flat, own": LayoutOptions("flat", "own"),
    "reencode": LayoutOptions(join="reencode"),
}
LINEAR = greedy(mode="linear", max_new_tokens=90, suppress_tokens=(END_OF_TEXT,))


def kv(name="raas", budget=BUDGET, **changes):
    return KVOptions(name, budget, PAGE, **changes)


def some_prompts(n, seed):
    rng = random.Random(seed)
    return [[rng.randrange(16) for _ in range(rng.randint(1, 9))] for _ in range(n)]


def written(requests):
    return [list(r.trunk.tokens()) for r in requests]


class Watch:
    """A toy whose views are seen: by (layer, lane's path, position) the positions that a token
    sees."""

    def __init__(self, toy):
        self.toy, self.core = toy, toy.core()
        self.seen, self.counts, self.sizes = {}, [], []
        runner = self.core.runner.runner
        runner.backend = self.attend

    def attend(self, query, view, layer, **how):
        slots = dense.visible_slots(view)
        positions = view.arena.key_positions(layer)
        for row, token in enumerate(self.tokens):
            found = positions[slots[row]].tolist()
            self.counts.append(len(found))
            self.seen[layer, token.home.path, token.position] = sorted(found)
        return pieces(query, view, layer, **how)

    def run(self, prompts, params):
        """The finished requests; the arena's sizes after each pass are kept."""
        core, arena = self.core, self.core.runner.runner.arena
        run = core.runner.run

        def watched(batch):
            self.tokens = batch.tokens
            logits = run(batch)
            self.sizes.append((arena.rows, arena.reserved, arena.slots))
            return logits

        core.runner.run = watched
        requests = [core.scheduler.add(list(p), params) for p in prompts]
        while core.busy:
            core.step()
        assert all(r.error is None for r in requests), requests[0].error
        return requests


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["qwen3", "gemma3"])
def test_a_budget_that_is_never_reached_changes_nothing(layout, kind):
    """R1: nested and repeated blocks, sliding windows."""
    model, options, prompts = toy_model(kind, 4), LAYOUTS[layout], some_prompts(3, 1)
    plain = Toy(model, options).run(prompts, greedy())
    for small in (kv("raas", 4000), kv("none", 4000), kv("raas", 4000, shared_ts=True)):
        found = Toy(model, options, kv=small).run(prompts, greedy())
        assert written(found) == written(plain)
        assert sum(sum(r.stats.kv.evictions) for r in found) == 0
    assert any(len(r.lanes) > 2 for r in plain)


@pytest.mark.parametrize(
    ("name", "shared_ts"), [*((name, False) for name in EVICTING), ("raas", True), ("lazy", True)]
)
def test_rows_stay_within_the_budget_and_slots_are_used_again(name, shared_ts):
    """R2 and R3, counted in the arena and in what attention was given, not in the policy's books;
    and the pages that left are those of the trace."""
    toy = Toy(toy_model("qwen3", 2), kv=kv(name, shared_ts=shared_ts))
    prompt = [3, 1, 4, 1]
    watch = Watch(toy)
    (request,) = watch.run([prompt], LINEAR)
    length = len(prompt) + request.trunk.budget.sampled
    assert length > 3 * BUDGET
    assert max(rows for rows, _, _ in watch.sizes) <= BUDGET + PAGE
    assert max(watch.counts) <= BUDGET + PAGE
    reached = next(i for i, n in enumerate(watch.sizes) if n[0] == BUDGET + PAGE)
    assert len({size[1:] for size in watch.sizes[reached:]}) == 1, "memory is flat from then on"
    assert len({size[0] for size in watch.sizes[reached:]}) == PAGE, "and really falls"
    trace = request.stats.kv
    for (layer, _, position), found in watch.seen.items():
        gone = {
            at
            for page in trace.pages
            if page.gone.get(layer, length) < position
            for at in range(page.start, page.start + page.tokens)
        }
        assert found == sorted(set(range(position + 1)) - gone)
        assert gone.isdisjoint(range(len(prompt))), "the prompt stays"
        assert gone.isdisjoint(range(position - position % PAGE, position)), "the open page, too"
    pages = sum(len(page.gone) for page in trace.pages)
    assert pages == sum(trace.evictions) and min(trace.evictions) > 10


@pytest.mark.parametrize("kind", ["qwen3", "gemma3"])
def test_what_is_kept_keeps_its_position(kind):
    """R7: logits are those of a forward over the whole text under a mask of what was evicted."""
    model, prompt, record = toy_model(kind, 3), [3, 1, 4, 1, 5], Recorder()
    watch = Watch(Toy(model, kv=kv("random"), on_step=record))
    (request,) = watch.run([prompt], LINEAR)
    ids = [*prompt, *(t for t, _, _ in request.trunk.tokens())][:-1]
    plain, n = copy.deepcopy(model), len(ids)
    plain.set_attn_implementation("sdpa")
    config = model.config
    for layer in range(config.num_hidden_layers):
        near = torch.ones(n, n, dtype=torch.bool)
        kinds = getattr(config, "layer_types", None)
        if kinds and kinds[layer] == "sliding_attention":
            at = torch.arange(n)
            near = at[:, None] - at[None] < config.sliding_window
        mask = torch.zeros(n, n, dtype=torch.bool)
        for row in range(n):
            mask[row, watch.seen[layer, (), row]] = True
        bias = torch.zeros(n, n, dtype=model.dtype).masked_fill(~(mask & near), -torch.inf)

        def replace(module, args, kwargs, bias=bias[None, None]):
            return args, {**kwargs, "attention_mask": bias}

        plain.model.layers[layer].self_attn.register_forward_pre_hook(replace, with_kwargs=True)
    with torch.inference_mode():
        expected = plain(torch.tensor([ids]), use_cache=False).logits[0]
    for (_, _, position), found in record.logits.items():
        torch.testing.assert_close(found, expected[position], rtol=0, atol=1e-9)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["raas", "value"])
def test_how_work_is_cut_into_passes_changes_no_token(layout, name):
    """R9: branches in parallel, in waves, one by one; prompts that share their beginning; passes of
    few tokens. Each reader keeps to its budget."""
    model, options = toy_model("qwen3", 4), LAYOUTS[layout]
    prompts = [[*range(8)] * 4 + [n] for n in range(3)]
    small = kv(name, 32 + 1 + 12)
    expected = None
    for limits, changes in (
        (EngineLimits(max_prefix_rows=0), {}),
        (EngineLimits(), {"max_width": 2}),
        (EngineLimits(max_rows=3, max_requests=2), {}),
        (EngineLimits(), {"mode": "serial"}),
    ):
        watch = Watch(Toy(model, options, limits, kv=small))
        found = watch.run(prompts, greedy(**changes))
        assert max(watch.counts) <= small.budget + PAGE
        assert all(sum(r.stats.kv.evictions) for r in found)
        expected = expected or written(found)
        assert written(found) == expected
    assert any(len(r.lanes) > 2 for r in found)


def beside_siblings(small):
    """Logits of one branch beside siblings that end at once, and of the same beside long ones."""
    body = [random.Random(5).randrange(16) for _ in range(40)]
    head = [1, 2, 3, 4] * 6 + [M.fork, M.topic, 1, M.topic, 2, M.topic, 3, M.spawn]
    logits = []
    for other in ([], list(reversed(body)) + body):
        scripts = {
            (): [*head, 5, 22],
            ((0, 0),): [*other, M.end],
            ((0, 1),): [*body, M.end],
            ((0, 2),): [*other, M.end],
        }
        record = Recorder()
        toy = Toy(toy_model("qwen3", 5), kv=small, choose=scripted(scripts), on_step=record)
        (request,) = toy.run([[7, 8, 9]], greedy(max_new_tokens=400))
        assert sum(request.stats.kv.evictions) > 20
        logits.append({k: v for k, v in record.logits.items() if k[1] == ((0, 1),)})
    assert len(logits[0]) > len(body)
    return [(found, logits[1][key]) for key, found in logits[0].items()]


@pytest.mark.parametrize("name", EVICTING)
def test_a_branch_is_as_without_its_siblings(name):
    """R9."""
    for alone, beside in beside_siblings(kv(name, 36)):
        torch.testing.assert_close(alone, beside, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", TIMED)
def test_siblings_change_a_branch_that_shares_times_with_them(name):
    """C3: R9 is what this option gives up."""
    far = [(a - b).abs().max() for a, b in beside_siblings(kv(name, 36, shared_ts=True, ratio=0.3))]
    assert max(far) > 1e-3


def test_nothing_of_a_request_is_left_for_the_next():
    """R8: in a new engine, after another request, after the same one with its prompt still kept."""
    model, prompt = toy_model("qwen3", 6), [*range(16)] * 2 + [3]
    small = kv("raas", 33 + 12)
    (alone,) = Toy(model, kv=small).run([prompt], LINEAR)
    core = Toy(model, kv=small).core()
    for other in ([5] * 20, prompt, prompt):
        request = core.scheduler.add(list(other), LINEAR)
        while core.busy:
            core.step()
        core.runner.cache.check()
        if other == prompt:
            assert written([request]) == written([alone])
            assert request.stats.kv.evictions == alone.stats.kv.evictions
    assert request.prefix.shared == 32, "a shared beginning, and a budget all the same"


def test_a_budget_admits_what_full_attention_refuses():
    """Freed slots serve later requests: far more tokens than there are slots."""
    model, limits = toy_model("qwen3", 7), EngineLimits(max_kv_rows=100)
    params = dataclasses.replace(LINEAR, max_new_tokens=150)
    with pytest.raises(RequestError, match="there is memory for 100"):
        Toy(model, limits=limits).run([[1, 2, 3]], params)
    toy = Toy(model, limits=limits, kv=kv())
    prompts = some_prompts(6, 3)
    found = toy.run(prompts, params)
    alone = [Toy(model, kv=kv()).run([p], params)[0] for p in prompts[:2]]
    assert written(found)[:2] == written(alone)
    assert toy.most_rows <= 100 < sum(len(list(r.trunk.tokens())) for r in found) / 4
    with pytest.raises(RequestError, match="kv_budget 24: a prompt of 17 tokens and two pages of"):
        toy.run([[1] * 17], params)


def branches(requests):
    """What every lane says, by request and path."""
    return {
        (request.number, lane.path): [x for x in lane.items if isinstance(x, tuple)]
        for request in requests
        for lane in request.lanes
    }


def test_drafts_change_nothing_that_is_evicted(monkeypatch):
    """C1: 200 branches with right and wrong guesses; guesses that cross a page would change some
    of them."""
    model, small = toy_model("qwen3", 9), kv("raas", BUDGET)
    params, prompts = greedy(max_new_tokens=60, draft_tokens=6), some_prompts(16, 4)
    plain = Toy(model, kv=small).run(prompts, params)
    assert len(branches(plain)) > 200
    limits = EngineLimits(max_draft_rows=10**6)

    def drafted():
        found = Toy(model, limits=limits, kv=small, source=recalling(plain, 0.3)).run(
            prompts, params
        )
        assert sum(r.stats.accepted.total() for r in found) > 200
        return found

    found = drafted()
    assert branches(found) == branches(plain)
    assert sum(sum(r.stats.kv.evictions) for r in found) > 200
    assert sum(r.stats.passes for r in found) < sum(r.stats.passes for r in plain)
    monkeypatch.setattr(PagedBound, "room", lambda self, lane: 10**6)
    assert branches(drafted()) != branches(plain)
