"""The general path: any decoder that transformers can load, driven through its own model code.

One attention function, registered with transformers, gets the view of a pass as a keyword. It
serves what the fast path does not, and is what that one must equal.
"""

from typing import Any

import torch
from torch import Tensor

from pinfer.attention import ATTENTION_NAME, Backend, register
from pinfer.view import View


class GeneralModel:
    """What a runner calls: token ids in, logits of the drawn rows out."""

    def __init__(self, model: Any) -> None:
        """Switches `model` to the attention function that knows views."""
        register()
        model.set_attn_implementation(ATTENTION_NAME)
        self.model = model
        self.layers: int = model.config.get_text_config().num_hidden_layers
        self.device: torch.device = model.get_input_embeddings().weight.device

    def __call__(
        self, tokens: Tensor, positions: Tensor, view: View, drawn: Tensor, backend: Backend
    ) -> Tensor:
        """tokens, positions (R,); drawn: rows to draw from. Logits (drawn rows, vocabulary)."""
        return self.model(
            input_ids=tokens[None],
            position_ids=positions[None],
            use_cache=False,
            logits_to_keep=drawn,
            branch_view=view,
            branch_backend=backend,
        ).logits[0]
