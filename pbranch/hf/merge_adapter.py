"""Merges an adapter into the weights of its base; the one place that does, for decoding and for
`ptrain merge`, and that says what an adapter's configuration may hold. Loads no base.
"""

import dataclasses
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pbranch.bounds import bounded
from pbranch.errors import AdapterError
from pbranch.files.json_file import read_json_object
from pbranch.format.branch_config import FILE_NAME, BranchConfig
from pbranch.format.markers import find_markers
from pbranch.hf.fingerprint import check_base
from pbranch.hf.load_model import describe_misfits, vocabulary_size

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
SEED = 0  # of rows that a vocabulary grows by and nothing was trained in: alike at every merge


def merge_adapter(base: Any, tokenizer: Any, folder: Path, config: BranchConfig, dtype: Any) -> Any:
    """The base, changed in place, with the adapter in `folder` merged into its weights.

    A vocabulary that is smaller than the tokenizer's grows, as it did in training.

    Args:
        base: a causal LM as `load_model` gives it.
        tokenizer: the adapter's, which has the markers.
        config: the adapter's branch config.
        dtype: of the merged weights, a torch.dtype. The sum is computed in the wider of this and
            the base's own, and rounded once.

    Raises:
        AdapterError: The adapter is of another base, or its weights or marker ids do not fit.
        MarkerError: The tokenizer lacks a marker.
    """
    import torch

    check_base(base, config, folder)
    check_markers(tokenizer, config, folder)
    own = base.dtype
    grow_vocabulary(base, tokenizer)
    wide = torch.promote_types(own, dtype)
    merged = _merge(base if wide == own else base.to(wide), folder)
    return merged if wide == dtype else merged.to(dtype)


def grow_vocabulary(base: Any, tokenizer: Any) -> None:
    """Give the base the rows that the tokenizer has and it lacks, as in training."""
    import torch

    size = vocabulary_size(tokenizer)
    if size > base.get_input_embeddings().weight.shape[0]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            base.resize_token_embeddings(size, pad_to_multiple_of=64, mean_resizing=False)


def check_markers(tokenizer: Any, config: BranchConfig, folder: str | Path) -> None:
    """Raise AdapterError where the tokenizer's marker ids are not those of the branch config,
    MarkerError where it lacks one."""
    if find_markers(tokenizer).as_dict() != config.marker_ids:
        raise AdapterError(f"{folder}: the tokenizer's marker ids differ from {FILE_NAME}")


def read_lora_config(folder: Path) -> Any:
    """peft's configuration of the adapter in `folder`, with nothing set that `ptrain` never sets:
    peft has keys that import a module by name, change the base or make layers anew.

    Raises AdapterError naming the key.
    """
    from peft import LoraConfig

    path = folder / CONFIG
    if not path.is_file():
        raise AdapterError(f"{folder}: does not fit the base: no {CONFIG}")
    stored = read_json_object(path, AdapterError, "a LoRA configuration")
    if stored.get("peft_type") != "LORA":
        raise AdapterError(f"{path}: peft_type is {stored.get('peft_type')!r:.80}, expected LORA")
    fields = {f.name: f for f in dataclasses.fields(LoraConfig)}
    for key, value in stored.items():  # a key of another release of peft is left out by this one
        allows = _ALLOWED.get(key, lambda _: False)
        if key in fields and not _is_default(fields[key], value) and not allows(value):
            raise AdapterError(f"{path}: {key} is {value!r:.80}, which no adapter of ptrain has")
    ranks = [stored.get("r", 8), *stored.get("rank_pattern", {}).values()]
    rank, largest = max(ranks), _longest_side(folder)
    if rank > largest:
        raise AdapterError(f"{path}: a rank of {rank}, with weights of at most {largest} rows")
    try:
        return LoraConfig.from_pretrained(str(folder))
    except Exception as e:  # of peft, about a value that it does not like
        raise AdapterError(f"{path}: {' '.join(str(e).split())[:200]}") from e


def _is_default(field: Any, value: Any) -> bool:
    missing = field.default is dataclasses.MISSING
    default = field.default_factory() if missing else field.default
    return type(value) is type(default) and value == default


def _is_names(value: Any) -> bool:
    names = value if isinstance(value, list) else [value]
    return all(isinstance(name, str) and len(name) <= 1000 for name in names)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 31


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1e9


