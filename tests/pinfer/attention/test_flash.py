"""The varlen backend: its plans obey the kernel's contract, and give what one softmax gives.

A stand-in computes; it checks every call. The kernels themselves are for tests/gpu.
"""

import copy
import functools
import random
import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pbranch.errors import RequestError
from pbranch.format.layout import LayoutOptions
from pinfer.attention import dense, sdpa, varlen_kernels
from pinfer.attention.backend import get_backend
from pinfer.attention.flash import FEW, Flash, Planner, Run, chunks, cut, find_merge, room
from pinfer.attention.lse_merge import plan_merge
from pinfer.attention.varlen_kernels import Kernel, Sequences, find_kernel, trusted
from pinfer.attention.view import Part
from pinfer.execution.pass_plan import plan_pass
from pinfer.kv_cache.arena import Arena
from pinfer.kv_cache.lanes import LaneCache
from pinfer.model_spec import ModelSpec
from pinfer.params import EngineLimits, SamplingParams
from pinfer.scheduling.scheduler import Scheduler
from tests.conftest import MODEL_KINDS, build_model
from tests.pinfer.attention.test_backends import a_view
from tests.support import toy_engine
from tests.support.fake_varlen_kernel import fake_flash, fake_flash_attn, fake_varlen_attn
from tests.support.forced_decode import Drawer
from tests.support.toy_engine import (
    END_OF_TEXT,
    LEAN,
    MARKERS,
    SIZE,
    LetterTokenizer,
    Recorder,
    Toy,
    full_logits,
    greedy,
    paths_of_rows,
    reference_tokens,
    request_layout,
    toy_model,
)

torch.set_num_threads(1)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def views(rng, limits, params, prompts, outline="all", join="keep"):
    """The views of all passes of some requests whose tokens are drawn at random; keys and values
    are random."""
    spec = ModelSpec(
        MARKERS, frozenset({END_OF_TEXT}), 2048, LayoutOptions(outline=outline, join=join)
    )
    cache = LaneCache(Arena(1, CPU, slots=64))
    scheduler = Scheduler(spec, limits, cache)
    choose, g = Drawer(rng.randrange(10**6)), torch.Generator().manual_seed(rng.randrange(10**6))
    for prompt in prompts:
        scheduler.add(prompt, params)
    while scheduler.busy:
        batch = scheduler.schedule()
        if batch.tokens:
            view = plan_pass(batch.tokens, cache.append(batch.tokens), cache, dense.attend)
            data = torch.randn(2, len(batch.tokens), 2, 8, generator=g, dtype=torch.float64)
            cache.arena.write(0, view.slots, *data)
            yield view
            cache.finish_pass(batch.tokens)
        scheduler.commit(batch, [choose(site) for site in batch.sites])
        scheduler.take_finished()


