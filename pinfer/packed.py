"""Linear layers whose weights oneDNN has packed once, for the CPU; plain ones elsewhere.

Packing lays a matrix out as the kernel reads it: one row then takes what reading the weights takes,
and a few rows hardly more. The two operators are private to torch, so they are tried first.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WORTH = 2**20  # bytes of a matrix from which on packing pays: a packed product costs more to call
Linear = Callable[[Tensor], Tensor]  # (rows, in) -> (rows, out)


def fuse(layers: Sequence[torch.nn.Linear]) -> Linear:
    """One product for layers that read the same rows; their outputs stand side by side.

    The layers lose their weights where they could be packed.
    """
    weight = torch.cat([x.weight.detach() for x in layers])
    biases = [x.bias for x in layers if x.bias is not None]
    bias = torch.cat([b.detach() for b in biases]) if biases else None
    assert len(biases) in (0, len(layers)), "layers of one kind have a bias or have none"
    return packed(weight, bias)


def packed(weight: Tensor, bias: Tensor | None = None) -> Linear:
    """rows @ weight.T + bias; weight (out, in)."""
    if weight.nbytes < WORTH or not can_pack(weight.device, weight.dtype):
        return lambda rows: torch.nn.functional.linear(rows, weight, bias)
    ops = torch.ops.mkldnn
    inner = ops._reorder_linear_weight(weight, 1)
    return lambda rows: ops._linear_pointwise(rows, inner, bias, "none", [], "")


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this torch and this CPU pack matrices of `dtype`, and multiply with them rightly."""
    if device.type != "cpu" or dtype not in (torch.float32, torch.bfloat16):
        return False
    weight = torch.arange(-32, 32, dtype=dtype).view(8, 8) / 8
    rows = weight[:3].clone()
    try:
        ops = torch.ops.mkldnn
        found = ops._linear_pointwise(
            rows, ops._reorder_linear_weight(weight, 1), None, "none", [], ""
        )
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return torch.allclose(found, rows @ weight.T, rtol=1e-2, atol=1e-2)
