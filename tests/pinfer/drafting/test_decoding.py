"""Drafts change passes, never tokens: any source, any length, right or wrong; nothing of them is
left behind."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pbranch.format.layout import LayoutOptions
from pinfer.drafting.ngram import NgramSource
from pinfer.params import EngineLimits
from pinfer.request import transitions
from pinfer.request.state import Status
from pinfer.scheduling import scheduler
from pinfer.scheduling.batch import Choice
from pinfer.scheduling.drafts import share
from pinfer.scheduling.kv_bound import keep_all
from tests.support.draft_sources import Guessing, recalling
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


def written(requests):
    return [list(r.trunk.tokens()) for r in requests]


def some_prompts(n, seed):
    rng = random.Random(seed)
    return [[rng.randrange(16) for _ in range(rng.randint(1, 9))] for _ in range(n)]


SOURCES = {
    "ngram": lambda plain: NgramSource(longest=3, shortest=1),
    "right": recalling,
    "wrong": lambda plain: recalling(plain, 1.0),
    "mixed": lambda plain: recalling(plain, 0.3),
}
SETTINGS = [
    {},
    {"repetition_penalty": 1.3, "stop": ("ab", "c"), "max_width": 2},
    {"max_width": 1, "max_branch_tokens": 7, "stop_token_ids": (3,)},
    {"mode": "serial"},
    {"mode": "linear", "repetition_penalty": 0.8},
    {"temperature": 1.0, "top_k": 5, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.2},
]


@pytest.mark.parametrize("changes", SETTINGS, ids=str)
@pytest.mark.parametrize("name", SOURCES)
def test_any_source_and_length_gives_the_same_tokens(name, changes):
    """Nested and repeated blocks; sampled tokens too: none of these sources draws its guesses.
    Eight prompts with drafts of up to one, two … eight tokens."""
    model, prompts = toy_model("qwen3", 3), some_prompts(8, 1)
    params = [greedy(max_new_tokens=45, draft_tokens=n, **changes) for n in range(1, 9)]
    plain = Toy(model).run(prompts, params)
    limits = EngineLimits(max_draft_rows=64)
    found = Toy(model, limits=limits, source=SOURCES[name](plain)).run(prompts, params)
    assert written(found) == written(plain)
    for request, other in zip(found, plain, strict=True):
        assert request.finish_reason == other.finish_reason
        assert set(request.limits) == set(other.limits)
        stats, most = request.stats, request.params.draft_tokens
        assert stats.accepted.total() <= stats.drafted
        assert max(stats.accepted, default=0) <= most
        assert stats.passes <= other.stats.passes
        if name == "right" and changes.get("mode") == "linear":
            assert stats.passes <= other.stats.passes // (most + 1) + 1
    accepted = sum(r.stats.accepted.total() for r in found)
    assert accepted > {"ngram": 2, "right": 40, "wrong": 0, "mixed": 10}[name]


@pytest.mark.parametrize("options", [LayoutOptions("flat", "own"), LayoutOptions(join="reencode")])
@pytest.mark.parametrize("kind", ["gemma3", "mistral"])
def test_a_batch_is_as_each_alone(kind, options):
    model, prompts = toy_model(kind, 6), some_prompts(6, 2)
    params = [
        greedy(max_new_tokens=30, draft_tokens=n, temperature=n % 2, seed=n) for n in range(6)
    ]
    plain = Toy(model, options).run(prompts, params)
    for limits in (EngineLimits(), EngineLimits(max_rows=5, max_requests=3, max_draft_rows=3)):
        source = NgramSource(longest=3, shortest=1)
        found = Toy(model, options, limits, source=source).run(prompts, params)
        assert written(found) == written(plain)
        assert not source._texts, "what is known of requests that have ended"
        assert not found[0].stats.drafted and any(r.stats.drafted for r in found)


LONG = {
    (): [3, M.fork, M.topic, 1, M.topic, 2, M.topic, 4, M.spawn, 5, 6, END_OF_TEXT],
    ((0, 0),): [7, 8, M.end],
    ((0, 1),): [10, 11, M.fork, M.topic, 11, M.topic, 12, M.spawn, 13, M.end],
    ((0, 1), (0, 0)): [14, 15, M.end],
    ((0, 1), (0, 1)): [0, 1, 2, 3, 4, M.end],
    ((0, 2),): [2, 3, 4, 5, 6, 7, 8, 9, M.end],
}


@pytest.mark.parametrize("kind", ["qwen2", "gemma2"])
@pytest.mark.parametrize("beyond", [(), (9, 9, 9)], ids=["right", "beyond the end"])
@pytest.mark.parametrize("first", [min, max])
def test_drafts_are_seen_by_nothing_that_stays(kind, beyond, first, monkeypatch):
    """The logits of all that was sampled are those of a run without drafts, whatever was drafted
    in the same pass: for the lane, its siblings, or a branch that then ended; and whichever branch
    comes first in the pass."""
    model, table = toy_model(kind, 11), {}
    choose = scripted(LONG)

    def note(logits, sites):
        choices = choose(logits, sites)
        for site, choice in zip(sites, choices, strict=True):
            table[site.path, site.position] = choice.token
        return choices

    def look_up(logits, sites):
        return [Choice(table.get((s.path, s.position), 0), True) for s in sites]

    def guess(lane, most):
        following = [table.get((lane.path, lane.position + i), 0) for i in range(most)]
        plain = [t for t in following if t < 16][: rng.randint(0, most)]
        return [t if rng.random() > 0.3 else rng.randrange(16) for t in (*plain, *beyond)]

    plain, drafted, rng, stale = Recorder(), Recorder(), random.Random(3), []

    def look(batch, logits):
        drafted(batch, logits)
        stale.extend(t for t in batch.tokens if t.draft and t.lane.status is not Status.LIVE)
        for token, guesses, _ in batch.by_lane(batch.sites):
            assert all(guess.lane is token.lane for guess in guesses)
            assert [g.draft for g in guesses] == list(range(1, len(guesses) + 1))

    def admit(request, spec, others):
        while request.waiting:
            lane = first(request.waiting, key=lambda x: x.path)
            request.waiting.remove(lane)
            transitions.start(lane, spec)

    Toy(model, choose=note, on_step=plain).run([[5, 4, 3]], greedy())
    monkeypatch.setattr(scheduler, "admit", admit)
    source = Guessing(guess)
    (request,) = Toy(model, choose=look_up, on_step=look, source=source).run([[5, 4, 3]], greedy())
    assert request.stats.drafted > request.stats.accepted.total() > 5 and not stale
    for key, wanted in plain.logits.items():
        torch.testing.assert_close(drafted.logits[key], wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("stop", [{}, {"stop": ("hij",)}, {"stop_token_ids": (9,)}], ids=str)
def test_an_accepted_draft_is_cut_where_the_answer_ends(stop):
    """At its last token, in the middle of a stop string's word, or before a stop token."""
    model = toy_model("llama", 1, {})
    text = [1, 2, 7, 8, 9, 10, 11, 12, 13, 14]
    table = {(): [*text, *text]}
    for tokens in range(1, 12):
        params = greedy(max_new_tokens=tokens, mode="linear", **stop)
        (plain,) = Toy(model, choose=scripted(table)).run([[0]], params)

        def look_up(logits, sites):
            return [Choice(table[()][s.position - 1], True) for s in sites]

        source = Guessing(lambda lane, most: table[()][lane.position - 1 :])
        (found,) = Toy(model, choose=look_up, source=source).run([[0]], params)
        assert written([found]) == written([plain])
        assert found.finish_reason == plain.finish_reason
        assert found.stats.passes <= 1


