"""Bounded caches where texts branch: every lane sees what it keeps, whatever else is decoded, with
what guesses and in which passes; admission counts what can be cached."""

import dataclasses
import random

import pytest
import torch

from pbranch.errors import RequestError
from pbranch.format.layout import LayoutOptions
from pinfer.drafting.draft import DraftSource
from pinfer.eviction.options import KVOptions
from pinfer.eviction.scores import key_bounds
from pinfer.params import EngineLimits
from tests.conftest import build_model
from tests.pinfer.eviction.test_decoding import BUDGET, LAYOUTS, LINEAR, PAGE, Watch, branches, kv
from tests.support.draft_sources import recalling
from tests.support.lookahead import Recalling
from tests.support.toy_engine import (
    END_OF_TEXT,
    MARKERS,
    SIZE,
    LetterTokenizer,
    Recorder,
    Toy,
    greedy,
    scripted,
    toy_model,
)

M = MARKERS
ALL_ROWS = EngineLimits(max_draft_rows=10**6)


def alike(count, shared, seed=2):
    """Prompts that begin alike."""
    rng = random.Random(seed)
    head = [rng.randrange(16) for _ in range(shared)]
    return [[*head, i] for i in range(count)]


def after_passes(watch, check):
    """Call `check` with every pass's batch once it was run."""
    runner = watch.core.runner.runner
    run = runner.run

    def checked(batch):
        logits = run(batch)
        check(batch)
        return logits

    runner.run = checked


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("more", [2 * PAGE, 3 * PAGE, 6 * PAGE])
def test_a_lane_attends_to_all_that_it_keeps(layout, more):
    """Nested branches whose headers are pinned, and those for which that leaves no room."""
    prompt = [random.Random(0).randrange(16) for _ in range(9)]
    watch = Watch(Toy(toy_model("qwen3", 2), LAYOUTS[layout], kv=kv("random", len(prompt) + more)))
    cache, checked = watch.core.runner.runner.cache, []

    def check(batch):
        for token in batch.tokens:
            reader = cache._readers[token.home]
            if sum(other.home is token.home for other in batch.tokens) > 1:
                continue
            for layer in range(cache.arena.layers):
                kept = reader.pinned + int(reader.pages.total[layer]) + len(reader.open)
                assert len(watch.seen[layer, token.home.path, token.position]) == kept
            checked.append(token.home.path)

    after_passes(watch, check)
    watch.run([prompt], greedy(max_new_tokens=100))
    assert len(checked) > 60 and max(map(len, checked)) > 1


def test_a_fork_goes_on_from_its_parents_marks():
    """A page that no branch has looked at is as lately used as in the trunk; bounds are those of
    the page's own keys, wherever it has moved."""
    watch = Watch(Toy(toy_model("qwen3", 4), kv=kv("raas", 9 + 5 * PAGE, ratio=0.2)))
    cache, inherited = watch.core.runner.runner.cache, []

    def check(batch):
        for lane, reader in cache._readers.items():
            pages = reader.pages
            for layer, column in pages.held.nonzero().tolist():
                begin = cache.arena.segments[int(pages["segment"][layer, column])].start
                begin += int(pages["offset"][layer, column])
                keys = cache.arena.keys[layer][begin : begin + int(pages["tokens"][layer, column])]
                assert torch.equal(pages["bounds"][layer, column], key_bounds(keys))
            theirs = pages if lane.parent is None else cache._readers[lane.parent].pages
            if theirs is pages or not len(theirs) or not len(pages):
                continue
            same = pages.held[:, :, None] & theirs.held[:, None]
            for name in ("segment", "index"):
                same &= pages[name][:, :, None] == theirs[name][:, None]
            used = pages["used"][:, :, None].expand(same.shape)[same]
            before = theirs["used"][:, None].expand(same.shape)[same]
            assert bool((used >= before).all())
            inherited.append(bool((before > 0).any() and (used == before).any()))

    after_passes(watch, check)
    watch.run(alike(3, 8), greedy(max_new_tokens=120))
    assert sum(inherited) > 20


