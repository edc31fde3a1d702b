"""What a recipe leaves open, filled in from the base and the machine: precision, learning rate."""

from dataclasses import replace
from typing import Any

import torch

from ptrain.config import Recipe
from ptrain.model.precision import name_of

# rates of Thinking Machines' LoRA study ("LoRA without regret", 2025): they fall with the width
LORA_LR, WIDTH, POWER = 5e-4, 2000, 0.775
FULL_SHARE = 0.1  # of LoRA's rate, where all weights are trained


def fill_in(recipe: Recipe, config: Any, device: str) -> Recipe:
    """The recipe with a learning rate and a precision. config: the base's; device: where it is
    trained, cpu or auto."""
    train = recipe.train
    dtype = choose_dtype(train.dtype, device, config)
    lr = train.lr or choose_lr(config, recipe.tuning)
    filled = replace(train, lr=lr, dtype=name_of(dtype))  # type: ignore[arg-type]
    return replace(recipe, train=filled)


def choose_lr(config: Any, tuning: str) -> float:
    """The rate for a base of this width, to two digits: 3.1e-3 at 192, 5e-4 at 2,000."""
    width = config.get_text_config().hidden_size
    rate = LORA_LR * (WIDTH / width) ** POWER
    return float(f"{rate if tuning == 'lora' else FULL_SHARE * rate:.1e}")


def choose_dtype(name: str, device: str, config: Any) -> torch.dtype:
    """`auto`: bfloat16 on a GPU that has it; on a CPU that computes in it where the base is stored
    in 16 bit, so that nothing is lost of its weights; else float32."""
    if name != "auto":
        return getattr(torch, name)
    if device != "cpu" and torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    stored = getattr(config.get_text_config(), "dtype", None) or getattr(config, "dtype", None)
    short = stored in (torch.bfloat16, torch.float16)
    return torch.bfloat16 if short and torch.cpu._is_avx512_bf16_supported() else torch.float32
