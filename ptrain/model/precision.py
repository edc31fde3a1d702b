"""Which precision a run computes in: the recipe's, whatever `accelerate launch` was told.

Knows neither model nor data.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import PartialState

from pbranch.console import say
from pbranch.errors import RecipeError

NAMES = {"bf16": "bfloat16", "fp16": "float16", "fp8": "float8"}  # of accelerate's precisions
LAUNCHER = "ACCELERATE_MIXED_PRECISION"  # what a launch sets, and transformers would follow


def overrule_launcher(option: str, dtype: torch.dtype) -> None:
    """Take the launcher's precision out of the environment, with a line where it is another one.

    option: `train.dtype` as the recipe has it; dtype: what it means here.
    """
    asked = os.environ.pop(LAUNCHER, "no")  # "no" is also what a launch without a choice sets
    if NAMES.get(asked, name_of(dtype)) != name_of(dtype) and PartialState().is_main_process:
        say(
            f"train.dtype={option} of the recipe holds: computing in {name_of(dtype)}, not in the "
            f"{asked} of the launcher (mixed_precision)"
        )


def computed_dtype(trainer: Any) -> str:
    """What `trainer` computes products in: where nothing is mixed, in what the base was loaded in
    (a quantised one's adapter may be stored in another type)."""
    return NAMES.get(trainer.accelerator.mixed_precision) or name_of(trainer.model.config.dtype)


def check_precision(trainer: Any, option: str, dtype: torch.dtype) -> None:
    """Raise RecipeError where a launch has brought in another precision on a way of its own."""
    found = computed_dtype(trainer)
    if found != name_of(dtype):
        raise RecipeError(
            f"train.dtype: {option} means {name_of(dtype)} here, but this launch computes in "
            f"{found}; expected both to be the same"
        )


@contextmanager
def deepspeed_errors() -> Iterator[None]:
    """A DeepSpeed file whose precision or batch is not the recipe's, as one RecipeError."""
    try:
        yield
    except ValueError as e:
        lines = str(e).splitlines()
        found = "; ".join(line[2:] for line in lines if line.startswith("- ds "))
        if "DeepSpeed config values" not in lines[0] or not found:
            raise
        raise RecipeError(
            f"the launch's DeepSpeed file differs from the recipe ({found}); expected auto there"
        ) from e


def name_of(dtype: torch.dtype) -> str:
    """`bfloat16` for torch.bfloat16."""
    return str(dtype).removeprefix("torch.")