@pytest.mark.parametrize(
    ("kind", "layout", "name", "shared", "mode"),
    [
        ("qwen3", "keep", "raas", 40, None),
        ("qwen3", "flat, own", "value", 40, None),
        ("gemma3", "reencode", "random", 36, None),
        ("gemma3", "keep", "h2o", 0, None),
        ("qwen3", "keep", "random", 0, "fused"),
        ("qwen3", "reencode", "raas", 40, "fused"),
        ("qwen3", "flat, own", "lazy", 36, "tail"),
    ],
)
def test_drafts_change_nothing_that_is_evicted(kind, layout, name, shared, mode):
    """C1: guesses and look-ahead rows behind shared prompts, in all layouts, more of them than a
    page has tokens."""
    model, options = toy_model(kind, 4), LAYOUTS[layout]
    prompts, small = alike(8, shared), kv(name, shared + 1 + 14)
    params = greedy(max_new_tokens=60, draft_tokens=3 * PAGE)
    limits = dataclasses.replace(ALL_ROWS, max_prefix_rows=4096)
    plain = Toy(model, options, limits, kv=small).run(prompts, params)
    source: DraftSource = recalling(plain, 0.2)
    if mode is not None:
        source = Recalling(model, mode, plain, 0.3)
    found = Toy(model, options, limits, kv=small, source=source).run(prompts, params)
    assert branches(found) == branches(plain)
    assert sum(r.stats.accepted.total() for r in found) > 20
    assert sum(sum(r.stats.kv.evictions) for r in found) > 50
    assert (found[-1].prefix.shared > 0) == (shared > 0)


def test_drafts_fill_no_page_beyond_its_end():
    """The first pass of a request whose prompt is shared, too: many more guesses than fit."""
    model, small = toy_model("qwen3", 0), kv("raas", 42 + 8)
    params = dataclasses.replace(LINEAR, max_new_tokens=60, draft_tokens=4 * PAGE)
    prompts = [[*prompt, 5] for prompt in alike(6, 40)]
    (*plain,) = Toy(model, kv=small).run(prompts, params)
    core = Toy(model, limits=ALL_ROWS, kv=small, source=recalling(plain, 0.1)).core()
    found = [core.scheduler.add(list(p), params) for p in prompts]
    while core.busy:
        core.step()
        readers = core.runner.cache._readers.values()
        assert max((len(reader.open) for reader in readers), default=0) <= PAGE
    assert found[-1].prefix.shared == 40 and branches(found) == branches(plain)


def test_a_join_that_re_encodes_comes_before_what_follows_it_in_any_pass():
    """Branches without room for a token: the outline's last token and the re-encoded text are
    queued together."""
    for lead in range(PAGE):
        text = [*[1, 2, 3, 4, 5, 6, 7, 8] * 3][: 21 + lead]
        script = {(): [*text, M.fork, M.topic, 1, M.topic, 2, M.spawn, 5]}
        logits = []
        for rows in (512, 1):
            record, limits = Recorder(), EngineLimits(max_rows=rows, max_prefix_rows=0)
            toy = Toy(
                toy_model("qwen3", 5), LAYOUTS["reencode"], limits, kv=kv("raas", 16),
                choose=scripted(script), on_step=record,
            )  # fmt: skip
            toy.run([[7, 8, 9]], greedy(max_new_tokens=len(script[()])))
            logits.append(record.logits[max(record.logits, key=lambda key: key[2])])
        torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("outline", ["all", "own"])
def test_admission_counts_all_that_a_request_may_keep(outline):
    """Hidden outlines, too: what is admitted finds room."""
    topic, over = [1, 2, 3, 4] * 5, 32
    scripts = {
        (): [*[1, 2] * 22, M.fork, M.topic, *topic, M.topic, *topic, M.spawn, 5, END_OF_TEXT],
        ((0, 0),): [*[3, 4] * 40, M.end],
        ((0, 1),): [*[5, 6] * 40, M.end],
    }
    params = greedy(max_new_tokens=400, max_topics=2, max_depth=1, max_topic_tokens=32)
    most = 4 + (4 if outline == "own" else 3) * (over + PAGE) + 1

    def toy(slots):
        limits = EngineLimits(max_draft_rows=1, max_kv_rows=slots)
        how = {"limits": limits, "choose": scripted(scripts), "kv": kv("raas", 4 + over)}
        return Toy(toy_model("qwen3", 5), LayoutOptions("flat", outline), **how)

    with pytest.raises(RequestError, match=f"may need {most} cached rows"):
        toy(most - 1).run([[7, 8, 9, 10]], params)
    (request,) = toy(most).run([[7, 8, 9, 10]], params)
    assert request.error is None and sum(request.stats.kv.evictions) > 20


