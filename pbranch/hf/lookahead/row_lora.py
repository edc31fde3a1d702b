"""The LoRA that look-ahead rows go through, as hooks on a model of transformers.

They add nothing until they are told which rows are look-ahead rows: all others get the very numbers
of the bare model.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pbranch.errors import ModelError
from pbranch.hf.lookahead.files import MODULES


class RowLora:
    """Hooks on a model's layers. tensors: see `tensor_shapes`, looked up in each pass."""

    def __init__(self, model: Any, tensors: Mapping[str, Tensor] | nn.ParameterDict) -> None:
        self.tensors = tensors
        self._start: int | None = None  # rows from there on go through it; None: no row does
        for n, layer in enumerate(model.base_model.layers):
            for module, names in MODULES.items():
                if f"layer{n}_{module}_a" in tensors:
                    self._hang(find_projections(layer, names), f"layer{n}_{module}")

    @contextmanager
    def on(self, start: int) -> Iterator[None]:
        """Rows from `start` on are look-ahead rows, in the passes within."""
        self._start = start
        try:
            yield
        finally:
            self._start = None

    def _hang(self, projections: list[nn.Linear], name: str) -> None:
        first = 0
        for projection in projections:
            outputs = slice(first, first + projection.out_features)
            projection.register_forward_hook(self._make_hook(name, outputs))
            first = outputs.stop

    def _make_hook(self, name: str, outputs: slice) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if self._start is None:
                return output
            a, b = (self.tensors[f"{name}_{side}"] for side in "ab")
            rows = inputs[0][:, self._start :].to(a.dtype)
            ahead = output[:, self._start :] + ((rows @ a.T) @ b[outputs].T).to(output.dtype)
            return torch.cat((output[:, : self._start], ahead), 1) if self._start else ahead

        return add


def check_layers(model: Any) -> None:
    """ModelError where a decoder layer is built otherwise than MODULES says."""
    for layer in model.base_model.layers:
        for names in MODULES.values():
            find_projections(layer, names)


def find_projections(layer: Any, names: tuple[str, ...]) -> list[nn.Linear]:
    """The linear layers of a decoder layer that are called so. Raises ModelError."""
    found = {name.rpartition(".")[2]: m for name, m in layer.named_modules()}
    for name in names:
        if not isinstance(found.get(name), nn.Linear):
            raise ModelError(
                f"{type(layer).__name__}: no linear layer {name}; expected layers built as in "
                "Llama, Mistral, Qwen2 and Qwen3, or lookahead.r: 0"
            )
    return [found[name] for name in names]
