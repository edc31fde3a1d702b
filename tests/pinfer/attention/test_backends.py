"""Attention over parts equals one softmax: splits, soft caps, windows, and the views of a pass."""

import random
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pbranch.errors import ModelError, RequestError
from pinfer.attention import dense, lse_merge, sdpa
from pinfer.attention.backend import get_backend
from pinfer.attention.lse_merge import attend_run, plan_merge
from pinfer.attention.transformers_hook import view_attention
from pinfer.attention.view import Group, Part, View
from pinfer.kv_cache.arena import Arena

torch.set_num_threads(1)
CPU = torch.device("cpu")
SHAPES = st.tuples(st.sampled_from([(4, 2), (4, 4), (3, 1)]), st.sampled_from([4, 8]))


def naive(query, keys, values, scale, softcap, mask):
    """One softmax a row and head, written out."""
    rows, heads, _ = query.shape
    out = torch.zeros(rows, heads, values.shape[2], dtype=query.dtype)
    for r in range(rows):
        for h in range(heads):
            kv = h * keys.shape[1] // heads
            scores = keys[:, kv] @ query[r, h] * scale
            if softcap is not None:
                scores = softcap * torch.tanh(scores / softcap)
            weights = scores[mask[r]].softmax(0)
            out[r, h] = weights @ values[mask[r], kv]
    return out


def heads_first(x):
    """(n, Hk, D) as attend_run takes it."""
    return x.transpose(0, 1)


