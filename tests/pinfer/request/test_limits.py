"""Limits: whatever stops a request, its text is well-formed, names the limit, and keeps to it."""

import random
from functools import cache
from itertools import count

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pbranch.errors import RequestError
from pbranch.format.layout import LayoutOptions
from pinfer.params import EngineLimits, SamplingParams
from pinfer.request.state import LiveFork
from pinfer.scheduling import scheduler as scheduling
from pinfer.scheduling.batch import Choice
from tests.support.forced_decode import Drawer, decode
from tests.support.toy_engine import END_OF_TEXT, MARKERS, Toy, greedy, toy_model

torch.set_num_threads(1)
M = MARKERS
OPTIONS = st.builds(
    LayoutOptions,
    st.sampled_from(["max", "flat"]),
    st.sampled_from(["all", "own"]),
    st.sampled_from(["keep", "reencode"]),
)
ROOMY = {"max_new_tokens": 400, "max_topics": 99, "max_topic_tokens": 99, "max_depth": 99}


def tokens(request):
    return [(t, f) for t, f, _ in request.trunk.tokens()]


def keeps_to(request, params):
    """Assert that no limit of the text was passed."""
    assert sum(lane.budget.sampled for lane in request.lanes) == request.trunk.budget.used
    assert (
        sum(not f for _, f in tokens(request)) <= request.trunk.budget.used <= params.max_new_tokens
    )
    for lane in request.lanes:
        assert len(lane.path) <= params.max_depth
        if lane.in_branch and params.max_branch_tokens is not None:
            assert lane.budget.used <= params.max_branch_tokens
        for block in (i for i in lane.items if isinstance(i, LiveFork)):
            assert 1 <= len(block.topics) <= params.max_topics
            assert max(map(len, block.topics)) <= params.max_topic_tokens


LIMITS = [
    *(("max_topics", {"max_topics": n}) for n in (1, 2)),
    *(("max_topic_tokens", {"max_topic_tokens": n}) for n in (1, 2)),
    *(("max_depth", {"max_depth": n}) for n in (1, 2)),
    *(("max_branch_tokens", {"max_branch_tokens": n}) for n in (1, 3)),
    *(("max_new_tokens", {"max_new_tokens": n}) for n in (1, 2, 5, 20)),
]


@pytest.mark.parametrize("name, low", LIMITS, ids=str)
@pytest.mark.parametrize("outline", ["all", "own"])
def test_each_limit_set_low_is_kept_and_named(name, low, outline):
    params = SamplingParams(**{**ROOMY, **low})
    options = LayoutOptions(outline=outline)
    named = 0
    for seed in range(60):
        request = decode([1, 2], params, Drawer(seed), options=options)
        keeps_to(request, params)
        assert set(request.limits) <= {name, "max_new_tokens", "eos_in_branch"}
        named += name in request.limits
    assert named > 10


@cache
def roomy_answers(kind):
    model, rng = toy_model(kind, 31), random.Random(3)
    prompts = [[rng.randrange(16) for _ in range(rng.randint(1, 9))] for _ in range(8)]
    params = SamplingParams(**{**ROOMY, "max_new_tokens": 45})
    return model, prompts, Toy(model).run(prompts, params)


@pytest.mark.parametrize("kind", ["qwen2", "mistral"])
@pytest.mark.parametrize("name, low", LIMITS, ids=str)
def test_a_limit_that_changes_the_text_is_named(kind, name, low):
    """Greedy with and without it: where the tokens differ, its name is in the result."""
    model, prompts, roomy = roomy_answers(kind)
    params = SamplingParams(**{**ROOMY, "max_new_tokens": 45, **low})
    differ = 0
    for free, bound in zip(roomy, Toy(model).run(prompts, params), strict=True):
        keeps_to(bound, params)
        if tokens(free) != tokens(bound):
            assert name in bound.limits
            differ += 1
        elif name not in ("max_branch_tokens", "max_new_tokens"):  # `end` may stand there anyway
            assert name not in bound.limits
    assert differ


@settings(max_examples=200)
@given(
    seed=st.integers(0, 10**6),
    context=st.integers(3, 40),
    prompt=st.integers(1, 12),
    options=OPTIONS,
    width=st.none() | st.integers(1, 3),
    budget=st.integers(1, 80),
)
def test_no_row_lies_outside_the_context(seed, context, prompt, options, width, budget):
    prompt = [1] * min(prompt, context - 1)
    params = SamplingParams(
        max_new_tokens=budget, max_width=width, max_topics=5, max_topic_tokens=4, max_depth=3
    )
    seen = []
    request = decode(
        prompt,
        params,
        Drawer(seed),
        context=context,
        options=options,
        on_rows=lambda rows: seen.extend(r.position for r in rows),
    )
    assert max(seen) < context
    keeps_to(request, params)
    assert request.stats.widest <= (width or 99)
    if request.finish_reason == "length":
        assert {"context", "max_new_tokens"} & set(request.limits)


