"""Choices of LoRA in peft's words, checked by name; adapters put back onto the original base.

Knows peft's LoraConfig and an adapter's folder; loads no model.
"""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from pbranch.errors import RecipeError, did_you_mean, first_line
from ptrain.config import LoraOptions

# peft's names of what other keys of a recipe set, and those that are for it alone
OURS = {
    "r": "lora.r", "lora_alpha": "lora.alpha", "lora_dropout": "lora.dropout",
    "target_modules": "lora.target_modules", "use_rslora": "lora.use_rslora",
    "use_dora": "lora.use_dora", "init_lora_weights": "lora.init", "trainable_token_indices": "",
    "task_type": "", "peft_type": "", "peft_version": "", "auto_mapping": "", "revision": "",
    "inference_mode": "", "base_model_name_or_path": "", "runtime_config": "",
}  # fmt: skip
# peft's fields of which an adapter is trained, resumed and merged, and what may stand in them
Check = Callable[[Any], bool]
OPTIONS: dict[str, tuple[Check, str]] = {
    "exclude_modules": (lambda v: isinstance(v, str) or _is_names(v), "names or a pattern"),
    "modules_to_save": (lambda v: _is_names(v), "a list of names"),
    "layers_to_transform": (
        lambda v: _is_count(v) or (isinstance(v, list) and all(map(_is_count, v))),
        "numbers of layers",
    ),
    "layers_pattern": (lambda v: isinstance(v, str) or _is_names(v), "names"),
    "rank_pattern": (
        lambda v: isinstance(v, dict) and all(_is_count(r) and r > 0 for r in v.values()),
        "a rank of 1 or more by pattern",
    ),
    "alpha_pattern": (
        lambda v: isinstance(v, dict) and all(_is_number(a) and a > 0 for a in v.values()),
        "a number above 0 by pattern",
    ),
    "bias": (lambda v: v in ("none", "all", "lora_only"), "none, all or lora_only"),
    "lora_bias": (lambda v: isinstance(v, bool), "true or false"),
    "target_parameters": (lambda v: _is_names(v), "a list of names"),
}
INITS = ("true", "false", "gaussian", "orthogonal", "mica", "olora", "pissa", "pissa_niter_4")
WEIGHTS = "adapter_model.safetensors"


def lora_config(options: LoraOptions, rows: dict[str, list[int]]) -> LoraConfig:
    """peft's configuration; `rows`: the vocabulary rows to train, by module name.

    Raises RecipeError on an option that peft does not know or refuses, or that another key sets.
    """
    _check_init(options.init)
    for name, value in options.options.items():
        _check_option(name, value)
    try:
        return LoraConfig(
            task_type="CAUSAL_LM",
            r=options.r,
            lora_alpha=options.alpha,  # type: ignore[arg-type]  # any number will do
            lora_dropout=options.dropout,
            target_modules=options.target_modules,
            use_rslora=options.use_rslora,
            use_dora=options.use_dora,
            init_lora_weights=options.init,  # type: ignore[arg-type]
            trainable_token_indices=rows,
            **options.options,
        )
    except REFUSALS as e:
        raise refusal(e) from e


# what peft raises about options, early and late
REFUSALS = (
    ValueError, TypeError, RuntimeError, AttributeError, LookupError, NotImplementedError,
    ImportError,
)  # fmt: skip


def refusal(error: Exception) -> RecipeError:
    """What peft says about its options, in a line that names the recipe's key."""
    said = first_line(error)
    keys = OURS | {name: f"lora.options.{name}" for name in OPTIONS}
    words = (keys.get(word) for word in re.findall(r"\w+", said))
    return RecipeError(f"{next(filter(None, words), 'lora')}: {said}")


def _check_option(name: str, value: Any) -> None:
    if OURS.get(name):
        raise RecipeError(f"lora.options.{name}: another key sets this; use {OURS[name]}")
    if name not in OPTIONS:
        known = name in {f.name for f in dataclasses.fields(LoraConfig)} - OURS.keys()
        hint = did_you_mean(name, list(OPTIONS), "lora.options.")
        keys = f"; keys: {', '.join(OPTIONS)}"
        if known:
            raise RecipeError(f"lora.options.{name}: peft has this, ptrain does not{keys}")
        raise RecipeError(f"unknown key lora.options.{name}{hint or keys}")
    allows, expected = OPTIONS[name]
    if not allows(value):
        raise RecipeError(f"lora.options.{name}: found {value!r}, expected {expected}")


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_init(name: bool | str) -> None:
    if isinstance(name, bool) or name in INITS or re.fullmatch(r"pissa_niter_\d+", name):
        return
    hint = did_you_mean(name, INITS)
    # peft's eva, corda, lora_ga and loftq need passes over data or a quantiser of their own
    raise RecipeError(f"lora.init: found {name}, expected one of {', '.join(INITS)}{hint}")


def copy_initial_weights(model: Any, options: LoraOptions) -> dict[str, Tensor]:
    """The matrices A (r, in) and B (out, r) of a fresh adapter whose start was taken out of the
    base (PiSSA, OLoRA), by their names in its file; empty where the base is unchanged."""
    if not options.starts_within_base:
        return {}
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {k: v.detach().cpu().clone() for k, v in state.items() if _side(k)}


def convert_for_original_base(folder: Path, initial: dict[str, Tensor]) -> None:
    """Rewrite the adapter in `folder`, trained on a base without its initial weights, for the whole
    base. `initial`: see `copy_initial_weights`; where it is empty, nothing changes.

    W - s B0 A0 + s B A = W + s [B, -B0] [A; A0]: twice the rank, the same scale s. peft can do
    this as well (`path_initial_model_for_weight_conversion`), but drops trained vocabulary rows.
    """
    if not initial:
        return
    tensors = load_file(folder / WEIGHTS)
    for name, first in initial.items():
        last = tensors[name].to(first)
        joined = [last, first] if _side(name) == "A" else [last, -first]
        tensors[name] = torch.cat(joined, dim=0 if _side(name) == "A" else 1).contiguous()
    config: Any = LoraConfig.from_pretrained(str(folder))
    growth = 2**0.5 if config.use_rslora else 2  # the scale is alpha / r, or alpha / sqrt(r)
    config.init_lora_weights = True
    config.r, config.lora_alpha = 2 * config.r, growth * config.lora_alpha
    config.rank_pattern = {k: 2 * r for k, r in config.rank_pattern.items()}
    config.alpha_pattern = {k: growth * a for k, a in config.alpha_pattern.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config.save_pretrained(str(folder))


def load_converted(model: Any, folder: Path, initial: dict[str, Tensor]) -> None:
    """Put what `convert_for_original_base` made of an adapter back into `model`, which was
    prepared as in training: the first half of each matrix is what was trained."""
    tensors = load_file(folder / WEIGHTS)
    for name, first in initial.items():
        dim = 0 if _side(name) == "A" else 1
        tensors[name] = tensors[name].narrow(dim, 0, first.shape[dim]).contiguous()
    set_peft_model_state_dict(model, tensors)


def _side(name: str) -> str:
    """A, B, or nothing for a tensor that is no LoRA matrix."""
    return "A" if "lora_A" in name else "B" if "lora_B" in name else ""
