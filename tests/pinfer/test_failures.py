"""What fails in one request ends that request alone; a pass that fails ends those in it."""

import random

import pytest
import torch

from pinfer.params import EngineLimits
from pinfer.request import marker_controller
from pinfer.request.stop_strings import StopMatcher
from tests.support.toy_engine import Toy, greedy, letters_only, toy_model

torch.set_num_threads(1)
MODEL = toy_model("qwen3", 5, num_hidden_layers=1)
PROMPTS = [[1, 2, 3], [4, 5], [6, 7, 8, 9]]
PARAMS = greedy(max_new_tokens=25)


class Unlucky(Exception):
    """What a test raises."""


class Break:
    """Raises from the n-th call on."""

    def __init__(self, at):
        self.left = at

    def __call__(self, *_):
        self.left -= 1
        if self.left <= 0:
            raise Unlucky("here")


def break_sampling(core, rng):
    """In the middle request's sites, whatever else is sampled with them."""
    plain, fail = core.sampler, Break(rng.randint(1, 6))

    def sampler(logits, sites):
        if any(site.request == victim.number for site in sites):
            fail()
        return plain(logits, sites)

    core.sampler = sampler
    victim = add(core)[1]
    return {victim}


def break_commit(core, rng, monkeypatch):
    """In the transition of a token."""
    requests, fail, plain = add(core), Break(rng.randint(1, 6)), marker_controller.push

    def push(lane, token, injected, spec):
        plain(lane, token, injected, spec)
        if lane.request is requests[1] and not injected:
            fail()

    monkeypatch.setattr(marker_controller, "push", push)
    return {requests[1]}


def break_stop_function(core, rng):
    """In a function of the user's."""
    fail = Break(rng.randint(1, 6))
    matchers = [None, StopMatcher(letters_only, (), lambda text: bool(fail(text))), None]
    return {add(core, matchers)[1]}


def break_forward(core, rng):
    """In the model: those of that pass are lost, not the one that still waits."""
    fail, runner = Break(rng.randint(1, 6)), core.runner.runner
    plain = runner.model

    class Broken:
        def __call__(self, batch):
            out = plain(batch)
            fail.left -= 1
            if fail.left == 0:
                raise Unlucky("here")
            return out

    runner.model = Broken()
    requests = add(core)
    return set(requests[:2]), plain


def add(core, matchers=(None, None, None)):
    return [core.scheduler.add(list(p), PARAMS, m) for p, m in zip(PROMPTS, matchers, strict=True)]


@pytest.fixture(scope="module")
def alone():
    return [Toy(MODEL).tokens([prompt], PARAMS)[0] for prompt in PROMPTS]


def run(core):
    """All requests to their ends, the arena checked after every step."""
    requests = [*core.scheduler.queued]
    while core.busy:
        core.step()
        core.runner.runner.arena.check()
    return requests


def check(core, requests, failed, alone):
    for request, wanted in zip(requests, alone, strict=True):
        if request in failed and request.error is not None:
            assert isinstance(request.error, Unlucky) and request.finish_reason == "error"
        else:
            assert request.error is None
            assert [t for t, _, _ in request.trunk.tokens()] == wanted
    core.scheduler.prefixes.evict(0)
    assert core.runner.runner.arena.rows == 0 and not core.runner.cache._homes
    assert not core.scheduler.running and not core.scheduler.queued
    return any(request.error is not None for request in requests)


@pytest.mark.parametrize("where", ["sampling", "commit", "stop function", "forward"])
@pytest.mark.parametrize("rounds", [10, pytest.param(250, marks=pytest.mark.slow)])
def test_all_others_go_on(where, rounds, alone, monkeypatch):
    """One engine, round after round: the others answer as if alone, and nothing leaks."""
    toy = Toy(MODEL, limits=EngineLimits(max_requests=2 if where == "forward" else 64))
    core = toy.core()
    sampler, failures = core.sampler, 0
    for number in range(rounds):
        rng = random.Random(f"{where} {number}")
        core.sampler, plain = sampler, None
        with monkeypatch.context() as patch:
            if where == "sampling":
                failed = break_sampling(core, rng)
            elif where == "commit":
                failed = break_commit(core, rng, patch)
            elif where == "stop function":
                failed = break_stop_function(core, rng)
            else:
                failed, plain = break_forward(core, rng)
            requests = run(core)
        if plain is not None:
            core.runner.runner.model = plain
        failures += check(core, requests, failed, alone)
    assert failures > rounds / 2
    assert core.runner.runner.arena.slots <= 4096, "the arena grows with every round"


def test_what_a_failed_request_has_written_is_whole(monkeypatch):
    """Its text is closed like that of an aborted one."""
    toy = Toy(MODEL)
    core = toy.core()
    with monkeypatch.context() as patch:
        break_commit(core, random.Random(4), patch)
        requests = run(core)
    (failed,) = (r for r in requests if r.error is not None)
    assert toy.trace(failed) is not None


def test_who_waited_for_the_prompt_of_a_failed_request_feeds_its_own():
    """A source that fails in its first pass leaves nothing to share."""
    toy, prompt = Toy(MODEL), [1 + i % 9 for i in range(50)]
    wanted = toy.tokens([prompt], PARAMS)[0]
    core = toy.core()
    runner, fail = core.runner.runner, Break(1)
    plain = runner.model

    class Broken:
        def __call__(self, batch):
            fail.left -= 1
            if fail.left == 0:
                raise Unlucky("here")
            return plain(batch)

    runner.model = Broken()
    first, second = (core.scheduler.add(list(prompt), PARAMS) for _ in range(2))
    while core.busy:
        core.step()
    assert isinstance(first.error, Unlucky) and second.prefix.shared == 0
    assert second.error is None and [t for t, _, _ in second.trunk.tokens()] == wanted
    core.scheduler.prefixes.evict(0)
    assert runner.arena.rows == 0 and not core.runner.cache._homes
