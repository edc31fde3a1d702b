"""The engine against its two definitions of right: the readable decoder, and one full forward of
the finished rows under the mask of training."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pbranch.format import visibility
from pbranch.format.layout import LayoutOptions
from pinfer.params import EngineLimits
from pinfer.request import lane_visibility
from tests.conftest import MODEL_KINDS
from tests.support.toy_engine import (
    MARKERS,
    Recorder,
    Toy,
    full_logits,
    greedy,
    paths_of_rows,
    reference_tokens,
    request_layout,
    rows_in_order,
    toy_model,
)

torch.set_num_threads(1)
OPTIONS = [LayoutOptions(p, o) for p in ("max", "flat") for o in ("all", "own")]
OPTIONS += [LayoutOptions("max", o, "reencode") for o in ("all", "own")]
PROMPTS = st.lists(st.lists(st.integers(0, 15), min_size=1, max_size=12), min_size=1, max_size=3)


def some_prompts(n, seed=0):
    rng = random.Random(seed)
    return [[rng.randrange(16) for _ in range(rng.randint(1, 12))] for _ in range(n)]


def tokens(request):
    return [t for t, _, _ in request.trunk.tokens()]


def limits_of_text():
    return st.fixed_dictionaries(
        {
            "max_new_tokens": st.integers(1, 45),
            "max_topics": st.integers(1, 4),
            "max_topic_tokens": st.integers(1, 4),
            "max_depth": st.integers(1, 3),
            "max_branch_tokens": st.none() | st.integers(1, 20),
        }
    )


def check_against_reference(kind, seed, prompts, options, limits, width, rows):
    model, params = toy_model(kind, seed), greedy(**limits, max_width=width)
    found = Toy(model, options, EngineLimits(max_rows=rows)).tokens(prompts, params)
    assert found == [reference_tokens(model, p, params, options) for p in prompts]


CASES = {
    "seed": st.integers(0, 10**6),
    "prompts": PROMPTS,
    "options": st.sampled_from(OPTIONS),
    "limits": limits_of_text(),
    "width": st.none() | st.integers(1, 3),
    "rows": st.sampled_from([1, 3, 512]),
}


@pytest.mark.parametrize("kind, attention", [("gemma2", "eager"), ("phi3", "sdpa")])
@pytest.mark.parametrize("options", OPTIONS[::3], ids=str)
def test_soft_caps_and_other_families(kind, attention, options):
    """Gemma-2 caps its scores, which the plain model does in eager attention alone."""
    params, prompts = greedy(max_new_tokens=40), some_prompts(5, 2)
    model = toy_model(kind, 3)
    found = Toy(model, options).tokens(prompts, params)
    assert found == [reference_tokens(model, p, params, options, attention) for p in prompts]
    assert any(MARKERS.join in answer for answer in found)


@pytest.mark.parametrize("kind", MODEL_KINDS)
@settings(max_examples=12)
@given(**CASES)
def test_engine_equals_reference(kind, seed, prompts, options, limits, width, rows):
    check_against_reference(kind, seed, prompts, options, limits, width, rows)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODEL_KINDS)
@settings(max_examples=80)
@given(**CASES)
def test_engine_equals_reference_often(kind, seed, prompts, options, limits, width, rows):
    check_against_reference(kind, seed, prompts, options, limits, width, rows)


def decode(kind, options, seed=0, n=8, **changes):
    """A recorded run: (toy, requests, logits)."""
    record = Recorder()
    toy = Toy(toy_model(kind, seed), options, on_step=record)
    return toy, toy.run(some_prompts(n, seed), greedy(**changes)), record.logits


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_decoding_equals_one_full_forward(kind, options):
    """Train = decode: logits of every drawn row, join rows among them."""
    toy, requests, logits = decode(kind, options)
    compared = joins = 0
    for request in requests:
        layout = request_layout(toy, request)
        assert layout.token_ids == [token for _, token in rows_in_order(request)]
        full = full_logits(toy.model, layout)
        rows = zip(paths_of_rows(request), layout.position_ids, strict=True)
        at = {key: i for i, key in enumerate(rows)}
        for (number, path, position), found in logits.items():
            if number == request.number:
                row = at[path, position]
                torch.testing.assert_close(found, full[row], rtol=0, atol=1e-9)
                compared += 1
                joins += layout.token_ids[row] == MARKERS.join
    assert compared == len(logits) > 100
    assert joins >= 3


def test_random_answers_hold_nested_and_repeated_blocks():
    """What the tests above stand on: such cases do occur."""
    runs = [decode(kind, LayoutOptions(), seed) for kind in MODEL_KINDS for seed in range(1)]
    requests = [request for _, found, _ in runs for request in found]
    lanes = [lane for r in requests for lane in r.lanes]
    assert sum(len(lane.path) >= 2 for lane in lanes) > 50, "no nested blocks"
    assert sum(len(lane.forks) >= 2 for lane in lanes if not lane.in_branch) > 10, "none repeated"
    assert any(len(lane.forks) >= 2 for lane in lanes if lane.in_branch), (
        "none repeated in a branch"
    )
    assert any("eos_in_branch" in r.limits for r in requests)
    assert any(r.finish_reason == "stop" for r in requests)
    widths = {len(b.lanes) for lane in lanes for b in lane.items if not isinstance(b, tuple)}
    assert widths >= {1, 2, 3, 4}


@pytest.mark.parametrize("kind", ["qwen2", "mistral"])
def test_visibility_at_decode_is_that_of_training(kind):
    """`sees` over lanes' paths = hidden intervals over rows."""
    toy, requests, _ = decode(kind, LayoutOptions(), seed=1)
    checked = 0
    for request in requests:
        layout, paths = request_layout(toy, request), paths_of_rows(request)
        for q in range(len(layout)):
            for k in range(q + 1):
                assert lane_visibility.sees(paths[q], paths[k]) == visibility.sees(layout, q, k)
                checked += 1
    assert checked > 10_000