def test_a_tight_context_leaves_a_branch_room_for_its_end():
    """A branch whose header fills its room draws nothing; the join lies in the last position."""
    script = {(): [M.fork, M.topic, 0, M.topic, *[1] * 40]}

    def choose(site):
        return Choice(script[()].pop(0) if not site.path else 3, True)

    for context in range(12, 30):
        script[()] = [M.fork, M.topic, 0, M.topic, *[1] * 40]
        request = decode([1] * 3, SamplingParams(max_new_tokens=200), choose, context=context)
        assert request.limits == ["context"]
        assert request.trunk.position <= context
        assert tokens(request)[-1][0] == M.join or request.trunk.position == context


def test_the_context_names_itself():
    reasons = set()
    for seed in range(80):
        request = decode([1] * 5, SamplingParams(**ROOMY), Drawer(seed), context=25)
        if request.finish_reason == "length":
            assert "context" in request.limits
        reasons.add(request.finish_reason)
    assert reasons == {"length", "stop"}


@pytest.mark.parametrize("width", [None, 1])
def test_many_branches_without_a_token_left(width):
    """Each is closed as it starts: no recursion from one to the next."""
    n = 400
    script = [M.fork, *[M.topic, 0] * n, M.spawn]
    params = SamplingParams(max_new_tokens=2 * n + 5, max_topics=n, max_width=width)
    request = decode(
        [1], params, lambda lane: Choice(script.pop(0) if script else 2, True), context=9999
    )
    (block,) = (i for i in request.trunk.items if isinstance(i, LiveFork))
    assert len(block.lanes) == n
    assert request.limits == ["max_new_tokens"]
    assert request.trunk.budget.used == params.max_new_tokens


def test_end_of_text_in_a_branch_is_its_end():
    script = {
        (): [M.fork, M.topic, 1, M.topic, 2, M.spawn, END_OF_TEXT],
        ((0, 0),): [5, END_OF_TEXT],
        ((0, 1),): [6, 7, M.end],
    }
    request = decode([1], SamplingParams(), lambda lane: Choice(script[lane.path].pop(0), True))
    assert (request.limits, request.finish_reason) == (["eos_in_branch"], "stop")
    assert [(t, f) for t, f in tokens(request) if t == M.end] == [(M.end, True), (M.end, False)]


def test_budgets_are_shared_and_what_is_left_returns():
    """10 tokens left at the spawn: 3 a branch, and the trunk has what they did not draw."""
    script = {
        (): [M.fork, *[M.topic, 1] * 3, M.spawn, *[4] * 99],
        ((0, 0),): [M.end],
        ((0, 1),): [5, M.end],
        ((0, 2),): [6] * 99,
    }
    params = SamplingParams(max_new_tokens=18)
    request = decode([1], params, lambda lane: Choice(script[lane.path].pop(0), True))
    assert [lane.budget.used for lane in request.lanes[1:]] == [1, 2, 3]
    assert sum(t == 4 for t, _ in tokens(request)) == 4
    assert request.limits == ["max_new_tokens"]


@pytest.mark.parametrize("seconds", [1, 4, 12, 30])
def test_timeout_closes_the_text(seconds, monkeypatch):
    """Whatever the request was doing: in an outline, in branches, waiting for a place."""
    reasons = set()
    for seed in range(40):
        clock = count()
        monkeypatch.setattr(scheduling.time, "monotonic", lambda clock=clock: next(clock) / 2)
        params = SamplingParams(**ROOMY, timeout_s=seconds, max_width=1 + seed % 3)
        request = decode([1] * 6, params, Drawer(seed), limits=EngineLimits(max_rows=4))
        assert (request.finish_reason == "timeout") == ("timeout" in request.limits)
        reasons.add(request.finish_reason)
    assert "timeout" in reasons


def test_time_in_the_queue_does_not_count(monkeypatch):
    """The clock goes on by one a look; each request alone takes less than the limit."""
    clock = count()
    monkeypatch.setattr(scheduling.time, "monotonic", lambda: next(clock))
    model, limits = toy_model("llama"), EngineLimits(max_requests=1)
    prompts, timed = [[n] for n in range(1, 6)], greedy(max_new_tokens=20, timeout_s=100)
    requests = Toy(model, limits=limits).run(prompts, timed)
    assert next(clock) > 100 + 50, "together they took longer"
    assert all(r.finish_reason in ("stop", "length") and tokens(r) for r in requests)
    late = Toy(model, limits=limits).run(prompts, greedy(max_new_tokens=20, timeout_s=5))
    assert all(r.finish_reason == "timeout" and tokens(r) for r in late), "each has begun"


@pytest.mark.parametrize("prompt, message", [([], "empty"), ([1] * 16, "16 tokens")])
def test_prompts_that_cannot_be_answered_are_refused(prompt, message):
    with pytest.raises(RequestError, match=message):
        decode(prompt, SamplingParams(), Drawer(0), context=16)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "sideways"},
        {"grammar": "maybe"},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"timeout_s": 0.0},
        *({name: 0} for name in ("max_new_tokens", "max_topics", "max_depth", "max_width")),
        *({name: -1} for name in ("max_topic_tokens", "max_branch_tokens")),
    ],
    ids=str,
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(RequestError, match=next(iter(wrong))):
        SamplingParams(**wrong)


@pytest.mark.parametrize("name", ["max_rows", "max_requests", "max_kv_rows"])
def test_wrong_engine_limits_are_refused(name):
    with pytest.raises(RequestError, match=name):
        EngineLimits(**{name: 0})
