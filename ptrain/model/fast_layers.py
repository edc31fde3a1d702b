"""LoRA's linear layers and RMSNorm in few passes over their rows, for a CPU.

peft adds the low-rank product to the base's in separate steps: converted to float32 and back under
autocast, scaled, added, and each of these has a step of its own in the backward pass. Here both
products go into one matrix. So has each operation of an RMSNorm; here it is two passes forward, and
four back. Knows no trainer.
"""

from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

# RMSNorms of transformers that multiply by their weight alone, not by 1 + weight as Gemma's do
NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Phi3RMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm")


def use_fast_layers(model: Any) -> None:
    """Switch plain LoRA layers and frozen RMSNorms of a `model` with LoRA over. Others stay as they
    are: DoRA, dropout, quantised or sharded weights, several adapters; norms of other kinds, in
    bfloat16, or without a gradient; and all of them on a GPU."""
    if not isinstance(model, PeftModel):
        return
    plain: list[Any] = [m for m in model.modules() if type(m) is Linear and _is_plain(m)]
    for layer in plain:
        layer.forward = _make_forward(layer)
    norms: list[Any] = [m for m in model.modules() if type(m).__name__ in NORMS and _is_whole(m)]
    for norm in norms:
        norm.forward = _make_norm_forward(norm)


class _LoraLinear(torch.autograd.Function):
    """x W' + b + s x A' B', of x (N, in), W (out, in), A (r, in) and B (out, r); W and b frozen."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        inner = x @ a.T
        out = x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)
        ctx.save_for_backward(x, weight, a, b, inner)
        ctx.scale = scale
        return out.addmm_(inner, b.T, alpha=scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b, inner = ctx.saved_tensors
        (grad,) = grads
        by_inner = (grad @ b).mul_(ctx.scale)
        by_x = (grad @ weight).addmm_(by_inner, a) if ctx.needs_input_grad[0] else None
        by_b = (grad.T @ inner).mul_(ctx.scale)
        return by_x, None, None, by_inner.T @ x, by_b, None


def _is_plain(layer: Any) -> bool:
    """Whether a layer is a base's frozen matrix and one pair of LoRA matrices, nothing more."""
    base = layer.get_base_layer()
    names = layer.active_adapters
    trains = type(base) is not nn.Linear or any(p.requires_grad for p in base.parameters())
    if trains or len(names) != 1:
        return False
    (name,) = names
    pair = (layer.lora_A[name], layer.lora_B[name]) if name in layer.lora_A else ()
    return (
        _is_whole(layer)
        and len(pair) == 2
        and all(type(m) is nn.Linear and m.bias is None for m in pair)
        and isinstance(layer.lora_dropout[name], nn.Identity)
        and name not in layer.lora_variant
    )


def _is_whole(layer: Any) -> bool:
    return not any(hasattr(p, "ds_id") or isinstance(p, DTensor) for p in layer.parameters())


def _make_forward(layer: Any) -> Any:
    peft_forward, (name,) = layer.forward, layer.active_adapters
    base, a, b = layer.get_base_layer(), layer.lora_A[name], layer.lora_B[name]

    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if x.device.type != "cpu" or layer.disable_adapters or layer.merged or args or kwargs:
            return peft_forward(x, *args, **kwargs)
        dtype = x.dtype
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
        tensors = (base.weight, base.bias, a.weight, b.weight)
        weight, bias, *pair = (None if t is None else t.to(dtype) for t in tensors)
        flat = x.to(dtype).flatten(0, -2)
        out = _LoraLinear.apply(flat, weight, bias, *pair, layer.scaling[name])
        return out.view(*x.shape[:-1], -1)

    return forward


class _RmsNorm(torch.autograd.Function):
    """x / sqrt(mean(x x) + eps) * weight over the last dimension; the weight is frozen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        x, weight, scale = ctx.saved_tensors
        by_unit = grads[0] * weight
        along = torch.linalg.vecdot(by_unit, x)[..., None]  # what only changes the length of x
        along = along.mul_(scale**3).div_(-x.shape[-1])
        return by_unit.mul_(scale).addcmul_(x, along), None, None


def _make_norm_forward(layer: Any) -> Any:
    own_forward = layer.forward

    def forward(x: Tensor) -> Tensor:
        weight = layer.weight
        trains = torch.is_grad_enabled() and not weight.requires_grad
        if trains and x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32:
            return _RmsNorm.apply(x, weight, layer.variance_epsilon)
        return own_forward(x)

    return forward