@pytest.mark.parametrize("shared_ts", [False, True])
def test_branches_share_their_prefix(shared_ts):
    """8 branches: no more slots than the trunk's budget and what is left of it for each branch."""
    topics = [x for i in range(8) for x in (M.topic, i)]
    scripts = {(): [*([1, 2] * 8), M.fork, *topics, M.spawn, 5, 22]}
    scripts |= {((0, i),): [i, 3, 5] * 40 + [M.end] for i in range(8)}
    prompt, budget = [*range(16)] * 3, 48 + 40
    toy = Toy(
        toy_model("qwen3", 8), kv=kv("raas", budget, shared_ts=shared_ts), choose=scripted(scripts)
    )
    watch = Watch(toy)
    (request,) = watch.run([prompt], greedy(max_new_tokens=1200, max_topics=8))
    assert request.stats.widest == 8
    assert max(n for n, _, _ in watch.sizes) <= budget + PAGE + 8 * (budget - 48 + PAGE)
    assert max(watch.counts) <= budget + PAGE
    assert len(prompt) + 8 * 121 > 2 * max(n for n, _, _ in watch.sizes), "far less than all"


@pytest.mark.parametrize("budget", [78, 12])
def test_a_shared_prompt_is_counted_once(budget):
    """16 requests that come one by one are decoded at once, where their prompts without sharing
    would fill the pool."""
    options = KVOptions("sink", budget, PAGE, on_top=budget == 12)
    limits = EngineLimits(max_kv_rows=400, max_draft_rows=1)
    core = Toy(toy_model("qwen3", 7), limits=limits, kv=options).core()
    at_once = 0
    for i in range(16):
        core.scheduler.add([*alike(1, 64)[0][:64], i, 3], LINEAR)
        core.step()
        at_once = max(at_once, len(core.scheduler.running))
    while core.busy:
        core.step()
    assert at_once == 16 and core.runner.cache.arena.slots <= 400 < 16 * 66


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_trace_has_every_page_once(layout):
    """A page that branches close each for itself is one; what a re-encoding join drops is gone."""
    topics = [x for i in range(4) for x in (M.topic, i)]
    scripts = {(): [*[1, 2] * 3, M.fork, *topics, M.spawn, *[5, 6] * 10, END_OF_TEXT]}
    scripts |= {((0, i),): [i, 3, 5] * 4 + [M.end] for i in range(4)}
    toy = Toy(toy_model("qwen3", 8), LAYOUTS[layout], kv=kv("sink", 200), choose=scripted(scripts))
    (request,) = toy.run([[1, 2, 3]], greedy(max_new_tokens=600, max_topics=8))
    trace = request.stats.kv
    assert len({(page.path, page.start) for page in trace.pages}) == len(trace.pages)
    kept = sum(page.tokens for page in trace.pages if not page.gone)
    assert trace.slots - 3 - PAGE <= kept <= trace.slots - 3
    assert any(page.gone for page in trace.pages) == (layout == "reencode")


@pytest.mark.parametrize("name", ["raas", "h2o", "lazy", "value"])
def test_layers_whose_heads_differ(name):
    """Gemma-4: 16 and 32 channels a head."""
    model = build_model("gemma4", LetterTokenizer(), seed=3, vocab_size=SIZE)
    (plain,) = Toy(model).run([[1, 2, 3]], LINEAR)
    (wide,) = Toy(model, kv=kv(name, 400)).run([[1, 2, 3]], LINEAR)
    assert branches([wide]) == branches([plain])
    (small,) = Toy(model, kv=kv(name, BUDGET)).run([[1, 2, 3]], LINEAR)
    assert min(small.stats.kv.evictions) > 10
