"""Draws: right in distribution, keyed by what they belong to, counted where the grammar acts."""

import copy
import random
from dataclasses import replace

import pytest
import torch
from transformers import GenerationConfig

from pbranch.errors import RequestError
from pbranch.format.grammar import LaneState, legal_table
from pbranch.format.layout import LayoutOptions
from pbranch.format.visibility import dense_mask, layout_tensor
from pinfer.params import EngineLimits, SamplingParams
from pinfer.request.state import hash_tokens
from pinfer.sampling.noise import gumbel
from pinfer.sampling.sampler import Sampler, sample
from pinfer.scheduling.batch import SampleSite
from tests.support.toy_engine import (
    END_OF_TEXT,
    KNOWN,
    MARKERS,
    SIZE,
    Recorder,
    Toy,
    greedy,
    paths_of_rows,
    reference_tokens,
    request_layout,
    toy_model,
)

torch.set_num_threads(1)
SAMPLER = Sampler(torch.from_numpy(legal_table(MARKERS, [END_OF_TEXT], SIZE, range(KNOWN))))


def sites_at(positions, state=LaneState.TRUNK, seen=(), **params):
    """Sites of a trunk whose next tokens stand at `positions`."""
    params = SamplingParams(**params)
    return [SampleSite(0, params, (), at, state, frozenset(seen)) for at in positions]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("grammar", ["on", "off"])
def test_draws_follow_the_softmax(temperature, grammar):
    """Chi-square over 5000 positions; with the grammar, over what is legal."""
    logits = torch.randn(SIZE, generator=torch.Generator().manual_seed(3))
    sites = sites_at(range(5000), temperature=temperature, grammar=grammar)
    drawn = torch.tensor([c.token for c in SAMPLER(logits.expand(5000, -1), sites)])
    wanted = logits.double() / temperature
    if grammar == "on":
        wanted = wanted.masked_fill(~SAMPLER.legal[LaneState.TRUNK], float("-inf"))
    assert_drawn_from(wanted.softmax(0), drawn)


def assert_drawn_from(wanted, drawn):
    """Chi-square of drawn tokens; what has no probability is never drawn."""
    expected, counts = wanted * len(drawn), torch.bincount(drawn, minlength=SIZE)
    assert counts[expected == 0].sum() == 0
    often = expected > 5
    chi = ((counts - expected)[often] ** 2 / expected[often]).sum()
    freedom = int(often.sum()) - 1
    assert chi < freedom + 4 * (2 * freedom) ** 0.5, f"chi-square {chi:.0f} of {freedom}"


def test_noise_is_keyed_by_seed_prompt_path_position_and_token():
    like = torch.zeros(1, SIZE)
    (site,) = sites_at([7], seed=1)
    base = gumbel([site], like)
    assert torch.equal(base, gumbel([site], like)) and base.isfinite().all()
    (other_seed,) = sites_at([7], seed=2)
    (other_place,) = sites_at([8], seed=1)
    branch = replace(site, path=((0, 1),))
    prompt = replace(site, prompt_key=hash_tokens([1, 2]))
    others = gumbel([other_seed, other_place, branch, prompt], like)
    assert len({*base.flatten().tolist(), *others.flatten().tolist()}) == 5 * SIZE
    assert torch.equal(gumbel([branch, site], torch.zeros(2, 9 * SIZE))[1, :SIZE], base[0])
    # e^-e^-x of Gumbel noise is even over (0, 1), alone and of neighbours
    many = (-(-gumbel(sites_at(range(4000), temperature=1.0), like)).exp()).exp()
    assert abs(many.mean() - 0.5) < 0.005 and abs(many.var() - 1 / 12) < 0.002
    for a, b in ((many[:-1], many[1:]), (many[:, :-1], many[:, 1:])):
        assert abs(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]) < 0.01


def test_rounding_moves_hardly_a_draw():
    """Noise in the logits moves a draw about as often as it is large, for any vocabulary; where
    sums are cumulated it would shift each of their 4000 edges, and 11 of these draws."""
    g = torch.Generator().manual_seed(5)
    logits = torch.randn(20, 4000, generator=g)
    sites = sites_at(range(20), temperature=1.0)
    changed = 0
    for _ in range(100):
        sites = [replace(site, position=site.position + 1000) for site in sites]
        noisy = logits + 1e-4 * torch.randn(logits.shape, generator=g)
        changed += sum(
            a != b for a, b in zip(sample(logits, sites), sample(noisy, sites), strict=True)
        )
    assert changed <= 3


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


def test_one_seed_draws_independently_for_each_prompt():
    """Of logits that are the same for all prompts, as many draws agree as by chance."""
    likely = torch.zeros(SIZE).softmax(0)
    params = SamplingParams(temperature=1.0, seed=0, grammar="off")
    keys = [hash_tokens([7, n]) for n in range(3000)]
    sites = [SampleSite(0, params, (), 5, LaneState.TRUNK, prompt_key=key) for key in keys]
    assert_drawn_from(likely, sample(torch.zeros(len(sites), SIZE), sites))
    assert len(set(keys)) == len(keys) and hash_tokens([71]) != hash_tokens([7, 1])


