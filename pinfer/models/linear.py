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

from pbranch.files.mapped_pages import MappedPages

PACK_ABOVE_BYTES = 2**20  # of a matrix; below, a packed product costs more to call than it saves
# that oneDNN packs for. For one row it may keep the plain layout, and two rows then cost double
PACKED_ROWS = 8
Linear = Callable[[Tensor], Tensor]  # (rows, in) -> (rows, out)


class Packed:
    """rows @ weight.T + bias; the matrix (out, in) is held as oneDNN's kernel reads it."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_ROWS)
        self._bias = bias

    def __call__(self, rows: Tensor) -> Tensor:
        product = torch.ops.mkldnn._linear_pointwise
        return product(rows, self._weight, self._bias, "none", [], "")

    def unpack(self) -> Tensor:
        """The matrix (out, in) again, bit for bit."""
        return self._weight.to_dense()


class InPairs:
    """A product of two rows at least: a single one is computed twice. oneDNN sums a single row in
    another order than several, which shows in half precision."""

    def __init__(self, product: Linear) -> None:
        self.product = product

    def __call__(self, rows: Tensor) -> Tensor:
        if rows.shape[-2] != 1:
            return self.product(rows)
        return self.product(torch.cat((rows, rows), -2))[..., :1, :]


def fuse(layers: Sequence[torch.nn.Linear], pages: MappedPages | None = None) -> Linear:
    """One product for layers that read the same rows; their outputs stand next to each other.

    Where it is not packed, the layers go on with slices of the one matrix; where it is, it is a
    copy. Layers of a model that is owned, whose `pages` are given, lose theirs then: nothing is
    held twice, and they cannot run until `give_back`.
    """
    if pages is not None:
        pages.release()  # of what was read before
    weights = [x.weight.detach() for x in layers]
    weight = torch.cat(weights) if len(weights) > 1 else weights[0]
    biases = [x.bias for x in layers if x.bias is not None]
    bias = torch.cat([b.detach() for b in biases]) if biases else None
    assert len(biases) in (0, len(layers)), "layers of one kind have a bias or have none"
    product = packed(weight, bias)
    if not isinstance(product, Packed):
        for layer, rows in zip(layers, weight.split(list(map(len, weights))), strict=True):
            layer.weight.data = rows
    elif pages is not None:
        for layer in layers:
            layer.weight = torch.nn.Parameter(weight.new_empty(0), requires_grad=False)
    return product


def give_back(product: Linear, layers: Sequence[torch.nn.Linear]) -> None:
    """Undo what `fuse` did to layers of a model that is owned."""
    if isinstance(product, Packed) and not layers[0].weight.numel():
        weights = product.unpack().split([layer.out_features for layer in layers])
        for layer, weight in zip(layers, weights, strict=True):
            layer.weight = torch.nn.Parameter(weight, requires_grad=False)


def packed(weight: Tensor, bias: Tensor | None = None) -> Linear:
    """rows @ weight.T + bias; weight (out, in). Packed where that is possible and pays."""
    if prefers_swapped_gemm(weight):
        return partial(swapped_gemm, weight, bias)
    if not packs(weight):
        return lambda rows: linear(rows, weight, bias)
    return Packed(weight, bias)


def packs(weight: Tensor) -> bool:
    """Whether a matrix is packed."""
    pays = weight.nbytes >= PACK_ABOVE_BYTES and can_pack(weight.device, weight.dtype)
    return pays and not prefers_swapped_gemm(weight)


def prefers_swapped_gemm(weight: Tensor) -> bool:
    """Whether `swapped_gemm` is faster than a packed product: for a float32 matrix (out, in) with
    more inputs than outputs, on a CPU that has AVX2 and no AVX-512."""
    # Measured on a Zen 3 with 896 x 4864: packed it took 5 to 35 % longer, for 1 to 16 rows. A
    # matrix with more outputs than inputs takes less time packed, for two or three rows.
    outputs, inputs = weight.shape
    if inputs <= outputs or weight.nbytes < PACK_ABOVE_BYTES or weight.dtype != torch.float32:
        return False
    avx2_only = torch.backends.cpu.get_cpu_capability() == "AVX2"
    return avx2_only and can_pack(weight.device, weight.dtype)


def swapped_gemm(weight: Tensor, bias: Tensor | None, rows: Tensor) -> Tensor:
    """rows (..., in) @ weight.T + bias. With more than one row the operands are swapped: the rows
    stand where oneDNN expects weights, so that it holds the smaller matrix in registers."""
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
        reordered = ops._reorder_linear_weight(weight, PACKED_ROWS)
        product = ops._linear_pointwise(rows, reordered, None, "none", [], "")
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return torch.allclose(product, rows @ weight.T, rtol=1e-2, atol=1e-2)
