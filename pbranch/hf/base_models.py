"""Which base models can be used: where a name leads, and whether attention can be masked by row.

Shared by training and decoding, so that what one accepts the other does. Loads no weights.
"""

from pathlib import Path
from typing import Any

from pbranch.errors import ModelError

SHIPPED = "tiny"  # the name of the shipped base
MASKABLE_LAYERS = {"full_attention", "sliding_attention"}
MOVING_ROPE = {"dynamic", "longrope"}  # frequencies that change with the batch


def shipped(name: str) -> Path:
    """Folder of the shipped `base` or `adapter`: in a checkout below data/tiny, in an installed
    wheel below pbranch/tiny."""
    here = Path(__file__).resolve().parents[1]
    for root in (here.parent / "data" / "tiny", here / "tiny"):
        if any((root / name / file).is_file() for file in ("config.json", "adapter_config.json")):
            return root / name
    raise ModelError(f"the shipped {name} is missing from this installation; name another model")


def locate(name: str) -> str:
    """The folder or Hub id that `name` stands for. Raises ModelError on a missing folder."""
    if name == SHIPPED:
        return str(shipped("base"))
    is_folder = Path(name).is_dir()
    if not is_folder and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise ModelError(f"model {name}: no such folder; expected a folder, a Hub id or {SHIPPED}")
    if is_folder and not (Path(name) / "config.json").is_file():
        if (Path(name) / "adapter_config.json").is_file():
            raise ModelError(f"model {name}: an adapter; expected its base, and this as `adapter`")
        raise ModelError(f"model {name}: no config.json in this folder; expected a model")
    return name


def refuse_unmaskable(config: Any, path: str = "") -> None:
    """Raise ModelError for a model that cannot hide one branch from another."""
    text = config.get_text_config()
    what = f"model {path} ({config.model_type})" if path else f"model {config.model_type}"
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{what}: an encoder-decoder; expected a decoder-only model")
    layers = set(getattr(text, "layer_types", None) or ()) - MASKABLE_LAYERS
    if layers:
        raise ModelError(
            f"{what}: a hybrid, its {', '.join(sorted(layers))} layers keep a state that no mask "
            "reaches; expected full or sliding attention in all layers"
        )
    if getattr(text, "kv_lora_rank", None):
        raise ModelError(f"{what}: compresses its cache (MLA), which is not supported")
    if getattr(text, "num_attention_heads", None) is None or hasattr(text, "state_size"):
        raise ModelError(f"{what}: recurrent or without attention; its state cannot be masked")
    moving = _rope_types(text) & MOVING_ROPE
    if moving:
        raise ModelError(
            f"{what}: {moving.pop()} rotary frequencies change with the batch, so cached rows "
            "would not keep their meaning"
        )


def _rope_types(config: Any) -> set[str]:
    """Rope types of all layers; the parameters may be nested by layer type."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    nested = [p for p in rope.values() if isinstance(p, dict)]
    return {str(p.get("rope_type")) for p in [rope, *nested]}
