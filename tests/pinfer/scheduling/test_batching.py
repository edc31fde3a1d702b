"""What must not change a token: who else is in the batch, in what order, in how many lanes or rows
at once, by which backend. And where there is no fork, decoding is plain decoding."""

import copy
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pbranch.format.layout import LayoutOptions
from pinfer.params import EngineLimits
from tests.conftest import MODEL_KINDS
from tests.support.toy_engine import (
    END_OF_TEXT,
    KNOWN,
    LEAN,
    MARKERS,
    SIZE,
    Recorder,
    Toy,
    greedy,
    request_layout,
    scripted,
    toy_model,
)

torch.set_num_threads(1)
NO_FORK = {**LEAN, MARKERS.fork: -1000.0}


def some_prompts(n, seed=0):
    rng = random.Random(seed)
    return [[rng.randrange(16) for _ in range(rng.randint(1, 12))] for _ in range(n)]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["qwen3", "gemma3"])
def test_a_batch_of_32_is_32_lone_runs_in_any_order(kind, temperature):
    model, prompts = toy_model(kind, 2), some_prompts(32)
    rng = random.Random(1)
    params = [
        greedy(max_new_tokens=rng.randint(1, 24), temperature=temperature, seed=rng.randint(0, 3))
        for _ in prompts
    ]
    together = Toy(model).tokens(prompts, params)
    alone = [Toy(model).tokens([p], [q])[0] for p, q in zip(prompts, params, strict=True)]
    assert together == alone
    order = list(range(32))
    rng.shuffle(order)
    limits = EngineLimits(max_requests=7)
    shuffled = Toy(model, limits=limits).tokens(
        [prompts[i] for i in order], [params[i] for i in order]
    )
    assert shuffled == [together[i] for i in order]
    assert sum(MARKERS.join in t for t in together) > 10


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_width_and_mode_serial_change_no_token(kind):
    model, prompts = toy_model(kind, 4), some_prompts(6)
    runs = {
        width: Toy(model).run(prompts, greedy(max_width=width, max_new_tokens=45))
        for width in (1, 2, 3, None)
    }
    serial = Toy(model).run(prompts, greedy(mode="serial", max_new_tokens=45))
    wanted = [list(r.trunk.tokens()) for r in runs[None]]
    for found in (*runs.values(), serial):
        assert [list(r.trunk.tokens()) for r in found] == wanted
    for width in (1, 2, 3):
        assert max(r.stats.widest for r in runs[width]) <= width
    assert max(r.stats.widest for r in runs[None]) > 2
    assert max(r.stats.widest for r in serial) == 1


@settings(max_examples=8)
@given(
    kind=st.sampled_from(MODEL_KINDS),
    seed=st.integers(0, 10**6),
    rows=st.sampled_from([1, 2, 5]),
    outline=st.sampled_from(["all", "own"]),
    join=st.sampled_from(["keep", "reencode"]),
    width=st.none() | st.integers(1, 3),
)
def test_rows_of_a_pass_change_no_token(kind, seed, rows, outline, join, width):
    model, prompts, options = (
        toy_model(kind, seed),
        some_prompts(3, seed),
        LayoutOptions("max", outline, join),
    )
    most = []
    small = Toy(model, options, EngineLimits(max_rows=rows), on_step=lambda b, _: most.append(b))
    found = small.tokens(prompts, greedy(max_width=width, max_new_tokens=25))
    assert found == Toy(model, options).tokens(prompts, greedy(max_new_tokens=25))
    assert max(len(b.tokens) for b in most) == rows


@pytest.mark.parametrize(
    "options",
    [LayoutOptions(), LayoutOptions("flat", "own"), LayoutOptions("max", "own", "reencode")],
    ids=str,
)
@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_backends_agree(kind, options):
    model, prompts = toy_model(kind, 6), some_prompts(4)
    found = {}
    for backend in ("dense", "pieces", "sdpa"):
        record = Recorder()
        toy = Toy(model, options, EngineLimits(max_rows=9), backend, on_step=record)
        found[backend] = toy.tokens(prompts, greedy()), record.logits
    tokens, expected = found.pop("dense")
    for others, logits in found.values():
        assert others == tokens and logits.keys() == expected.keys()
        for key, row in expected.items():
            torch.testing.assert_close(logits[key], row, rtol=0, atol=1e-10)


def generated(model, prompt, barred, n=30):
    """Greedy tokens of transformers' own `generate`."""
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("sdpa")
    out = plain.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=n,
        do_sample=False,
        suppress_tokens=barred,
        eos_token_id=END_OF_TEXT,
        pad_token_id=0,
    )
    return out[0, len(prompt) :].tolist()


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_linear_mode_is_transformers_generate(kind):
    barred = [*MARKERS.as_dict().values(), *range(KNOWN, SIZE)]
    model, prompts = toy_model(kind, 7, {END_OF_TEXT: 2.0}), some_prompts(8)
    found = Toy(model).tokens(prompts, greedy(mode="linear", max_new_tokens=30))
    assert found == [generated(model, p, barred) for p in prompts]


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_without_a_fork_parallel_is_transformers_generate(kind):
    barred = [*MARKERS.as_dict().values(), *range(KNOWN, SIZE)]
    model, prompts = toy_model(kind, 8, NO_FORK), some_prompts(8)
    requests = Toy(model).run(prompts, greedy(max_new_tokens=30))
    assert [[t for t, _, _ in r.trunk.tokens()] for r in requests] == [
        generated(model, p, barred) for p in prompts
    ]
    for request in requests:
        assert request.stats.passes == request.trunk.budget.sampled - 1 == request.stats.fed


@pytest.mark.parametrize("positions", ["max", "flat"])
@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_one_branch_is_plain_decoding(kind, positions):
    """Nested one-branch blocks: the rows in a line, plain causal attention, default positions."""
    m = MARKERS
    block = [m.fork, m.topic, 1, 2, m.spawn]
    scripts = {
        (): [3, *block, 4, 5, *block, END_OF_TEXT],
        ((0, 0),): [6, *block, 7, m.end],
        ((0, 0), (0, 0)): [8, 9, m.end],
        ((1, 0),): [m.end],
    }
    record, model = Recorder(), toy_model(kind, 9)
    toy = Toy(model, LayoutOptions(positions), on_step=record, choose=scripted(scripts))
    (request,) = toy.run([[1, 2, 3]], greedy())
    layout = request_layout(toy, request)
    assert layout.position_ids == list(range(len(layout)))
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("sdpa")
    with torch.inference_mode():
        full = plain(torch.tensor([layout.token_ids]), use_cache=False).logits[0]
    assert len(record.logits) == sum(map(len, scripts.values()))
    for (_, _, position), found in record.logits.items():
        torch.testing.assert_close(found, full[position], rtol=0, atol=1e-9)