def assert_is_dense(flash, view, softcap=None, seed=0):
    query = torch.randn(
        len(view.slots), 4, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    found = flash(query, view, 0, scale=0.4, softcap=softcap)
    expected = dense.attend(query, view, 0, scale=0.4, softcap=softcap)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@settings(max_examples=6)
@given(
    seed=st.integers(0, 10**6),
    chunk=st.sampled_from([1, 4, 16, 1024]),
    max_rows=st.sampled_from([1, 3, 7, 512]),
    outline=st.sampled_from(["all", "own"]),
    join=st.sampled_from(["keep", "reencode"]),
    window=st.none() | st.integers(1, 60),
)
def test_every_pass_of_any_schedule_is_one_softmax(seed, chunk, max_rows, outline, join, window):
    """Nested and repeated forks, wide blocks, several requests, two of which begin alike while the
    first is still decoded, prompts in pieces, windows."""
    rng = random.Random(seed)
    begin = [rng.randrange(16) for _ in range(40)]
    prompts = [[*begin, 1, 2], [*begin, 3], [rng.randrange(16) for _ in range(rng.randint(1, 9))]]
    params = SamplingParams(max_new_tokens=30, max_topics=6, max_topic_tokens=2)
    with pytest.MonkeyPatch.context() as patch:
        flash, counted = fake_flash(patch, chunk)
        for number, view in enumerate(
            views(rng, EngineLimits(max_rows=max_rows), params, prompts, outline, join)
        ):
            counted.sequences.clear()
            assert_is_dense(flash, view.within(window), seed=number)
            assert len(counted.sequences) <= 1, "one call a layer"
            if window is None and not view.groups:
                assert len(counted.sequences) == 1
            if number % 9 == 0:
                assert_is_dense(flash, view.within(window), softcap=2.0, seed=number)


@settings(max_examples=80)
@given(seed=st.integers(0, 10**6), chunk=st.integers(1, 50))
def test_parts_that_overlap_are_cut_into_runs_that_do_not(seed, chunk):
    """Parts of any rows, over any slots; a slot that two parts show to a row counts once, as in a
    mask."""
    rng = random.Random(seed)
    parts = [Part(torch.arange(6), 39, 1)]  # so that every row sees something
    for _ in range(rng.randint(1, 8)):
        start = rng.randrange(39)
        readers = torch.tensor(sorted(rng.sample(range(6), rng.randint(1, 6))))
        parts.append(Part(readers, start, rng.randint(1, 40 - start)))
    view = a_view([40] * 6, parts)
    runs = cut(parts)
    seen = dense.visible_slots(view)
    for run in runs:
        rows = torch.zeros(6, dtype=torch.bool)
        rows[run.rows] = True
        slots = seen[:, run.start : run.start + run.length]
        assert torch.equal(slots, rows[:, None].expand_as(slots))
        seen[:, run.start : run.start + run.length] = False
    assert not seen.any(), "slots of no run"
    with pytest.MonkeyPatch.context() as patch:
        flash, counted = fake_flash(patch, chunk)
        query = torch.randn(6, 4, 4, generator=torch.Generator().manual_seed(seed)).double()
        with pytest.raises(RequestError, match=r"heads of 4, expected a multiple of 8"):
            flash(query, view, 0, 0.5, None)
        wide = torch.nn.functional.pad(query, (0, 4))
        for pool in (view.arena.keys, view.arena.values):
            pool[0] = torch.nn.functional.pad(pool[0], (0, 4))
        found = flash(wide, view, 0, 0.5, None)
    torch.testing.assert_close(found, dense.attend(wide, view, 0, 0.5, None), rtol=0, atol=1e-12)
    (sequences,) = counted.sequences
    assert sequences.used.max() <= chunk


def test_eight_branches_behind_a_prefix_are_one_call_of_chunks():
    """2500 slots that all see, and 20 of each: the prefix is read once, in pieces."""
    own = [Part(torch.tensor([i]), 2600 + 64 * i, 20) for i in range(8)]
    view = a_view([40] * 8, [*reversed(own), Part(torch.arange(8), 0, 2500)])
    plan = Planner(groups=4).plan(view)
    assert plan.sequences.k.tolist() == [0, 1024, 2048, *(2600 + 64 * i for i in range(8)), 3068]
    assert plan.sequences.used.tolist() == [1024, 1024, 452, *[20] * 8]
    assert plan.sequences.q.tolist() == [0, 32, 64, *range(96, 129, 4)]
    assert plan.sequences.max_q == 32 and plan.sequences.max_k == 1024
    assert plan.rows.tolist() == [*range(8)] * 4
    assert plan.merge.index.shape == (8, 4) and not (plan.masked or plan.groups)


@given(rows=st.lists(st.integers(0, 4), max_size=12), cut=st.integers(0, 12))
def test_a_merge_found_at_once_is_that_of_the_loop(rows, cut):
    """Pieces of any rows, one of them maybe empty."""
    rows = [*rows[:cut], *range(5), *rows[cut:]]  # each row stands in one at least
    pieces = [np.array(rows[:cut], dtype=np.int64), np.array(rows[cut:], dtype=np.int64)]
    found, expected = find_merge(pieces, 5), plan_merge([torch.from_numpy(p) for p in pieces], 5)
    assert found.index.equal(expected.index) and found.bias.equal(expected.bias)


def test_runs_of_many_rows_are_not_cut():
    many, few = Run(0, 5000, list(range(FEW + 1))), Run(0, 5000, list(range(FEW)))
    assert chunks(many, 1024) == [many]
    assert [(c.start, c.length) for c in chunks(few, 2048)] == [
        (0, 2048),
        (2048, 2048),
        (4096, 904),
    ]
    assert [room(n) for n in (1, 2, 3, 1024, 1025)] == [1, 2, 4, 1024, 2048]


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_greedy_tokens_are_the_reference_s(kind, monkeypatch):
    """Prompts fed in pieces, requests together; windows of mistral and gemma3."""
    model, rng = toy_model(kind, 21), random.Random(3)
    flash, counted = fake_flash(monkeypatch)
    monkeypatch.setattr(toy_engine, "get_backend", lambda name: flash)
    prompts = [[rng.randrange(16) for _ in range(rng.randint(1, 12))] for _ in range(3)]
    found = Toy(model, limits=EngineLimits(max_rows=7), backend="flash").tokens(prompts, greedy())
    assert counted.sequences, "the kernel was never called"
    for prompt, tokens in zip(prompts, found, strict=True):
        assert tokens == reference_tokens(model, prompt, greedy())
    assert any(MARKERS.join in tokens for tokens in found)


def half_model(kind, dtype=torch.bfloat16, seed=8):
    """A model in half precision that forks all the time; weights drawn as narrow as real ones."""
    model = build_model(kind, LetterTokenizer(), seed=seed, std=0.1, vocab_size=SIZE)
    bias = torch.zeros(SIZE)
    for token, value in LEAN.items():
        bias[token] = value
    model.lm_head.bias = torch.nn.Parameter(bias)
    return model.to(dtype)


def assert_near_the_oracle(model, prompts, near):
    """Decode, then compute each answer's text at once, in float64 under an explicit mask: where a
    token was drawn the logits differ by little, so a token can differ only where two nearly tie."""
    recorder = Recorder()
    toy = Toy(model, on_step=recorder, backend="flash")
    exact = copy.deepcopy(model).cpu().double()
    for request in toy.run(prompts, greedy()):
        layout = request_layout(toy, request)
        expected = full_logits(exact, layout)
        rows = zip(paths_of_rows(request), layout.position_ids, expected, strict=True)
        drawn = 0
        for path, position, row in rows:
            found = recorder.logits.get((request.number, path, position))
            if found is not None:
                drawn += 1
                assert (found.cpu().double() - row).abs().max() < near * row.abs().max()
        assert drawn == request.trunk.budget.used


@pytest.mark.parametrize("kind", ["qwen3", "mistral"])
def test_half_precision_stays_near_the_oracle(kind, monkeypatch):
    model = half_model(kind)
    flash, counted = fake_flash(monkeypatch, dtypes=(torch.bfloat16,))
    monkeypatch.setattr(toy_engine, "get_backend", lambda name: flash)
    assert_near_the_oracle(model, [[1, 2, 3], [4]], near=0.05)
    assert counted.sequences


def test_hidden_outlines_and_soft_caps(monkeypatch):
    options = LayoutOptions(outline="own")
    for kind in ("qwen3", "gemma2"):
        model = toy_model(kind, 5)
        flash, _ = fake_flash(monkeypatch)
        monkeypatch.setattr(toy_engine, "get_backend", lambda name, flash=flash: flash)
        (found,) = Toy(model, options, backend="flash").tokens([[1, 2, 3]], greedy())
        # only eager attention caps; it rounds to float32, and no draw is that close
        attention = "eager" if kind == "gemma2" else "sdpa"
        assert found == reference_tokens(model, [1, 2, 3], greedy(), options, attention)


@pytest.mark.parametrize("heads_first", [True, False])
@pytest.mark.parametrize("dtype", HALF := [torch.float16, torch.bfloat16])
def test_a_kernel_is_tried_before_it_is_trusted(heads_first, dtype, monkeypatch):
    """Whichever way its log-sum-exp lies, and however it says that a sequence has no slots."""
    fake = functools.partial(fake_varlen_attn, heads_first=heads_first)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", fake)
    kernel = trusted("fake", varlen_kernels.torch_call(), CPU, dtype)
    assert kernel.heads_first is heads_first
    view = a_view([40] * 4, [Part(torch.arange(4), 3, 20)])
    keys = torch.randn(64, 4, 8).to(dtype)  # as many rows as heads: the shape cannot tell
    s = Sequences(
        *(torch.tensor(x, dtype=torch.int32) for x in ([0, 3, 4], [2, 9, 9], [5, 0])), 4, 8
    )
    out, lse = kernel(keys[:4], keys, keys, s, 0.5)
    scores = torch.einsum("rhd,shd->rhs", keys[:3], keys[2:7]).double() * 0.5
    torch.testing.assert_close(lse[:3].double(), scores.logsumexp(-1), rtol=0.02, atol=0.02)
    assert (lse[3] == float("-inf")).all() and not out[3].any()
    assert view.slots.device == CPU


def broken(change):
    """torch's kernel with a fault."""

    def call(query, keys, values, s, scale):
        aux = type("Aux", (), {"lse": True})
        out, lse = fake_varlen_attn(
            query, keys, values, s.q, s.k, s.max_q, s.max_k,
            return_aux=aux, scale=scale, seqused_k=s.used, num_splits=1,
        )  # fmt: skip
        return change(out, lse)

    return call


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda out, lse: (out.roll(1, 0), lse), "computes an example of 17 slots wrongly"),
        (lambda out, lse: (out, lse + 1), "computes an example of 17 slots wrongly"),
        (lambda out, lse: (out, lse.nan_to_num(posinf=0.0)), "an example of 0 slots wrongly"),
        (lambda out, lse: (out, lse[None]), r"shape \(1, 2, 6\), expected \(2, 6\)"),
        (lambda out, lse: (out, lse.t().reshape(2, 6)), "computes an example of"),
    ],
    ids=["rows", "sums", "empty", "padded", "orientation"],
)
def test_a_kernel_that_computes_wrongly_is_not_used(change, message):
    with pytest.raises(RequestError, match=message):
        trusted("fake", broken(change), CPU, torch.bfloat16)


