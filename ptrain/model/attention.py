"""Attention functions for transformers whose mask is built from the layout tensor.

The tensor travels as a 3-D `attention_mask` (B, 2 + 2 D, L), which every model that builds its
mask through `masking_utils` hands on untouched, with the window of each layer as `local_size`: a
mask is built once a forward pass and window. Names may contain neither flash, sdpa nor
flex_attention: transformers looks for those substrings.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.parallelism_config import ParallelismConfig
from accelerate.utils import parse_flag_from_env
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import flex_attention_mask, sdpa_mask

from pbranch.errors import RecipeError
from pbranch.format.visibility import dense_mask, mask_mod

BRANCH = "ptrain_branch"  # dense mask, scaled_dot_product_attention
BRANCH_BANDS = "ptrain_branch_bands"  # the same band by band, for a CPU
BRANCH_EAGER = "ptrain_branch_eager"  # dense mask, for models that cap their scores (Gemma-2)
BRANCH_FLEX = "ptrain_branch_flex"  # FlexAttention: skips blocks that see nothing
LONG_SEQUENCE = 4096  # tokens from which on `auto` takes FlexAttention on CUDA
BLOCK = 128  # queries and keys of a block of a BlockMask
FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
BAND = 96  # queries; of 2,048 tokens bands of 64 and 128 took as long, of 32 and 256 longer


def choose_attention(option: str, device: str, longest: int, config: Any) -> str:
    """The registered name for `train.attention`, on sequences of up to `longest` tokens.

    auto: flex on CUDA from LONG_SEQUENCE tokens on, else dense. Raises RecipeError where flex is
    asked for and cannot be trained with.
    """
    text = config.get_text_config()
    obstacle = None
    if device != "cuda":
        obstacle = f"FlexAttention has no backward pass on {device}, only on cuda"
    elif getattr(text, "attention_dropout", 0.0):
        obstacle = (
            f"it knows no dropout and the model's attention_dropout is {text.attention_dropout}"
        )
    if option == "flex" and obstacle:
        raise RecipeError(f"train.attention: found flex, but {obstacle}; expected auto or dense")
    if option == "flex" or (option == "auto" and longest >= LONG_SEQUENCE and not obstacle):
        return BRANCH_FLEX
    dense = dense_name(config)
    return BRANCH_BANDS if device == "cpu" and dense == BRANCH else dense


def refuse_context_parallelism() -> None:
    """RecipeError where a launch splits sequences over devices: only causal masks survive that.

    Asks accelerate, which a launch config reaches through PARALLELISM_CONFIG_* variables.
    """
    if not parse_flag_from_env("ACCELERATE_USE_PARALLELISM_CONFIG"):
        return
    try:
        sizes = ParallelismConfig()
    except ValueError as e:
        raise RecipeError(f"launch config: {e}") from e
    for key, size in (("cp_size", sizes.cp_size), ("sp_size", sizes.sp_size)):
        if size > 1:
            raise RecipeError(
                f"launch config: parallelism_config_{key}: found {size}, expected 1: rows split "
                "over devices lose their branch mask and would be trained as plain causal text"
            )


def dense_name(config: Any) -> str:
    """The registered name of the dense function that a model of `config` needs."""
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    return BRANCH_EAGER if capped else BRANCH


def length_multiple(name: str) -> int:
    """Sequences are padded to a multiple of so many tokens: whole blocks under FlexAttention.

    Each new shape may compile its kernels again, and whole blocks need no bounds checks in them.
    """
    return BLOCK if name == BRANCH_FLEX else 1


def branch_mask(
    attention_mask: Tensor | None = None, local_size: int | None = None, **kwargs: Any
) -> Tensor | None:
    """Bool (B, 1, L, L) from a layout tensor; any other mask takes the ordinary way."""
    if attention_mask is not None and attention_mask.ndim == 3:
        return dense_mask(attention_mask, window=local_size)
    # written out even where causal: the eager function below knows no is_causal
    kwargs["allow_is_causal_skip"] = False
    return sdpa_mask(attention_mask=attention_mask, local_size=local_size, **kwargs)


def branch_block_mask(
    attention_mask: Tensor | None = None, local_size: int | None = None, **kwargs: Any
) -> BlockMask:
    """The same as a BlockMask (B, 1, L, L)."""
    if attention_mask is not None and attention_mask.ndim == 3:
        return block_mask(attention_mask, window=local_size)
    return flex_attention_mask(attention_mask=attention_mask, local_size=local_size, **kwargs)


def block_mask(tensor: Tensor, window: int | None = None) -> BlockMask:
    """BlockMask of a layout tensor (B, 2 + 2 D, L), window in positions.

    Compiled on CUDA, where L x L booleans are then never in memory.
    """
    size, _, length = tensor.shape
    create = torch.compile(create_block_mask) if tensor.is_cuda else create_block_mask
    rule = mask_mod(tensor, window)
    return create(rule, size, None, length, length, device=tensor.device, BLOCK_SIZE=BLOCK)


@dataclass(frozen=True, slots=True)
class Bands:
    """A mask for a CPU, as `banded_forward` takes it: found once, read by every layer.

    bands: of each the queries, the keys that any of them sees, and what is added to their scores.
    """

    mask: Tensor  # bool (B, 1, L, keys)
    bands: list[tuple[slice, slice | Tensor, Tensor]]


def branch_bands(band: int | None = None, **kwargs: Any) -> Bands:
    """The same in bands of `band` (BAND) queries at most. They are alike: no short rest."""
    mask = branch_mask(**kwargs)
    assert mask is not None  # only a mask that may be skipped is left out
    length = mask.shape[2]
    size = math.ceil(length / math.ceil(length / (band or BAND)))
    bands = []
    for start in range(0, length, size):
        queries = slice(start, min(start + size, length))
        part = mask[:, :, queries]
        seen: slice | Tensor = slice(None)
        if size < length:
            places = part.flatten(0, 2).any(0).nonzero()[:, 0]
            last = int(places[-1]) + 1
            seen = slice(last) if len(places) == last else places  # a slice is not copied
        part = part[..., seen]
        bias = torch.zeros(part.shape, device=mask.device)
        bands.append((queries, seen, bias.masked_fill_(~part, -torch.inf)))
    return Bands(mask, bands)


def banded_forward(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Bands,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention for a CPU; (B, heads, L, d) in, (B, L, heads, d) out.

    Band by band: a few queries over the keys that any of them sees, as a masked call computes what
    it hides. Of a long sequence half is never computed then, of a wide tree or a packed sequence
    most. In float32 whatever the inputs are in: the CPU's backward pass in bfloat16 takes twice as
    long. A GPU would wait for the keys to be found, and its kernels that share key heads take no
    mask.
    """
    if dropout:
        with torch.autocast("cpu", enabled=False):
            out = scaled_dot_product_attention(
                query, key, value, attention_mask.mask, dropout, scale=scaling, enable_gqa=True
            )
    else:
        tensors = (x.float() for x in (query, key, value))
        out = _Banded.apply(*tensors, attention_mask.bands, scaling)
    return out.transpose(1, 2).to(query.dtype).contiguous(), None