def test_log_probabilities_are_those_without_drafts():
    model, prompts = toy_model("qwen3", 3), some_prompts(3, 1)
    params = greedy(logprobs=2, prompt_logprobs=1)
    plain = Toy(model).run(prompts, params)
    found = Toy(model, source=recalling(plain, 0.3)).run(prompts, params)
    others = {(lane.request.number, lane.path): lane for r in plain for lane in r.lanes}
    for lane in (lane for r in found for lane in r.lanes):
        other = others.pop((lane.request.number, lane.path))
        assert lane.logprobs.keys() == other.logprobs.keys()
        for at, score in lane.logprobs.items():
            assert score.logprob == pytest.approx(other.logprobs[at].logprob, abs=1e-9)
            assert [t for t, _ in score.top] == [t for t, _ in other.logprobs[at].top]
    assert not others


def test_a_request_turns_drafts_off():
    model, prompts = toy_model("qwen3", 3), some_prompts(4, 1)
    plain = Toy(model).run(prompts, greedy())
    params = [greedy(draft_tokens=0), greedy(), greedy(draft_tokens=0), greedy()]
    found = Toy(model, source=recalling(plain)).run(prompts, params)
    assert written(found) == written(plain)
    assert [r.stats.drafted > 0 for r in found] == [False, True, False, True]