def test_a_log_sum_exp_of_another_shape_is_refused():
    kernel = Kernel("fake", lambda q, *_: (q, torch.zeros(2, 5)), heads_first=True)
    with pytest.raises(RequestError, match=r"fake gives .* shape \(2, 5\) for 4 rows of 2 heads"):
        kernel(torch.zeros(4, 2, 8), *[None] * 4)


def test_flash_attn_comes_first_and_is_called_as_it_documents(monkeypatch):
    """Its operator takes what its public function does not."""
    module = types.ModuleType("flash_attn_interface")
    module.flash_attn_varlen_func = lambda q, k, v, cu_seqlens_q, cu_seqlens_k: None
    module._flash_attn_varlen_forward = fake_flash_attn
    package = types.ModuleType("flash_attn")
    package.flash_attn_interface = module
    monkeypatch.setitem(sys.modules, "flash_attn", package)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", None)
    kernel = trusted("flash-attn", varlen_kernels.flash_attn_call(), CPU, torch.bfloat16)
    assert kernel.heads_first

    def public(q, k, v, *, seqused_k, return_attn_probs, num_splits, dropout_p=0.0, **rest):
        assert return_attn_probs and num_splits == 1
        found = fake_flash_attn(q=q, k=k, v=v, seqused_k=seqused_k, dropout_p=dropout_p, **rest)
        return found[:3]

    module.flash_attn_varlen_func = public
    assert trusted("flash-attn", varlen_kernels.flash_attn_call(), CPU, torch.bfloat16).heads_first


