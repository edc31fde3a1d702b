"""Masks by kind of layer, against transformers' own."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pbranch.hf.additive_mask import additive_masks, layer_windows
from tests.conftest import MODEL_KINDS, build_model


@pytest.mark.parametrize("kind", [*MODEL_KINDS, "gemma2", "phi3"])
def test_a_causal_text_has_the_logits_of_the_model_itself(kind: str, byte_tokenizer: Any) -> None:
    """40 tokens, five sliding windows."""
    model = build_model(kind, byte_tokenizer).double()
    ids, positions = torch.arange(40)[None], torch.arange(40)[None]
    seen = torch.ones(1, 1, 40, 40, dtype=torch.bool).tril()
    masks = additive_masks(seen, positions, model.config, model.dtype)
    with torch.inference_mode():
        theirs = model(ids, use_cache=False).logits
        ours = model(ids, position_ids=positions, attention_mask=masks, use_cache=False).logits
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
    has_window = kind in ("mistral", "gemma2", "gemma3", "phi3")
    assert any(layer_windows(model.config).values()) is has_window


def test_a_window_is_counted_in_positions() -> None:
    """Two branches share positions 3 and 4: rows are far apart where positions are not."""
    config = SimpleNamespace(sliding_window=3, layer_types=["sliding_attention", "full_attention"])
    config.get_text_config = lambda: config
    positions = torch.tensor([[0, 1, 2, 3, 4, 3, 4]])
    seen = torch.ones(1, 1, 7, 7, dtype=torch.bool).tril()
    masks = additive_masks(seen, positions, config, torch.bfloat16)
    assert isinstance(masks, dict) and list(masks) == ["full_attention", "sliding_attention"]
    lowest = torch.finfo(torch.bfloat16).min
    for name, near in (("full_attention", 99), ("sliding_attention", 3)):
        expected = [
            [0 if k <= q and positions[0, q] - positions[0, k] < near else lowest for k in range(7)]
            for q in range(7)
        ]
        assert masks[name].dtype == torch.bfloat16 and masks[name][0, 0].tolist() == expected