class _Banded(torch.autograd.Function):
    """The bands' keys are gathered anew in the backward pass: kept, they would be many times all
    keys. Through the kernels that scaled_dot_product_attention itself takes on a CPU."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bands: list[tuple[slice, slice | Tensor, Tensor]],
        scale: float | None,
    ) -> Tensor:
        parts = []
        for queries, seen, bias in bands:
            k, v = key[:, :, seen], value[:, :, seen]
            parts.append(FLASH(query[:, :, queries], k, v, attn_mask=bias, scale=scale))
        out, sums = (torch.cat(x, 2) for x in zip(*parts, strict=True))
        ctx.save_for_backward(query, key, value, out, sums, *(bias for _, _, bias in bands))
        ctx.places, ctx.scale = [(queries, seen) for queries, seen, _ in bands], scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, sums, *biases = ctx.saved_tensors
        by_query = torch.empty_like(query)
        by_key, by_value = torch.zeros_like(key), torch.zeros_like(value)
        for (queries, seen), bias in zip(ctx.places, biases, strict=True):
            own = (x[:, :, queries] for x in (grads[0], query))
            k, v = key[:, :, seen], value[:, :, seen]
            results = (x[:, :, queries] for x in (out, sums))
            found = FLASH_BACKWARD(
                *own, k, v, *results, 0.0, False, attn_mask=bias, scale=ctx.scale
            )
            by_query[:, :, queries] = found[0]
            for total, part in ((by_key, found[1]), (by_value, found[2])):
                if isinstance(seen, slice):
                    total[:, :, seen] += part
                else:
                    total.index_add_(2, seen, part)
        return by_query, by_key, by_value, None, None


def eager_forward(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float,
    dropout: float = 0.0,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Plain attention with an optional cap on the scores; (B, heads, L, d) in, (B, L, heads, d)."""
    groups = query.shape[1] // key.shape[1]
    scores = query @ repeat_kv(key, groups).transpose(2, 3) * scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    weights = torch.nn.functional.dropout(weights, p=dropout, training=module.training)
    return (weights @ repeat_kv(value, groups)).transpose(1, 2).contiguous(), weights


def register() -> None:
    """Make the names known to transformers; calling it again changes nothing."""
    AttentionInterface.register(BRANCH, sdpa_attention_forward)
    AttentionInterface.register(BRANCH_BANDS, banded_forward)
    AttentionInterface.register(BRANCH_EAGER, eager_forward)
    AttentionInterface.register(BRANCH_FLEX, flex_attention_forward)
    for name in (BRANCH, BRANCH_EAGER):
        AttentionMaskInterface.register(name, branch_mask)
    AttentionMaskInterface.register(BRANCH_BANDS, branch_bands)
    AttentionMaskInterface.register(BRANCH_FLEX, branch_block_mask)
