"""Weights that are sharded over processes: loading (ZeRO-3), and gathering (FSDP2 too).

Where every process holds a whole model, all of this does nothing. Knows no data.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch import Tensor
from torch.distributed.tensor import DTensor

from pbranch.errors import RecipeError
from ptrain.config import LoraOptions

SHARDED_WEIGHTS = ("zero3", "fsdp")


def find_sharding(cpu: bool) -> str | None:
    """`zero2`, `zero3` or `fsdp` as `accelerate launch` was told; None: nothing is sharded."""
    PartialState(cpu=cpu)  # joins the processes, which sharding needs
    if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"):
        from accelerate.utils import DeepSpeedPlugin

        return f"zero{DeepSpeedPlugin().zero_stage}"
    return "fsdp" if parse_flag_from_env("ACCELERATE_USE_FSDP") else None


def refuse_sharding(
    sharding: str | None, quantization: str | None, lora: LoraOptions | None
) -> None:
    """Raise RecipeError where what a recipe asks for needs whole weights. lora: None where all
    weights are trained."""
    if sharding not in SHARDED_WEIGHTS:
        return
    if quantization:
        raise RecipeError(
            f"quantization: {quantization} under {sharding}, which would split weights of 4 "
            "bit; expected plain processes or ZeRO-2"
        )
    if sharding == "zero3" and lora is not None and lora.reads_weights:
        raise RecipeError(
            f"lora.init: {lora.init} is computed from whole weights, which zero3 splits; "
            "expected true, gaussian or orthogonal, or ZeRO-2"
        )


@contextmanager
def sharded_loading(sharding: str | None, dtype: torch.dtype) -> Iterator[None]:
    """Under ZeRO-3, models loaded or changed within are sharded at once, each process keeping its
    part: transformers and peft ask for a DeepSpeed configuration that is alive. Only a vocabulary
    that grows stays whole until training starts."""
    if sharding != "zero3":
        yield
        return
    from accelerate.utils import DeepSpeedPlugin

    plugin = DeepSpeedPlugin()
    plugin.set_mixed_precision("bf16" if dtype == torch.bfloat16 else "no")
    plugin.set_deepspeed_weakref()
    yield
    del plugin  # alive until here


@contextmanager
def gathered(parameters: Iterable[Tensor], change: bool = False) -> Iterator[None]:
    """`parameters` of a ZeRO-3 model with all their values, in every process. With `change`, what
    the first process wrote into them is what all keep."""
    parts = [p for p in parameters if hasattr(p, "ds_id")]
    if not parts:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(parts, modifier_rank=0 if change else None):
        yield


def trained_state(model: Any) -> dict[str, Tensor]:
    """The weights that an adapter consists of, by name, whole and on the CPU: those that are
    trained, and those of LoRA that are not (MiCA). Every process must ask."""
    state = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad or ".lora_" in name:
            with gathered([parameter]):
                values = parameter.detach()
                full = values.full_tensor() if isinstance(values, DTensor) else values
                state[name] = full.cpu().clone()
    return state


def count_trained(model: Any) -> int:
    """Number of trained weights, over all processes."""
    trained = (p for p in model.parameters() if p.requires_grad)
    return sum(getattr(p, "ds_numel", p.numel()) for p in trained)
