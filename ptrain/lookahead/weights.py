"""The trained tensors as a module, and the low-rank maps that look-ahead rows go through.

The maps hang on a frozen model's linear layers as hooks that add nothing until they are told which
rows are look-ahead rows: all others get the very numbers of the bare model. Knows no data.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pbranch.errors import ModelError
from pbranch.hf.lookahead_file import MODULES, Shape

NOISE = 0.5  # of the vocabulary's own deviation: look-ahead embeddings must not start equal


class Lookahead(nn.Module):
    """The tensors of `pbranch.hf.lookahead_file`, by their names there, in float32."""

    def __init__(self, shapes: Mapping[str, Shape], vocabulary: Tensor, seed: int = 0) -> None:
        """vocabulary: the model's embeddings (V, width), around whose mean those of look-ahead rows
        start. LoRA and Markov head start as nothing added: `_b` and `markov_out` are zero."""
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.tensors = nn.ParameterDict()
        for name, shape in shapes.items():
            values = torch.randn(shape, generator=generator)
            if name == "embeddings":
                rows = vocabulary.detach().float().cpu()
                values = rows.mean(0) + NOISE * rows.std(0) * values
            elif name.endswith(("_b", "_out")):
                values = torch.zeros(shape)
            else:
                values /= shape[-1] ** 0.5
            self.tensors[name] = nn.Parameter(values)

    def embed(self, sequences: int, groups: int) -> Tensor:
        """Embeddings of look-ahead rows (B, G L, width)."""
        return self.tensors["embeddings"].repeat(groups, 1).expand(sequences, -1, -1)

    def bias(self, previous: Tensor) -> Tensor | float:
        """What the Markov head adds to logits (N, V), by the tokens before (N,)."""
        if "markov_in" not in self.tensors:
            return 0.0
        return self.tensors["markov_in"][previous] @ self.tensors["markov_out"].T


class RowLora:
    """Hooks of the LoRA in `lookahead` on a model's layers. `start`: rows from there on go through
    it; None: no row does."""

    def __init__(self, model: Any, lookahead: Lookahead) -> None:
        self.start: int | None = None
        self.lookahead = lookahead
        for n, layer in enumerate(model.base_model.layers):
            for module, names in MODULES.items():
                if f"layer{n}_{module}_a" in lookahead.tensors:
                    self._hang(find_projections(layer, names), f"layer{n}_{module}")

    @contextmanager
    def on(self, start: int) -> Iterator[None]:
        """Rows from `start` on are look-ahead rows, in the passes within."""
        self.start = start
        try:
            yield
        finally:
            self.start = None

    def _hang(self, projections: list[nn.Linear], name: str) -> None:
        first = 0
        for projection in projections:
            outputs = slice(first, first + projection.out_features)
            projection.register_forward_hook(self._make_hook(name, outputs))
            first = outputs.stop

    def _make_hook(self, name: str, outputs: slice) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if self.start is None:
                return output
            a, b = (self.lookahead.tensors[f"{name}_{side}"] for side in "ab")
            rows = inputs[0][:, self.start :].to(a.dtype)
            ahead = output[:, self.start :] + ((rows @ a.T) @ b[outputs].T).to(output.dtype)
            return torch.cat((output[:, : self.start], ahead), 1) if self.start else ahead

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
