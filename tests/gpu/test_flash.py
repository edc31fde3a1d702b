"""The varlen backend and recorded steps on a GPU, in half precision.

Not run yet: written without a GPU at hand. Run these first on one: the kernels' contract is what
tests/pinfer/test_flash.py takes for granted.
"""

import random
from dataclasses import replace

import pytest
import torch

from pinfer.attention import dense, varlen_kernels
from pinfer.attention.backend import get_backend
from pinfer.attention.flash import Flash
from pinfer.attention.view import Part, View
from pinfer.kv_cache.arena import Arena
from pinfer.models.cuda_graphs import CudaCapture
from pinfer.sampling.sampler import Sampler
from tests.pinfer.attention.test_flash import assert_near_the_oracle, half_model
from tests.pinfer.models.test_cuda_graphs import decode
from tests.pinfer.sampling import test_sampler
from tests.support import toy_engine
from tests.support.toy_engine import SIZE, greedy

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA, HALF = torch.device("cuda"), [torch.float16, torch.bfloat16]


@pytest.fixture(params=["flash_attn_call", "torch_call"])
def call(request):
    """Each kernel that is installed."""
    try:
        return getattr(varlen_kernels, request.param)()
    except ImportError as e:
        pytest.skip(str(e))


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_each_kernel_keeps_the_contract(call, dtype):
    """First of all: gaps, a sequence without slots, and which way the log-sum-exp lies."""
    varlen_kernels.trusted("kernel", call, CUDA, dtype)


@pytest.mark.parametrize("heads, kv_heads, dim", [(32, 8, 128), (14, 2, 64), (4, 4, 8)])
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_random_views_are_one_softmax(call, dtype, heads, kv_heads, dim):
    """Runs in gaps, overlapping, long ones in chunks, from one row to 200."""
    flash = Flash(varlen_kernels.trusted("kernel", call, CUDA, dtype), chunk=128)
    for seed in range(8):
        rng, g = random.Random(seed), torch.Generator().manual_seed(seed)
        count = rng.choice([1, 2, 8, 40, 200])
        parts = [Part(torch.arange(count), 1999, 1)]
        for _ in range(6):
            start = rng.randrange(1999)
            readers = torch.tensor(sorted(rng.sample(range(count), rng.randint(1, count))))
            parts.append(Part(readers, start, rng.randint(1, 1999 - start)))
        stored = torch.randn(2, 2304, kv_heads, dim, generator=g).to(CUDA, dtype)
        view = a_pass(count, parts, stored)
        query = torch.randn(count, heads, dim, generator=g).to(CUDA, dtype)
        found = flash(query, view, 0, scale=dim**-0.5, softcap=None)
        exact = a_pass(count, parts, stored.float())
        expected = dense.attend(query.float(), exact, 0, scale=dim**-0.5, softcap=None)
        torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.02)


def a_pass(count, parts, stored):
    """The view of `count` rows over given keys and values."""
    arena = Arena(1, CUDA, slots=stored.shape[1])
    arena.keys[0], arena.values[0] = stored
    slots = torch.arange(2000, 2000 + count, device=CUDA)
    parts = [replace(p, rows=p.rows.to(CUDA)) for p in parts]
    return View(arena, slots, torch.full((count,), 2000), parts, [], dense.attend)


def test_auto_takes_it():
    assert isinstance(get_backend("auto", CUDA, torch.bfloat16), Flash)


@pytest.mark.parametrize("kind", ["qwen3", "llama", "mistral"])
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_answers_stay_near_the_oracle(kind, dtype, monkeypatch):
    flash = get_backend("flash", CUDA, dtype)
    monkeypatch.setattr(toy_engine, "get_backend", lambda name: flash)
    assert_near_the_oracle(half_model(kind, dtype).to(CUDA), [[1, 2, 3], [4], [5] * 9], near=0.05)


@pytest.mark.parametrize("kind", ["qwen3", "qwen2", "llama"])
def test_graphs_give_the_logits_of_eager_steps(kind, monkeypatch):
    """Whole answers; a product of other row counts may round otherwise."""
    model = half_model(kind).to(CUDA)
    flash = get_backend("flash", CUDA, torch.bfloat16)
    prompts = [[1, 2, 3], [4], [5] * 9]
    _, runner = decode(
        monkeypatch, model, prompts, greedy(), backend=flash, make_capture=CudaCapture, near=0.1
    )
    assert runner.replayed > runner.passes / 3 and len(runner.captured) < runner.replayed / 2


def test_drawing_waits_for_the_device_once():
    """As `torch.cuda.set_sync_debug_mode` counts it."""
    sites = test_sampler.sites_at(range(8))
    sampler = Sampler(test_sampler.SAMPLER.legal.to(CUDA))
    logits = torch.randn(8, SIZE, device=CUDA)
    sampler(logits, sites)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="synchronizing") as waits:
            sampler(logits, sites)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len([w for w in waits if "synchronizing" in str(w.message)]) == 1