def merge(pieces, rows):
    """Pieces are (row indices, result, log-sum-exp) of runs."""
    index, results, sums = zip(*pieces, strict=True)
    return plan_merge(index, rows)(results, sums)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    shape=SHAPES,
    rows=st.integers(1, 5),
    n=st.integers(1, 24),
    softcap=st.none() | st.sampled_from([1.0, 30.0]),
)
def test_merged_runs_are_one_softmax(seed, shape, rows, n, softcap):
    """Keys cut anywhere, each run masked at random, some runs seen by some rows only."""
    (heads, kv_heads), dim = shape
    g, rng = torch.Generator().manual_seed(seed), random.Random(seed)

    def draw(*size):
        return torch.randn(*size, generator=g, dtype=torch.float64) * 3

    query, keys, values = draw(rows, heads, dim), draw(n, kv_heads, dim), draw(n, kv_heads, dim)
    mask = torch.rand(rows, n, generator=g) < 0.6
    mask[torch.arange(rows), torch.randint(n, (rows,), generator=g)] = True
    cuts = sorted({0, n, *(rng.randrange(n) for _ in range(3))})
    pieces = []
    for a, b in pairwise(cuts):
        index = mask[:, a:b].any(1).nonzero().flatten()
        if rng.random() < 0.3:
            index = torch.arange(rows)  # a row that sees nothing of a run adds nothing
        seen = mask[index, a:b]
        if len(index):
            part = None if bool(seen.all()) else seen
            found = attend_run(
                query[index], heads_first(keys[a:b]), heads_first(values[a:b]), 0.3, softcap, part
            )
            pieces.append((index, *found))
    rng.shuffle(pieces)
    merged = merge(pieces, rows)
    expected = naive(query, keys, values, 0.3, softcap, mask)
    torch.testing.assert_close(merged, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_scores_are_summed_in_float32(dtype):
    g = torch.Generator().manual_seed(0)
    query, keys, values = (torch.randn(n, 2, 8, generator=g).to(dtype) for n in (3, 300, 300))
    pieces = [
        (torch.arange(3), *attend_run(query, heads_first(keys[a:b]), heads_first(values[a:b]), 1.0))
        for a, b in [(0, 7), (7, 250), (250, 300)]
    ]
    assert pieces[0][2].dtype == torch.float32
    merged = merge(pieces, 3)
    assert merged.dtype == dtype
    everything = torch.ones(3, 300, dtype=torch.bool)
    expected = naive(query.double(), keys.double(), values.double(), 1.0, None, everything)
    torch.testing.assert_close(merged.double(), expected, rtol=0, atol=0.03)


def both_ways(query, view):
    """What `sdpa` answers: in pieces, and under one mask."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sdpa, "SINGLE_CALL_BELOW_BYTES", 0)
        pieces = sdpa.attend(query, view, 0, scale=0.5, softcap=None)
    view._derived.clear()
    assert view.derived(sdpa.find_small_pass) is not None
    return pieces, sdpa.attend(query, view, 0, scale=0.5, softcap=None)


def a_view(positions, parts, groups=(), held=40):
    """A view over an arena whose slots lie at positions 0, 1, …; rows are the newest slots."""
    arena = Arena(1, CPU, slots=64)
    number = arena.open(64)
    arena.append(number, list(range(held)))
    slots = arena.append(number, positions)
    g = torch.Generator().manual_seed(1)
    data = [torch.randn(64, 2, 4, generator=g, dtype=torch.float64) for _ in range(2)]
    arena.write(0, torch.arange(64), *data)
    slots, positions = torch.tensor(list(slots)), torch.tensor(positions)
    return View(arena, slots, positions, list(parts), list(groups), sdpa.attend)


def test_visible_slots_spell_parts_and_groups():
    mask = torch.tensor([[True, False], [True, True]])
    parts = [
        Part(torch.tensor([0, 2]), 3, 2),
        Part(torch.tensor([1]), 10, 3, torch.tensor([[True, False, True]])),
    ]
    view = a_view([40, 41, 42], parts, [Group(1, 2, mask)])
    seen = [row.nonzero().flatten().tolist() for row in dense.visible_slots(view)]
    assert seen == [[3, 4], [10, 12, 41], [3, 4, 41, 42]]


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), window=st.integers(1, 50))
def test_a_window_cuts_a_view_by_position(seed, window):
    """Rows, slots and joined branches whose positions overlap: exactly q - k < window remains."""
    rng = random.Random(seed)
    rows = sorted(rng.randint(40, 60) for _ in range(4))
    parts = []
    for _ in range(3):
        readers = torch.tensor(sorted(rng.sample(range(4), rng.randint(1, 4))))
        start = rng.randrange(30)
        parts.append(Part(readers, start, rng.randint(1, 40 - start)))
    view = a_view(rows, parts, [Group(0, 4, torch.ones(4, 4).tril().bool())])
    view.arena.positions[:40] = torch.tensor([rng.randrange(45) for _ in range(40)])
    narrow = view.within(window)
    near = view.positions[:, None] - view.arena.positions[None] < window
    expected = dense.visible_slots(view) & near
    assert torch.equal(dense.visible_slots(narrow), expected)
    assert view.within(window) is narrow and view.within(None) is view
    query = torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    parts_overlap = any(
        set(a.rows.tolist()) & set(b.rows.tolist())
        and a.start < b.start + b.length
        and b.start < a.start + a.length
        for i, a in enumerate(parts)
        for b in parts[:i]
    )
    if not parts_overlap:  # a run seen twice counts twice by parts, once in a mask
        expected = dense.attend(query, narrow, 0, 0.5, None)
        for found in both_ways(query, narrow):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), long=st.integers(1, 40), most=st.integers(1, 100))
def test_runs_of_one_row_are_bundled(seed, long, most):
    """Short runs of one reader share calls, whatever their lengths; the others keep their own. No
    bundle copies more than `most` slots."""
    rng = random.Random(seed)
    cuts = sorted({0, 40, *(rng.randrange(40) for _ in range(8))})
    parts = [
        Part(torch.tensor(sorted(rng.sample(range(6), rng.choice([1, 1, 1, 3])))), a, b - a)
        for a, b in pairwise(cuts)
    ]
    parts.append(Part(torch.arange(6), 40, 1))  # so that every row sees something
    view = a_view([40] * 6, parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sdpa, "COPY_BELOW_BYTES", long * 128)  # 2 heads of 4 float64, keys and values
        patch.setattr(sdpa, "BUNDLE_BELOW_BYTES", most * 128)
        rest, bundles = view.derived(sdpa.bundle_short_parts)
        query = torch.randn(6, 4, 4, generator=torch.Generator().manual_seed(seed)).double()
        found = both_ways(query, view)
    assert len(rest) + sum(len(b.rows) for b in bundles) == len(parts)
    inside = [b.bias[:, 0, 0] == 0 for b in bundles]
    assert all(len(mask) > 1 and mask.any(1).all() for mask in inside)
    assert all(mask.sum(1).max() <= long and mask.numel() <= most for mask in inside)
    expected = dense.attend(query, view, 0, scale=0.5, softcap=None)
    for answer in found:
        torch.testing.assert_close(answer, expected, rtol=0, atol=1e-12)


def test_one_call_serves_many_short_runs(monkeypatch):
    """Eight branches behind a shared beginning: two calls, not nine. And one where all is small."""
    calls, small = [], []
    one = sdpa.scaled_dot_product_attention
    monkeypatch.setattr(
        sdpa, "scaled_dot_product_attention", lambda *a, **k: small.append(a) or one(*a, **k)
    )
    kernel = lse_merge.FUSED
    monkeypatch.setattr(lse_merge, "FUSED", lambda *a, **k: calls.append(a) or kernel(*a, **k))
    own = [Part(torch.tensor([i]), 8 + 4 * i, 4) for i in range(8)]
    view = a_view([40] * 8, [Part(torch.arange(8), 0, 8), *own], held=40)
    both_ways(torch.randn(8, 4, 4).double(), view)
    assert len(calls) == 2 and len(small) == 1


def call(**extra):
    view = a_view([40], [Part(torch.tensor([0]), 0, 41)])
    module = type("Attention", (torch.nn.Module,), {})()
    module.layer_idx = 0
    query, key = torch.ones(1, 4, 1, 4).double(), torch.ones(1, 2, 1, 4).double()
    keywords = {"branch_view": view, "attention_mask": None, **extra}
    return view_attention(module, query, key, key, **keywords)


def test_harmless_arguments_pass():
    out, weights = call(dropout=0.0, is_causal=True, output_router_logits=False, strange=None)
    assert out.shape == (1, 1, 4, 4) and weights is None


@pytest.mark.parametrize(
    "extra, message",
    [
        ({"s_aux": torch.ones(4)}, r"Attention needs attention sinks \(s_aux\), which is not"),
        ({"position_bias": 0}, "needs position_bias, which is not"),
        ({"attention_mask": torch.ones(1, 1)}, "needs a mask of the model's own"),
        ({"branch_view": None}, "gets no view"),
    ],
    ids=str,
)
def test_unknown_arguments_are_refused(extra, message):
    with pytest.raises(ModelError, match=message):
        call(**extra)


def test_backends_are_had_by_name_or_not_at_all():
    assert get_backend("sdpa") is get_backend("auto") is sdpa.attend
    assert get_backend("dense") is dense.attend
    with pytest.raises(RequestError, match=r"'flsh': expected auto, flash, sdpa or dense"):
        get_backend("flsh")
