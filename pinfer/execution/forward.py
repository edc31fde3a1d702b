"""The input of a forward pass, and the contract of the models that take it."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pinfer.attention.view import View


class RowAdapter(Protocol):
    """A low-rank adapter that only some tokens of a pass go through."""

    def add(self, layer: int, module: str, inputs: Tensor, outputs: Tensor) -> None:
        """Add, in place, what the adapter gives to a linear layer's outputs (R, out) for its own
        tokens among the inputs (R, in). module: qkv, out, gate_up or down."""


@dataclass(frozen=True, slots=True)
class PassInput:
    """The tokens of one pass: `token_ids` and `positions` (R,); what they see; `logits_indices`
    (S,), those whose logits are needed.

    `embeddings` (E, hidden) stand in for the embeddings of the tokens `embedded` (E,), as
    look-ahead embeddings do, whose token ids then mean nothing. `adapter` serves some tokens.
    """

    token_ids: Tensor
    positions: Tensor
    view: View
    logits_indices: Tensor
    adapter: RowAdapter | None = None
    embeddings: Tensor | None = None
    embedded: Tensor | None = None

    def replace_embeddings(self, embedded: Tensor) -> Tensor:
        """The tokens' embeddings (R, hidden), those that are given put in their places."""
        if self.embeddings is None or self.embedded is None:
            return embedded
        return embedded.index_copy(0, self.embedded, self.embeddings.to(embedded.dtype))


class Forward(Protocol):
    """A model: `GeneralModel`, `FastModel` or `CudaGraphModel`."""

    layers: int
    device: torch.device

    def __call__(self, batch: PassInput) -> Tensor:
        """Logits (S, vocabulary) of the tokens at `logits_indices`. Stores the keys and values of
        all tokens by `attend`."""