def test_prompts_that_differ_begin_unlike():
    """Where the model says the same after all of them, one seed drew the same."""
    model = toy_model("llama", 3, {})
    model.lm_head.weight.data.zero_()
    params = greedy(temperature=1.0, seed=0, max_new_tokens=6, mode="linear")
    answers = Toy(model).tokens([[n] for n in range(16)], params)
    assert len(set(map(tuple, answers))) == 16
    again = Toy(model).tokens([[3], [4], [3]], params)
    assert again == [answers[3], answers[4], answers[3]], "the same prompt and seed, the same draws"


@pytest.mark.parametrize("kind", ["qwen3", "gemma3"])
@pytest.mark.parametrize("shape", [{}, {"top_k": 6}, {"top_p": 0.8, "min_p": 0.05}])
def test_samples_are_those_of_the_reference(kind, shape):
    model, blocks = toy_model(kind, 15), 0
    for options in (LayoutOptions(), LayoutOptions(outline="own", join="reencode")):
        for seed in range(3):
            params = greedy(temperature=1.0, seed=seed, max_new_tokens=30, **shape)
            (request,) = Toy(model, options).run([[1, 2, seed]], params)
            wanted = reference_tokens(model, [1, 2, seed], params, options)
            assert [t for t, _, _ in request.trunk.tokens()] == wanted
            blocks += len(request.trunk.forks)
    assert blocks


def _as_dict(params):
    return {name: getattr(params, name) for name in params.__slots__}


@pytest.mark.parametrize("temperature", [1e-9, 5e-324])
def test_a_temperature_near_nothing_is_greedy(temperature):
    logits = torch.randn(20, SIZE, generator=torch.Generator().manual_seed(4))
    cold = SAMPLER(logits, sites_at(range(20), temperature=temperature))
    assert [c.token for c in cold] == [c.token for c in SAMPLER(logits, sites_at(range(20)))]


def test_equal_logits_are_drawn_alike_in_any_batch():
    logits = torch.zeros(50, SIZE)
    found = {c.token for c in SAMPLER(logits, sites_at(range(50)))}
    assert len(found) == 1
    for n in (1, 2, 17):
        assert {c.token for c in SAMPLER(logits[:n], sites_at(range(n)))} == found


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("state", list(LaneState))
def test_only_legal_tokens_are_drawn_in_any_state(state, temperature):
    rng = torch.Generator().manual_seed(6)
    logits = torch.randn(200, SIZE, generator=rng) * 4
    choices = SAMPLER(logits, sites_at(range(200), state, temperature=temperature))
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
        for site, best in zip(batch.sites, logits.argmax(-1).tolist(), strict=True):
            expected.setdefault(site.request, 0)
            expected[site.request] += not SAMPLER.legal[site.state, best]

    rng = random.Random(5)
    prompts = [[rng.randrange(16) for _ in range(4)] for _ in range(12)]
    requests = Toy(toy_model("llama", 16), on_step=look).run(prompts, greedy())
    assert [r.stats.interventions for r in requests] == [expected[r.number] for r in requests]
    assert sum(r.stats.interventions for r in requests) > 20


def test_no_lanes_no_choices():
    assert SAMPLER(torch.zeros(0, SIZE), []) == []


def test_what_a_limit_kept_from_forking_is_told():
    """`wanted`: the best token if forks were allowed; in mode linear they never are."""
    logits = torch.zeros(1, SIZE)
    logits[0, MARKERS.topic], logits[0, MARKERS.fork], logits[0, 3] = 3, 2, 1
    for state in (LaneState.TRUNK_FLAT, LaneState.BRANCH_FLAT):
        (choice,) = SAMPLER(logits, sites_at([5], state))
        assert (choice.token, choice.legal, choice.wanted) == (3, False, MARKERS.fork)
        (choice,) = SAMPLER(logits, sites_at([5], state, mode="linear"))
        assert (choice.token, choice.wanted) == (3, 3)


def processed(logits, seen, **changes):
    """Logits as transformers' own `generate` would draw from them."""
    config = GenerationConfig(do_sample=True, **changes)
    model = toy_model("llama")
    model._prepare_special_tokens(config, False, device=torch.device("cpu"))
    chain = model._get_logits_processor(config, input_ids_seq_length=len(seen))
    return chain(torch.tensor([seen]), logits[None].clone())[0]


SHAPES = [
    {"temperature": 0.7},
    {"temperature": 1.0, "top_k": 5},
    {"temperature": 1.0, "top_p": 0.8},
    {"temperature": 1.0, "min_p": 0.1},
    {"temperature": 1.0, "repetition_penalty": 1.5},
    {"temperature": 1.3, "top_k": 12, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 0.8},
]


@pytest.mark.parametrize("changes", SHAPES, ids=lambda c: ",".join(c))
def test_draws_follow_transformers_processors(changes):
    """Chi-square over 20,000 draws; what the processors bar is never drawn."""
    n, seen = 20_000, [1, 2, 3, 7]
    logits = torch.randn(SIZE, generator=torch.Generator().manual_seed(8)) * 2
    sites = sites_at(range(n), seen=seen, grammar="off", **changes)
    drawn = torch.tensor([c.token for c in SAMPLER(logits.expand(n, -1), sites)])
    assert_drawn_from(processed(logits, seen, **changes).double().softmax(0), drawn)


