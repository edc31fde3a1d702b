"""Memory of a run on a CPU that nobody uses: given back, or not taken. Knows no trainer's state."""

import ctypes
import os
from typing import Any

from transformers import TrainerCallback

# oneDNN keeps the code of a matrix product for every shape it has met, 1,024 in each of two caches
# and 0.7 MB each; sequences of many lengths fill both. A pass needs some 60.
KERNEL_CACHES = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"
KERNELS = 128


def limit_kernel_caches() -> None:
    """Before the first product of a process: oneDNN reads its environment once. What the user has
    set stays."""
    for name in KERNEL_CACHES:
        os.environ.setdefault(name, str(KERNELS))


class TrimHeap(TrainerCallback):
    """After every step; sequences of many lengths leave the C library's heap in pieces, which it
    keeps."""

    def __init__(self) -> None:
        self.trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        if self.trim:
            self.trim(0)