def test_drafts_take_no_memory_that_was_not_set_aside():
    """A pool of just what a request may need, and drafts as long as they can be."""
    params = greedy(max_new_tokens=12, draft_tokens=50)
    for seed in range(6):
        limits = EngineLimits(max_kv_rows=keep_all(3, params, 4), max_draft_rows=100)
        model = toy_model("qwen2", seed)
        plain = Toy(model).run([[1, 2, 3]], params)
        core = Toy(model, limits=limits, source=Guessing(lambda lane, most: [5] * most))
        assert written(core.run([[1, 2, 3]], params)) == written(plain)
        assert core.most_rows <= limits.max_kv_rows


def test_drafts_take_no_row_of_a_token():
    """Requests are fed before any guess is."""
    fed = []
    source = Guessing(lambda lane, most: [5] * most)
    toy = Toy(
        toy_model("llama", 2),
        limits=EngineLimits(max_rows=4, max_draft_rows=50),
        source=source,
        on_step=lambda batch, _: fed.append([t.lane.request.number for t in batch.tokens]),
    )
    params = [greedy(max_new_tokens=n, mode="linear") for n in (20, 20, 20, 5)]
    toy.run([[n] for n in range(4)], params)
    assert all(len(set(rows)) == 4 for rows in fed[:5])
    assert all(len(set(rows)) == 3 and len(rows) == 4 for rows in fed[5:15])


@given(
    st.lists(st.integers(0, 9), max_size=9),
    st.integers(0, 40),
)
def test_rows_are_shared_evenly(wanted, rows):
    shares = share(wanted, rows)
    assert sum(shares) == min(rows, sum(wanted))
    for got, want in zip(shares, wanted, strict=True):
        assert 0 <= got <= want
        assert got == want or got >= max(shares) - 1


def test_stragglers_draft_longer():
    """Eight rows for guesses: two a branch while four are live, eight for the last one."""
    lengths = {4: set(), 1: set()}

    def look(batch, _):
        guesses = [
            len(drafts) for token, drafts, _ in batch.by_lane(batch.sites) if token.lane.path
        ]
        lengths.setdefault(len(guesses), set()).update(guesses)

    outline = [M.fork, *[M.topic, 1] * 4, M.spawn]
    scripts = {(): [*outline, END_OF_TEXT]}
    scripts |= {((0, i),): [*[2] * (40 if i == 3 else 9), M.end] for i in range(4)}
    start = {}

    def choose(logits, sites):
        found = []
        for site in sites:
            first = start.setdefault(site.path, site.position)
            script = scripts[site.path]
            found.append(Choice(script[min(site.position - first, len(script) - 1)], True))
        return found

    source = Guessing(lambda lane, most: [2] * most)
    toy = Toy(
        toy_model("qwen2"),
        limits=EngineLimits(max_draft_rows=8),
        source=source,
        choose=choose,
        on_step=look,
    )
    (request,) = toy.run([[1]], greedy(max_new_tokens=300, draft_tokens=8))
    assert max(lengths[4]) == 2 and max(lengths[1]) == 8
    assert [r[0] for r in request.trunk.fork.lanes[3].items[2:]] == scripts[((0, 3),)]


def test_a_source_that_fails_ends_those_that_asked(caplog):
    def guess(lane, most):
        if lane.budget.sampled > 3:
            raise RuntimeError("no idea")
        return []

    toy = Toy(toy_model("llama", 3), source=Guessing(guess))
    core = toy.core()
    asked = core.scheduler.add([1, 2], greedy(mode="linear"))
    other = core.scheduler.add([1, 2], greedy(mode="linear", draft_tokens=0))
    while core.busy:
        core.step()
    assert asked.finish_reason == "error" and str(asked.error) == "no idea"
    assert other.finish_reason in ("stop", "length") and other.error is None
    core.scheduler.prefixes.evict(0)
    assert core.runner.runner.arena.rows == 0


@pytest.mark.parametrize("steps", range(1, 12))
def test_an_abort_in_the_middle_leaves_nothing(steps):
    model, prompts = toy_model("qwen3", 3), some_prompts(4, 1)
    plain = Toy(model).run(prompts, greedy())
    toy = Toy(model, source=recalling(plain, 0.3))
    core = toy.core()
    requests = [core.scheduler.add(list(p), greedy()) for p in prompts]
    for _ in range(steps):
        core.step()
    core.scheduler.abort(requests[1])
    core.runner.runner.arena.check()
    while core.busy:
        core.step()
        core.runner.runner.arena.check()
    for i in (0, 2, 3):
        assert written([requests[i]]) == written([plain[i]])
    core.scheduler.prefixes.evict(0)
    assert core.runner.runner.arena.rows == 0 and not core.runner.cache._homes
    assert set(toy.source.forgotten) == set(requests)