def test_a_penalty_is_transformers_penalty_in_greedy_decoding():
    """Prompt and answer count, as in `generate`."""
    model = toy_model("qwen3", 9, {END_OF_TEXT: 1.0})
    barred = [*MARKERS.as_dict().values(), *range(KNOWN, SIZE)]
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("sdpa")
    differ = 0
    for prompt in ([1, 2, 3], [4], [5, 5, 6, 7]):
        out = plain.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=25,
            do_sample=False,
            repetition_penalty=1.4,
            suppress_tokens=barred,
            eos_token_id=END_OF_TEXT,
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
        params = greedy(mode="linear", max_new_tokens=25, repetition_penalty=1.4)
        assert Toy(model).tokens([prompt], params) == [out]
        differ += Toy(model).tokens([prompt], greedy(mode="linear", max_new_tokens=25)) != [out]
    assert differ


@pytest.mark.parametrize("outline", ["all", "own"])
def test_a_penalty_looks_at_what_the_lane_sees(outline):
    """Against the rows' own layout: what a lane's newest row sees, drawn or of the prompt."""
    toy = Toy(toy_model("llama", 3), LayoutOptions(outline=outline))

    def look(batch, logits):
        for token in batch.sampled:
            lane = token.lane
            found[lane.request.number, lane.path, token.position] = set(lane.visible_tokens())

    checked = 0
    for seed in range(12):
        found: dict = {}
        toy.on_step = look
        (request,) = toy.run([[1, 2, 3]], greedy(temperature=1.0, seed=seed, max_new_tokens=40))
        layout = request_layout(toy, request)
        seen = dense_mask(layout_tensor([layout]))[0, 0]
        forced = [False] * 3 + [f for t, f, _ in request.trunk.tokens() if t != END_OF_TEXT]
        paths = paths_of_rows(request)
        markers = set(MARKERS.as_dict().values())
        for row, path in enumerate(paths):
            key = (0, path, layout.position_ids[row])
            if key not in found or layout.token_ids[row] == MARKERS.end:
                continue
            tokens = layout.token_ids
            wanted = {tokens[k] for k in range(len(tokens)) if seen[row, k] and not forced[k]}
            assert found[key] == wanted - markers
            checked += 1
    assert checked > 100


def test_logprobs_are_those_of_the_model():
    recorder = Recorder()
    toy = Toy(toy_model("qwen2", 4), on_step=recorder)
    (request,) = toy.run([[1, 2]], greedy(logprobs=3, temperature=1.0, max_new_tokens=40))
    scores = 0
    for lane in request.lanes:
        drawn = [(i, t) for i, (t, f) in enumerate_tokens(lane) if not f]
        for i, token in drawn:
            score = lane.logprobs[i]
            assert len(score.top) == 3 and score.top[0][1] >= score.logprob
            rows = [v for (_, path, _), v in recorder.logits.items() if path == lane.path]
            assert any(abs(v.log_softmax(-1)[token] - score.logprob) < 1e-6 for v in rows)
            scores += 1
    rows = list(request.trunk.tokens())
    assert scores == sum(not forced for _, forced, _ in rows)
    assert all((score is None) == forced for _, forced, score in rows)


def enumerate_tokens(lane):
    return [(i, item) for i, item in enumerate(lane.items) if isinstance(item, tuple)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -1),
        ("temperature", float("nan")),
        ("top_p", 0),
        ("top_p", 1.5),
        ("top_k", -1),
        ("min_p", 2),
        ("repetition_penalty", 0),
        ("logprobs", 101),
        ("stop", ("",)),
        ("stop", "word"),
        ("max_new_tokens", 0),
    ],
)
def test_values_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(RequestError, match=f"^{name} "):
        SamplingParams(**{name: value})


@pytest.mark.parametrize("favourite, most", [(0, 1), (MARKERS.join, 3)])
def test_a_step_moves_what_it_drew_to_the_host_at_once(favourite, most, monkeypatch):
    """On a GPU every look at a value waits for the whole step. More are needed only where the
    model's own choice is barred."""
    sites = sites_at(range(3))
    logits = torch.randn(len(sites), SIZE, generator=torch.Generator().manual_seed(2))
    logits[1, favourite] = 100
    logits[::2, 1] = 100
    looks = []
    for name in ("tolist", "item", "cpu", "numpy", "__bool__", "__int__", "__float__"):
        look = getattr(torch.Tensor, name)

        def counted(tensor, *args, look=look, name=name):
            looks.append(name)
            return look(tensor, *args)

        monkeypatch.setattr(torch.Tensor, name, counted)
    choices = SAMPLER(logits, sites)
    assert looks == ["tolist"] * len(looks) and len(looks) <= most
    assert [c.legal for c in choices] == [True, favourite == 0, True]
    assert all(type(c.token) is type(c.wanted) is int and type(c.legal) is bool for c in choices)
