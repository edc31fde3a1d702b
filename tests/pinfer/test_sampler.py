"""Draws: right in distribution, keyed by what they belong to, counted where the grammar acts."""

import random

import pytest
import torch

from pbranch.layout import LayoutOptions
from pbranch.stream import LaneState, legal_table
from pinfer.commit import Rules, open_request
from pinfer.params import EngineLimits, SamplingParams
from pinfer.sampler import Sampler, uniform
from tests.pinfer.harness import END_OF_TEXT, KNOWN, MARKERS, SIZE, Toy, greedy, toy_model

torch.set_num_threads(1)
RULES = Rules(MARKERS, frozenset({END_OF_TEXT}), 10_000)
SAMPLER = Sampler(torch.from_numpy(legal_table(MARKERS, [END_OF_TEXT], SIZE, KNOWN)))


def lanes_at(positions, state=LaneState.TRUNK, **params):
    """Trunks that are about to draw at `positions`."""
    out = []
    for position in positions:
        lane = open_request(0, [1], SamplingParams(**params), RULES).trunk
        lane.position, lane.state = position, state
        out.append(lane)
    return out


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("grammar", ["on", "off"])
def test_draws_follow_the_softmax(temperature, grammar):
    """Chi-square over 5000 positions; with the grammar, over what is legal."""
    logits = torch.randn(SIZE, generator=torch.Generator().manual_seed(3))
    lanes = lanes_at(range(5000), temperature=temperature, grammar=grammar)
    drawn = torch.tensor([c.token for c in SAMPLER(logits.expand(5000, -1), lanes)])
    wanted = logits.double() / temperature
    if grammar == "on":
        wanted = wanted.masked_fill(~SAMPLER.legal[LaneState.TRUNK], float("-inf"))
    expected = wanted.softmax(0) * 5000
    counts = torch.bincount(drawn, minlength=SIZE)
    assert counts[expected == 0].sum() == 0
    often = expected > 5
    chi = ((counts - expected)[often] ** 2 / expected[often]).sum()
    freedom = int(often.sum()) - 1
    assert chi < freedom + 4 * (2 * freedom) ** 0.5, f"chi-square {chi:.0f} of {freedom}"


def test_uniform_is_keyed_by_seed_sample_path_and_position():
    (lane,) = lanes_at([7], seed=1, sample=2)
    base = uniform(lane)
    assert base == uniform(lane)
    (other_seed,) = lanes_at([7], seed=2, sample=2)
    (other_sample,) = lanes_at([7], seed=1, sample=3)
    (other_place,) = lanes_at([8], seed=1, sample=2)
    (branch,) = lanes_at([7], seed=1, sample=2)
    branch.path = ((0, 1),)
    assert len({base, *map(uniform, (other_seed, other_sample, other_place, branch))}) == 5
    many = [uniform(lane) for lane in lanes_at(range(2000), temperature=1.0)]
    assert 0 <= min(many) < 0.01 and 0.99 < max(many) < 1
    assert abs(sum(many) / 2000 - 0.5) < 0.03


@pytest.mark.parametrize("kind", ["qwen3", "gemma3"])
def test_a_seed_fixes_the_tokens_however_they_are_scheduled(kind):
    model = toy_model(kind, 15)
    prompts = [[1, 2, 3]] * 4 + [[4, 5]] * 2
    params = [greedy(temperature=1.0, seed=n % 3, max_new_tokens=30) for n in range(6)]
    options = LayoutOptions()
    together = Toy(model, options).tokens(prompts, params)
    for changed in (
        {"mode": "serial"},
        {"max_width": 2},
        {"mode": "parallel", "timeout_s": 1e9},
    ):
        again = [SamplingParams(**{**_as_dict(p), **changed}) for p in params]
        assert Toy(model, options, EngineLimits(max_rows=3)).tokens(prompts, again) == together
    assert together[0] == together[3], "same prompt, same seed"
    assert len({tuple(t) for t in together[:3]}) == 3, "same prompt, other seeds"
    other = [greedy(temperature=1.0, sample=1, max_new_tokens=30)]
    assert Toy(model).tokens(prompts[:1], other) != together[:1]


def _as_dict(params):
    return {name: getattr(params, name) for name in params.__slots__}


@pytest.mark.parametrize("temperature", [1e-9, 5e-324])
def test_a_temperature_near_nothing_is_greedy(temperature):
    logits = torch.randn(20, SIZE, generator=torch.Generator().manual_seed(4))
    cold = SAMPLER(logits, lanes_at(range(20), temperature=temperature))
    assert [c.token for c in cold] == [c.token for c in SAMPLER(logits, lanes_at(range(20)))]


def test_equal_logits_are_drawn_alike_in_any_batch():
    logits = torch.zeros(50, SIZE)
    found = {c.token for c in SAMPLER(logits, lanes_at(range(50)))}
    assert len(found) == 1
    for n in (1, 2, 17):
        assert {c.token for c in SAMPLER(logits[:n], lanes_at(range(n)))} == found


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("state", list(LaneState))
def test_only_legal_tokens_are_drawn_in_any_state(state, temperature):
    rng = torch.Generator().manual_seed(6)
    logits = torch.randn(200, SIZE, generator=rng) * 4
    choices = SAMPLER(logits, lanes_at(range(200), state, temperature=temperature))
    legal = SAMPLER.legal[state]
    assert all(legal[c.token] for c in choices)
    if temperature == 0:
        best = logits.argmax(-1)
        assert [c.legal for c in choices] == legal[best].tolist()
        kept = [c.token == b for c, b in zip(choices, best.tolist(), strict=True)]
        assert kept == [c.legal for c in choices]


def test_interventions_count_the_choices_that_were_changed():
    """Against the logits themselves: rows whose best token is illegal."""
    expected = {}

    def look(batch, logits):
        for lane, best in zip(batch.lanes, logits.argmax(-1).tolist(), strict=True):
            number = lane.request.number
            expected.setdefault(number, 0)
            expected[number] += not SAMPLER.legal[lane.state, best]

    rng = random.Random(5)
    prompts = [[rng.randrange(16) for _ in range(4)] for _ in range(12)]
    requests = Toy(toy_model("llama", 16), on_step=look).run(prompts, greedy())
    assert [r.interventions for r in requests] == [expected[r.number] for r in requests]
    assert sum(r.interventions for r in requests) > 20


def test_no_lanes_no_choices():
    assert SAMPLER(torch.zeros(0, SIZE), []) == []


def test_what_a_limit_kept_from_forking_is_told():
    """`wanted`: the best token if forks were allowed; in mode linear they never are."""
    logits = torch.zeros(1, SIZE)
    logits[0, MARKERS.topic], logits[0, MARKERS.fork], logits[0, 3] = 3, 2, 1
    for state in (LaneState.TRUNK_FLAT, LaneState.BRANCH_FLAT):
        (choice,) = SAMPLER(logits, lanes_at([5], state))
        assert (choice.token, choice.legal, choice.wanted) == (3, False, MARKERS.fork)
        (choice,) = SAMPLER(logits, lanes_at([5], state, mode="linear"))
        assert (choice.token, choice.wanted) == (3, 3)
