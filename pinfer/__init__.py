"""Decodes the branches of a branch-tagged model side by side, in one sequence."""

from typing import TYPE_CHECKING, Any

from pinfer.eviction.options import KVOptions
from pinfer.params import EngineLimits, SamplingParams

if TYPE_CHECKING:
    from pinfer.engine import Engine
    from pinfer.output.generation import Generation

__all__ = ["Engine", "EngineLimits", "Generation", "KVOptions", "SamplingParams"]


def __getattr__(name: str) -> Any:
    """`Engine` and `Generation` import torch, so they are imported when they are asked for."""
    if name == "Engine":
        from pinfer.engine import Engine

        return Engine
    if name == "Generation":
        from pinfer.output.generation import Generation

        return Generation
    raise AttributeError(f"module 'pinfer' has no attribute {name!r}")
