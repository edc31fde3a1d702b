"""The fast path: a forward of our own for the Llama, Mistral, Qwen2 and Qwen3 family.

Takes the weights of a loaded transformers model, fused and packed, and drives the same backends
over the same views as the general path, which serves every other model and is what this one must
equal. Knows no lanes and no policy.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from pbranch.files.mapped_pages import MappedPages
from pinfer.attention.attend import attend
from pinfer.attention.view import View
from pinfer.execution.forward import PassInput, RowAdapter
from pinfer.models.linear import Linear, fuse, give_back
from pinfer.models.norm import Norm, make_norm

FAMILY = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """One decoder layer: rows (R, hidden) in and out."""

    index: int
    heads: int
    kv_heads: int
    dim: int
    scale: float
    window: int | None
    input_norm: Norm
    query_norm: Norm | None
    key_norm: Norm | None
    mlp_norm: Norm
    qkv: Linear
    out: Linear
    gate_up: Linear
    down: Linear

    def __call__(
        self, x: Tensor, cos: Tensor, sin: Tensor, view: View, adapter: RowAdapter | None = None
    ) -> Tensor:
        """cos and sin are (R, 1, dim); sin is negative in its first half."""
        given = self.input_norm(x)
        qkv = self.qkv(given)
        if adapter is not None:
            adapter.add(self.index, "qkv", given, qkv)
        qkv = qkv.view(len(x), -1, self.dim)
        rotated, values = qkv[:, : -self.kv_heads], qkv[:, -self.kv_heads :]
        if self.query_norm is not None and self.key_norm is not None:
            query, keys = rotated[:, : self.heads], rotated[:, self.heads :]
            rotated = torch.cat((self.query_norm(query), self.key_norm(keys)), 1)
        rotated = torch.addcmul(rotated * cos, rotated.roll(self.dim // 2, -1), sin)
        query, keys = rotated[:, : self.heads], rotated[:, self.heads :]
        seen = attend(self.index, query, keys, values, view, scale=self.scale, window=self.window)
        seen = seen.reshape(len(x), -1)
        out = self.out(seen)
        if adapter is not None:
            adapter.add(self.index, "out", seen, out)
        x = x + out
        given = self.mlp_norm(x)
        gate_up = self.gate_up(given)
        if adapter is not None:
            adapter.add(self.index, "gate_up", given, gate_up)
        gate, up = gate_up.chunk(2, -1)
        hidden = silu(gate).mul_(up)
        down = self.down(hidden)
        if adapter is not None:
            adapter.add(self.index, "down", hidden, down)
        return x + down


class FastModel:
    """What a runner calls instead of the model: a pass in, logits out."""

    def __init__(self, model: Any, owned: bool = False) -> None:
        """Reads the weights of `model`, whose layers stay usable, unless it is `owned`: then each
        matrix is let go of once it is packed, and `give_back_weights` undoes that."""
        inner = model.model
        self.layers: int = len(inner.layers)
        self.device: torch.device = inner.embed_tokens.weight.device
        self.embed, self.rotary = inner.embed_tokens, inner.rotary_emb
        self.norm = make_norm(inner.norm)
        pages = MappedPages(p.data_ptr() for p in model.parameters()) if owned else None
        self.head: Linear = fuse([model.lm_head], pages)  # the largest first, while there is room
        self.decoder_layers = [make_layer(x, i, pages) for i, x in enumerate(inner.layers)]

    def __call__(self, batch: PassInput) -> Tensor:
        """As `Forward`."""
        x = batch.replace_embeddings(self.embed(batch.token_ids))
        cos, sin = (t[0, :, None] for t in self.rotary(x[None], batch.positions[None]))
        first, second = sin.chunk(2, -1)
        sin = torch.cat((-first, second), -1)
        for layer in self.decoder_layers:
            x = layer(x, cos, sin, batch.view, batch.adapter)
        return self.head(self.norm(x[batch.logits_indices]))

    def give_back_weights(self, model: Any) -> None:
        """To the layers of a model that was owned, so that they run again."""
        for ours, layer in zip(self.decoder_layers, model.model.layers, strict=True):
            for name, theirs in _linears(layer).items():
                give_back(getattr(ours, name), theirs)
        give_back(self.head, [model.lm_head])


def is_family(model: Any) -> bool:
    """Whether the model's layers are built as `DecoderLayer` computes them."""
    config = model.config
    if config.model_type not in FAMILY or config.hidden_act != "silu":
        return False
    linears = [x for layer in model.model.layers for y in _linears(layer).values() for x in y]
    return all(type(x) is torch.nn.Linear for x in [model.lm_head, *linears])


def _linears(layer: Any) -> dict[str, list[torch.nn.Linear]]:
    """The linear layers of one of transformers' decoder layers that `DecoderLayer` has as one."""
    attention, mlp = layer.self_attn, layer.mlp
    return {
        "qkv": [attention.q_proj, attention.k_proj, attention.v_proj],
        "out": [attention.o_proj],
        "gate_up": [mlp.gate_proj, mlp.up_proj],
        "down": [mlp.down_proj],
    }


def make_layer(layer: Any, index: int, pages: MappedPages | None) -> DecoderLayer:
    """The weights of one of transformers' decoder layers."""
    attention = layer.self_attn
    dim, config = attention.head_dim, attention.config
    window = getattr(attention, "sliding_window", None)
    if config.model_type == "mistral":
        window = config.sliding_window
    normed = hasattr(attention, "q_norm")
    return DecoderLayer(
        index=index,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        dim=dim,
        scale=attention.scaling,
        window=window,
        input_norm=make_norm(layer.input_layernorm),
        query_norm=make_norm(attention.q_norm) if normed else None,
        key_norm=make_norm(attention.k_norm) if normed else None,
        mlp_norm=make_norm(layer.post_attention_layernorm),
        **{name: fuse(linears, pages) for name, linears in _linears(layer).items()},
    )
