"""Freed memory goes back to the machine after a step; kernels of past shapes do not pile up."""

import os
import subprocess
import sys

import psutil
import pytest
import torch

from ptrain.trainer.heap import KERNEL_CACHES, TrimHeap, limit_kernel_caches

MANY_SHAPES = """
import sys, psutil, torch
from ptrain.trainer.heap import limit_kernel_caches
if sys.argv[1] == "limited":
    limit_kernel_caches()
torch.set_num_threads(1)
weight = torch.randn(96, 64, dtype=torch.bfloat16)
torch.nn.functional.linear(torch.randn(8, 64, dtype=torch.bfloat16), weight)
before = psutil.Process().memory_info().rss
for rows in range(16, 516):
    torch.nn.functional.linear(torch.randn(rows, 64, dtype=torch.bfloat16), weight)
print(psutil.Process().memory_info().rss - before)
"""


def test_freed_memory_goes_back_after_a_step():
    trim = TrimHeap()
    if not trim.trim:
        pytest.skip("this C library has no malloc_trim")
    process = psutil.Process()
    # of 64 kB, under what glibc maps by itself; every hundredth stays, so the heap is in pieces
    pieces = [torch.zeros(16_000) for _ in range(4000)]
    kept = pieces[::100]
    before = process.memory_info().rss
    del pieces
    trim.on_step_end()
    assert process.memory_info().rss < before - 150_000_000
    assert all(not piece.any() for piece in kept)


@pytest.mark.slow
def test_kernels_of_past_shapes_do_not_pile_up():
    free, limited = map(growth_over_many_shapes, ("free", "limited"))
    if free < 150_000_000:
        pytest.skip("this machine compiles no kernels for bfloat16")
    assert limited < free / 2


def growth_over_many_shapes(how: str) -> int:
    """Bytes that a process has gained after 500 products of as many shapes."""
    own = {name: value for name, value in os.environ.items() if name not in KERNEL_CACHES}
    done = subprocess.run([sys.executable, "-c", MANY_SHAPES, how], env=own, capture_output=True)
    return int(done.stdout)


def test_the_users_own_limit_stays(monkeypatch):
    first, second = KERNEL_CACHES
    monkeypatch.setenv(first, "7")
    monkeypatch.setenv(second, "")  # so that it is restored
    monkeypatch.delenv(second)
    limit_kernel_caches()
    assert os.environ[first] == "7" and int(os.environ[second]) > 60
