"""What look-ahead training leaves: `lookahead.safetensors` and `lookahead_config.json`, their names
and shapes, and whether they belong to a model.

Trained beside a frozen model, for drafts in its own passes (PaSS, arXiv 2311.13581): L look-ahead
embeddings; a LoRA that their rows alone go through; a Markov head, a low-rank bias on a row's
logits by the token before the one that it drafts. Written by ptrain, read by pinfer.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pbranch.errors import AdapterError
from pbranch.files.json_file import read_json_object
from pbranch.hf.fingerprint import check_base
from pbranch.hf.load_model import describe_misfits, load_config

WEIGHTS, CONFIG = "lookahead.safetensors", "lookahead_config.json"
VERSION = 1
# a layer's linear maps as decoding fuses them, and of which projections each is made
MODULES = {
    "qkv": ("q_proj", "k_proj", "v_proj"), "out": ("o_proj",),
    "gate_up": ("gate_proj", "up_proj"), "down": ("down_proj",),
}  # fmt: skip
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LookaheadConfig:
    """`lookahead_config.json`. tokens: look-ahead embeddings (L); r, markov_rank: of LoRA and
    Markov head, 0 where there is none; width: of an embedding; adapter: `adapter_digest` of what
    was merged into the base, None for the bare one."""

    base_model: str
    base_fingerprint: str
    adapter: str | None
    tokens: int
    r: int
    markov_rank: int
    width: int
    version: int = VERSION

    def save(self, folder: Path) -> None:
        """Write `lookahead_config.json` into `folder`."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        (folder / CONFIG).write_text(text, encoding="utf-8")


def adapter_digest(folder: Path | None) -> str | None:
    """A hash of an adapter's weights; None for no adapter. AdapterError where it has none."""
    if folder is None:
        return None
    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        raise AdapterError(f"{folder}: no {path.name}; expected an adapter's folder")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def tensor_shapes(config: LookaheadConfig, model: Any) -> dict[str, Shape]:
    """Names and shapes of the tensors for a model (or one like it on the meta device).

    embeddings (L, width). LoRA of layer n and module m: `layer{n}_{m}_a` (r, inputs) and `_b`
    (outputs, r), outputs of a fused module one after another. Markov head: `markov_in` and
    `markov_out` (vocabulary, markov_rank).
    """
    shapes: dict[str, Shape] = {"embeddings": (config.tokens, config.width)}
    if config.r:
        text = model.config.get_text_config()
        heads, kv_heads = text.num_attention_heads, text.num_key_value_heads
        hidden, inner = text.hidden_size, text.intermediate_size
        dim = getattr(text, "head_dim", None) or hidden // heads
        sizes = {
            "qkv": (hidden, (heads + 2 * kv_heads) * dim), "out": (heads * dim, hidden),
            "gate_up": (hidden, 2 * inner), "down": (inner, hidden),
        }  # fmt: skip
        for n in range(text.num_hidden_layers):
            for module, (inputs, outputs) in sizes.items():
                shapes[f"layer{n}_{module}_a"] = (config.r, inputs)
                shapes[f"layer{n}_{module}_b"] = (outputs, config.r)
    if config.markov_rank:
        rows = model.get_output_embeddings().weight.shape[0]
        shapes["markov_in"] = shapes["markov_out"] = (rows, config.markov_rank)
    return shapes


def read_config(folder: Path) -> LookaheadConfig:
    """Read and check `lookahead_config.json`; AdapterError names the key that does not fit."""
    path = folder / CONFIG
    if not path.is_file():
        raise AdapterError(f"{folder}: no {CONFIG}; expected a folder that ptrain lookahead wrote")
    stored = read_json_object(path, AdapterError, "a look-ahead config")
    try:
        config = LookaheadConfig(**stored)
    except TypeError as e:  # unknown or missing keys
        raise AdapterError(f"{path}: not a look-ahead config ({e})") from e
    if config.version != VERSION:
        raise AdapterError(f"{path}: version {config.version}, this release reads {VERSION}")
    for field in fields(config):
        value = getattr(config, field.name)
        least = {"tokens": 1, "width": 1}.get(field.name, 0)
        if field.type is int and (type(value) is not int or not least <= value < 1 << 31):
            raise AdapterError(f"{path}: {field.name} is {value!r:.80}, expected {least} or more")
    return config


def load_tensors(folder: Path) -> dict[str, Any]:
    """The tensors of `lookahead.safetensors`, on the CPU. Raises AdapterError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / WEIGHTS
    try:
        return load_file(path)
    except (SafetensorError, OSError) as e:
        reason = getattr(e, "strerror", None) or e
        raise AdapterError(f"{path}: cannot read ({reason})") from e


def check_shapes(tensors: Mapping[str, Any], shapes: Mapping[str, Shape], folder: Path) -> None:
    """AdapterError unless the tensors have these names and shapes."""
    reshaped = [
        f"{name} {tuple(tensors[name].shape)}, expected {shape}"
        for name, shape in shapes.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    missing, strange = shapes.keys() - tensors.keys(), tensors.keys() - shapes.keys()
    if misfits := describe_misfits(missing, strange, reshaped):
        raise AdapterError(f"{folder / WEIGHTS}: does not fit the model: {misfits}")


def check_target(config: LookaheadConfig, folder: Path, model: Any, adapter: Path | None) -> None:
    """AdapterError unless `model`, as it is decoded, is what was trained for: its width, its
    adapter, and the files of its base. adapter: the folder that was merged into it."""
    width = model.config.get_text_config().hidden_size
    if width != config.width:
        raise AdapterError(
            f"{folder}: look-ahead embeddings of width {config.width}, the model's is {width}"
        )
    if adapter_digest(adapter) != config.adapter:
        found = adapter or "none"
        expected = f"the one of hash {config.adapter}" if config.adapter else "none"
        raise AdapterError(f"{folder}: look-ahead for adapter {expected}, found {found}")
    check_base(model, config, folder, load_config(model.name_or_path))


def load_checked(folder: Path, model: Any, adapter: Path | None = None) -> dict[str, Any]:
    """The tensors in `folder`, for `model` in its dtype and on its device; AdapterError where they
    are broken, or of another model, adapter or width. adapter: see `check_target`."""
    config = read_config(folder)
    check_target(config, folder, model, adapter)
    tensors = load_tensors(folder)
    check_shapes(tensors, tensor_shapes(config, model), folder)
    return {name: values.to(model.device, model.dtype) for name, values in tensors.items()}
