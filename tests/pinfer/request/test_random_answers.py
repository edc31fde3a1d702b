"""Models with random weights: whatever they write, answers are well-formed and memory is bounded.
The arena is checked after every step (`Toy` does)."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pbranch.errors import RequestError
from pbranch.format.layout import LayoutOptions
from pinfer.params import EngineLimits, SamplingParams
from pinfer.scheduling.kv_bound import keep_all
from tests.conftest import MODEL_KINDS
from tests.support.forced_decode import Drawer, check_form, decode
from tests.support.toy_engine import END_OF_TEXT, MARKERS, Toy, greedy, toy_model

torch.set_num_threads(1)
OPTIONS = st.builds(
    LayoutOptions,
    st.sampled_from(["max", "flat"]),
    st.sampled_from(["all", "own"]),
    st.sampled_from(["keep", "reencode"]),
)


def tokens(request):
    return [(t, f) for t, f, _ in request.trunk.tokens()]


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_garbage_decodes_300_prompts(kind):
    """20 prompts at a time, on models that lean to no marker, to some, and to all of them."""
    rng = random.Random(4)
    for round_ in range(3):
        lean = [{}, None, dict.fromkeys(MARKERS.as_dict().values(), 9.0)][round_]
        prompts = [[rng.randrange(23) for _ in range(rng.randint(1, 9))] for _ in range(20)]
        params = [
            greedy(
                max_new_tokens=rng.randint(1, 24),
                max_depth=rng.randint(1, 3),
                max_width=rng.choice([None, 1, 2]),
                temperature=rng.choice([0.0, 1.0, 3.0]),
                grammar=rng.choice(["on", "on", "off"]),
            )
            for _ in prompts
        ]
        toy = Toy(toy_model(kind, round_, lean), limits=EngineLimits(max_rows=64))
        for request in toy.run(prompts, params):
            check_form(request, toy.spec, LayoutOptions())
            assert request.trunk.budget.used <= request.params.max_new_tokens


def test_grammar_off_ends_in_an_error_at_an_illegal_choice():
    model, ended = toy_model("qwen3", 5, {}), 0
    rng = random.Random(6)
    prompts = [[rng.randrange(16) for _ in range(4)] for _ in range(40)]
    toy = Toy(model)
    free = toy.run(prompts, greedy(grammar="off", max_new_tokens=3))
    bound = toy.run(prompts, greedy(max_new_tokens=3))
    for off, on in zip(free, bound, strict=True):
        check_form(off, toy.spec, LayoutOptions())
        assert off.stats.interventions == (off.finish_reason == "error")
        if off.finish_reason == "error":
            assert "grammar" in off.limits
            assert on.stats.interventions >= 1
            ended += 1
        else:
            assert "grammar" not in off.limits
            assert tokens(off) == tokens(on)
    assert 5 < ended < 40


@settings(max_examples=6)
@given(kind=st.sampled_from(MODEL_KINDS), seed=st.integers(0, 10**6), options=OPTIONS)
def test_keep_all_bounds_the_arena(kind, seed, options):
    rng = random.Random(seed)
    for budget in (1, 2, 3, 5, 9, 40):
        prompt = [rng.randrange(16) for _ in range(3)]
        params = greedy(max_new_tokens=budget, max_topic_tokens=1 + seed % 3)
        toy = Toy(toy_model(kind, seed), options)
        toy.run([prompt], params)
        assert toy.most_rows <= keep_all(len(prompt), params, 4)


@settings(max_examples=200)
@given(seed=st.integers(0, 10**6), budget=st.integers(1, 60), topic=st.integers(1, 6))
def test_keep_all_bounds_the_rows_fed(seed, budget, topic):
    params = SamplingParams(max_new_tokens=budget, max_topic_tokens=topic, max_topics=9)
    fed = []
    decode([1, 2], params, Drawer(seed), on_rows=lambda rows: fed.extend(rows))
    assert len(fed) <= keep_all(2, params, 4)


def test_requests_wait_until_they_fit_in_memory():
    params = greedy(max_new_tokens=10)
    most = keep_all(4, params, 4)
    model, prompts = toy_model("llama", 2), [[1, 2, 3, n] for n in range(6)]
    together = []
    toy = Toy(
        model,
        limits=EngineLimits(max_kv_rows=2 * most + 1),
        on_step=lambda batch, _: together.append(
            len({r.lane.request.number for r in batch.tokens})
        ),
    )
    assert toy.tokens(prompts, params) == Toy(model).tokens(prompts, params)
    assert max(together) == 2
    assert toy.most_rows <= 2 * most


@pytest.mark.parametrize("changes", [{"mode": "linear"}, {"fork": "never"}])
def test_a_linear_request_takes_a_slot_a_token(changes):
    """And never more than the context has room for."""
    model, context, prompt = toy_model("llama", 4, {END_OF_TEXT: -99.0}), 40, [1, 2, 3]
    for tokens, end in ((10, "max_new_tokens"), (1000, "context")):
        most = min(context, len(prompt) + tokens)
        params = greedy(max_new_tokens=tokens, **changes)
        toy = Toy(model, limits=EngineLimits(max_kv_rows=most), context=context)
        (request,) = toy.run([prompt], params)
        assert request.limits == [end]
        assert most - 1 <= toy.most_rows <= most
        assert len(list(request.trunk.tokens())) == most - len(prompt)
        with pytest.raises(RequestError, match=f"may need {most} cached rows"):
            small = EngineLimits(max_kv_rows=most - 1)
            Toy(model, limits=small, context=context).run([prompt], params)


def test_branches_sample_no_more_than_the_context_holds():
    """However many tokens are allowed: what is set aside is bounded, and the text with it."""
    context, ends = 60, set()
    for seed in range(30):
        params = greedy(max_new_tokens=10**6, temperature=2.0, seed=seed, max_topics=6)
        limits = EngineLimits(max_kv_rows=3 + 4 * context)
        toy = Toy(toy_model("llama", seed), limits=limits, context=context)
        (request,) = toy.run([[1, 2, 3]], params)
        assert sum(not forced for _, forced, _ in request.trunk.tokens()) <= context
        ends |= set(request.limits)
    assert "context" in ends and "max_new_tokens" not in ends


def test_what_can_never_fit_is_refused():
    params = greedy(max_new_tokens=10)
    most = keep_all(4, params, 4)
    toy = Toy(toy_model("llama"), limits=EngineLimits(max_kv_rows=most - 1))
    with pytest.raises(RequestError, match=f"{most} cached rows; there is memory for {most - 1}"):
        toy.run([[1, 2, 3, 4]], params)
    Toy(toy_model("llama"), limits=EngineLimits(max_kv_rows=most)).run([[1, 2, 3, 4]], params)
