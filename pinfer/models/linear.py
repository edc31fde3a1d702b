"""Linear layers and norms for a few rows at a time, made of a loaded model's.

On a CPU oneDNN packs a matrix once as its kernel reads it: one row then takes what reading the
weights takes, and a few rows hardly more. Its two operators are private to torch, so they are tried
first, and plain products stand in.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import linear

WORTH = 2**20  # bytes of a matrix from which on packing pays: a packed product costs more to call
ROWS = (
    8  # that oneDNN packs for: for one row it may keep the plain layout, and two then cost double
)
Linear = Callable[[Tensor], Tensor]  # (rows, in) -> (rows, out)


def fuse(layers: Sequence[torch.nn.Linear]) -> Linear:
    """One product for layers that read the same rows; their outputs stand side by side.

    Where it is not packed, the layers go on with slices of the one matrix: nothing is held twice.
    """
    weight = torch.cat([x.weight.detach() for x in layers])
    biases = [x.bias for x in layers if x.bias is not None]
    bias = torch.cat([b.detach() for b in biases]) if biases else None
    assert len(biases) in (0, len(layers)), "layers of one kind have a bias or have none"
    if not packs(weight):
        for layer, rows in zip(layers, weight.split([len(x.weight) for x in layers]), strict=True):
            layer.weight.data = rows
    return packed(weight, bias)


def packed(weight: Tensor, bias: Tensor | None = None) -> Linear:
    """rows @ weight.T + bias; weight (out, in). Packed where that is possible and pays."""
    if is_low(weight):
        return partial(multiply_low, weight, bias)
    if not packs(weight):
        return lambda rows: linear(rows, weight, bias)
    ops = torch.ops.mkldnn
    inner = ops._reorder_linear_weight(weight, ROWS)
    return lambda rows: ops._linear_pointwise(rows, inner, bias, "none", [], "")


def packs(weight: Tensor) -> bool:
    """Whether a matrix is packed."""
    worth = weight.nbytes >= WORTH and can_pack(weight.device, weight.dtype)
    return worth and not is_low(weight)


def is_low(weight: Tensor) -> bool:
    """Whether a matrix is left as it is for `multiply_low`: wider than high, on a CPU with AVX2
    alone. Packed it took 5 to 35 % longer there for 1 to 16 rows (896 x 4864 on a Zen 3); a higher
    one takes less time packed where the rows are two or three."""
    out, inner = weight.shape
    if inner <= out or weight.nbytes < WORTH or weight.dtype != torch.float32:
        return False
    alone = torch.backends.cpu.get_cpu_capability() == "AVX2"
    return alone and can_pack(weight.device, weight.dtype)


def multiply_low(weight: Tensor, bias: Tensor | None, rows: Tensor) -> Tensor:
    """rows (..., in) @ weight.T + bias. More than one row stand where oneDNN has its weights, and
    the matrix where it has its rows: what it holds in registers is then the small one."""
    flat = rows.reshape(-1, rows.shape[-1])
    if len(flat) == 1:
        return linear(rows, weight, bias)
    out = torch.ops.mkldnn._linear_pointwise(weight, flat, None, "none", [], "").t().contiguous()
    out = out if bias is None else out.add_(bias)
    return out.view(*rows.shape[:-1], len(weight))


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this torch and this CPU pack matrices of `dtype`, and multiply with them rightly."""
    if device.type != "cpu" or dtype not in (torch.float32, torch.bfloat16):
        return False
    weight = torch.arange(-32, 32, dtype=dtype).view(8, 8) / 8
    rows = weight[:3].clone()
    try:
        ops = torch.ops.mkldnn
        found = ops._linear_pointwise(
            rows, ops._reorder_linear_weight(weight, ROWS), None, "none", [], ""
        )
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return torch.allclose(found, rows @ weight.T, rtol=1e-2, atol=1e-2)
