"""Which models can hide one branch from another: whether attention can be masked by row.

Shared by training and decoding, so that what one accepts the other does. Loads no weights.
"""

from typing import Any

from pbranch.errors import ModelError

MASKABLE_LAYERS = {"full_attention", "sliding_attention"}
MOVING_ROPE = {"dynamic", "longrope"}  # frequencies that change with the batch


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