def _maps_to(allows: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(allows, value.values()))


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_count, value))


# what may stand in keys that a recipe sets or peft writes; all others have their default
_ALLOWED: dict[str, Callable[[Any], bool]] = {
    "peft_type": _is_names,
    "task_type": lambda v: v in ("CAUSAL_LM", None),
    "peft_version": _is_names,
    "revision": _is_names,
    "base_model_name_or_path": _is_names,
    "inference_mode": lambda v: isinstance(v, bool),
    "fan_in_fan_out": lambda v: isinstance(v, bool),
    "ensure_weight_tying": lambda v: isinstance(v, bool),
    "r": lambda v: _is_count(v) and v > 0,
    "lora_alpha": _is_number,
    "lora_dropout": lambda v: _is_number(v) and v < 1,
    "target_modules": _is_names,
    "exclude_modules": _is_names,
    "modules_to_save": _is_names,
    "target_parameters": _is_names,
    "layers_to_transform": lambda v: _is_count(v) or _counts(v),
    "layers_pattern": _is_names,
    "rank_pattern": _maps_to(lambda v: _is_count(v) and v > 0),
    "alpha_pattern": _maps_to(_is_number),
    "trainable_token_indices": lambda v: _counts(v) or _maps_to(_counts)(v),
    "bias": lambda v: v in ("none", "all", "lora_only"),
    "lora_bias": lambda v: isinstance(v, bool),
    "use_rslora": lambda v: isinstance(v, bool),
    "use_dora": lambda v: isinstance(v, bool),
    # only how weights start, which are replaced by those that are stored
    "init_lora_weights": lambda v: v in (True, False, "gaussian", "orthogonal", "mica"),
}


def _longest_side(folder: Path) -> int:
    """Of any weight of the adapter: no rank is above it, and peft makes room before it reads."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / WEIGHTS, framework="pt") as tensors:
            shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]
    except (OSError, SafetensorError) as e:
        said = f"{WEIGHTS} cannot be read ({str(e)[:200]})"
        raise AdapterError(f"{folder}: does not fit the base: {said}") from e
    return max((n for shape in shapes for n in shape), default=0)


def _patterns(config: Any) -> Iterator[str]:
    """What peft matches against the name of each module."""
    for found in (config.target_modules, config.exclude_modules, config.layers_pattern):
        yield from [found] if isinstance(found, str) else []
    yield from (rf"(.*\.)?({key})$" for key in (*config.rank_pattern, *config.alpha_pattern))


def _check_patterns(base: Any, config: Any, folder: Path) -> None:
    """A pattern may take longer than the age of the world. Raises AdapterError."""
    try:
        with bounded():
            for pattern in _patterns(config):
                for name, _ in base.named_modules():
                    re.match(pattern, name)
    except (TimeoutError, re.error) as e:
        raise AdapterError(f"{folder / CONFIG}: a pattern that does not match ({e})") from e


def _merge(base: Any, folder: Path) -> Any:
    from peft import PeftModel

    config = read_lora_config(folder)
    _check_patterns(base, config, folder)
    own = {f"base_model.model.{name}" for name in base.state_dict()}
    try:
        with warnings.catch_warnings():  # of missing weights, which are refused below
            warnings.filterwarnings("ignore", message="Found missing adapter keys")
            model = PeftModel.from_pretrained(base, str(folder), config=config)
        _refuse_misfits(model, folder, own)
        return model.merge_and_unload()
    except (AdapterError, MemoryError):
        raise
    except Exception as e:  # of peft, of torch, of safetensors: about what stands in the folder
        said = " ".join(str(e).split())[:200] or type(e).__name__
        missing = " is missing" if isinstance(e, KeyError) else ""
        raise AdapterError(f"{folder}: does not fit the base: {said}{missing}") from e


def _refuse_misfits(model: Any, folder: Path, own: set[str]) -> None:
    """AdapterError unless the folder has all weights of the adapter and no others; `own`: those of
    the base, of which peft may have stored some as well."""
    from peft import get_peft_model_state_dict
    from peft.utils import load_peft_weights

    expected = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    stored = set(load_peft_weights(str(folder), device="cpu"))
    if misfits := describe_misfits(expected - stored, stored - expected - own):
        raise AdapterError(f"{folder}: does not fit the base: of its weights, {misfits}")
