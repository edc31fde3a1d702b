"""The trained tensors as a module. Knows no data."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pbranch.hf.lookahead.files import Shape

NOISE = 0.5  # of the vocabulary's own deviation: look-ahead embeddings must not start equal


class Lookahead(nn.Module):
    """The tensors of `pbranch.hf.lookahead.files`, by their names there, in float32."""

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
