"""Gives the machine back what a run on a CPU has freed. Knows no trainer's state."""

import ctypes
from typing import Any

from transformers import TrainerCallback


class TrimHeap(TrainerCallback):
    """After every step; sequences of many lengths leave the C library's heap in pieces, which it
    keeps. SmolLM2 held 3 GB after five steps, and 6 GB after fifty, for what takes 3."""

    def __init__(self) -> None:
        self.trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        if self.trim:
            self.trim(0)
