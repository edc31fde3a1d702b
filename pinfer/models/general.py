"""The general path: any decoder that transformers can load, driven through its own model code.

One attention function, registered with transformers, gets the view of a pass as a keyword. It
serves what the fast path does not, and is what that one must equal.
"""

from typing import Any

import torch
from torch import Tensor

from pbranch.errors import ModelError
from pinfer.attention.transformers_hook import ATTENTION_NAME, register
from pinfer.execution.forward import PassInput
from pinfer.models.module_bypass import Leaf


class GeneralModel:
    """What a runner calls: a pass in, logits out."""

    def __init__(self, model: Any) -> None:
        """Switches `model` to the attention function that knows views."""
        register()
        model.set_attn_implementation(ATTENTION_NAME)
        self.model = model
        self.layers: int = model.config.get_text_config().num_hidden_layers
        self.device: torch.device = model.get_input_embeddings().weight.device
        self.replaced: list[Leaf] = []  # its linear layers and norms, where functions stand in

    def __call__(self, batch: PassInput) -> Tensor:
        """As `Forward`. ModelError for an adapter of some tokens, which the model's code cannot
        apply."""
        if batch.adapter is not None:
            raise ModelError(f"{type(self.model).__name__}: no adapter of single tokens here")
        given: dict[str, Tensor] = {"input_ids": batch.token_ids[None]}
        if batch.embeddings is not None:
            embedded = self.model.get_input_embeddings()(batch.token_ids)
            given = {"inputs_embeds": batch.replace_embeddings(embedded)[None]}
        return self.model(
            **given,
            position_ids=batch.positions[None],
            use_cache=False,
            logits_to_keep=batch.logits_indices,
            branch_view=batch.view,
        ).logits[0]
