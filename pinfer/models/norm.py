"""RMS norms for a few rows at a time, made of a loaded model's."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import rms_norm


@dataclass(frozen=True, slots=True)
class Norm:
    """An RMS norm over the last dimension, in float32 at least. On a CPU torch makes eight calls
    of one; here the root of the mean square and eps is a hypotenuse, and four calls do."""

    weight: Tensor
    eps: float
    root: Tensor  # sqrt(n * eps), a number
    scaled_weight: Tensor  # weight * sqrt(n)

    def __call__(self, x: Tensor) -> Tensor:
        """Same shape and dtype as `x`."""
        if x.is_cuda:
            return rms_norm(x, self.weight.shape, self.weight, self.eps)
        if x.dtype != self.scaled_weight.dtype:
            return self(x.to(self.scaled_weight.dtype)).to(x.dtype)
        hypotenuse = torch.hypot(vector_norm(x, dim=-1, keepdim=True), self.root)
        return (x * self.scaled_weight).div_(hypotenuse)


def make_norm(module: Any) -> Norm:
    """Of one of transformers' RMS norms."""
    weight, eps = module.weight.detach(), module.variance_epsilon
    n, full = len(weight), weight.to(torch.promote_types(weight.dtype, torch.float32))
    return Norm(weight, eps, full.new_tensor((n * eps) ** 0.5), full * n**0.5)
