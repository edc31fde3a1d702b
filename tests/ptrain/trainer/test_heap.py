"""Freed memory goes back to the machine after a step."""

import psutil
import pytest
import torch

from ptrain.trainer.heap import TrimHeap


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