def test_without_a_kernel_flash_is_refused_and_auto_takes_sdpa(monkeypatch, caplog):
    with pytest.raises(RequestError, match="'flash': needs a CUDA device, found cpu; use sdpa"):
        get_backend("flash")
    for dtype in (torch.float32, torch.float64):
        name = str(dtype).removeprefix("torch.")
        with pytest.raises(RequestError, match=f"the model is {name}; use sdpa"):
            get_backend("flash", CUDA, dtype)
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    monkeypatch.setattr(varlen_kernels, "torch_call", lambda: fails())
    with pytest.raises(
        RequestError, match=r"no usable kernel \(flash-attn: .*; torch .*: no image"
    ):
        find_kernel(CUDA, torch.bfloat16)
    with caplog.at_level("INFO", "pinfer"):
        assert get_backend("auto", CUDA, torch.bfloat16) is sdpa.attend
    assert "auto chose sdpa (attention 'flash': no usable kernel" in caplog.text


def fails():
    raise RuntimeError("no image for this device\nand a trace")


def test_auto_takes_flash_where_it_can_be_had(monkeypatch, caplog):
    kernel = Kernel("fake", lambda *_: None, True)
    monkeypatch.setattr(varlen_kernels, "trusted", lambda *_: kernel)
    with caplog.at_level("INFO", "pinfer"):
        found = get_backend("auto", CUDA, torch.bfloat16)
    assert found == Flash(kernel) == get_backend("flash", CUDA, torch.float16)
    assert (
        "flash computes with torch varlen_attn" in caplog.text and "auto chose flash" in caplog.text
    )
