"""The recipe of the tiny base: what `recipes/tiny_base.yaml` may say, and the defaults."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class ModelSection:
    """Shape of a Qwen3 decoder; `vocab` counts the tokenizer's entries."""

    hidden: int = 192
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 48
    ffn: int = 704
    vocab: int = 832
    reserved_tokens: int = 16  # rows beyond `vocab` at least, for tokens that are added later
    context: int = 4096
    rope_theta: float = 10_000.0
    qk_norm_init: float = 1.5  # initial weight of the query and key norms
    embedding_init_std: float = 0.1


@dataclass(frozen=True, slots=True)
class TrainSection:
    """Sizes in tokens, intervals in steps; `dtype` is that of autocast, weights are float32."""

    steps: int = 4000
    first_steps: int = 0  # of them on `first_data`
    batch_tokens: int = 4096
    micro_batches: int = 4  # of a step; the documents of one are of like length
    max_length: int = 1024  # documents that are longer are left out
    length_warmup_steps: int = 600  # over which documents grow to `max_length`
    lr: float = 4e-3  # of Muon, for the matrices of the layers
    residual_lr_scale: float = 0.25  # of `lr`, for matrices that write to the residual stream
    embedding_lr: float = 2e-3  # of AdamW, for the embedding and the norms
    warmup: int = 100
    lr_decay_steps: int = 600  # the last ones, over which the learning rate falls to zero
    weight_decay: float = 0.1
    betas: tuple[float, ...] = (0.9, 0.95)
    max_grad_norm: float = 1.0
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    save_every: int = 200
    log_every: int = 50


@dataclass(frozen=True, slots=True)
class PretrainRecipe:
    """`data`, and `first_data` of the first `train.first_steps`: glob patterns of trace records;
    `tokenizer_traces`: how many of the first ones train the BPE; `start`: folder of a base whose
    tokenizer and weights the first step has, in place of new ones; `instruction`: what asks this
    model for the marks of `--dialect paper`, for its generation_config.json."""

    data: tuple[str, ...]
    out: str = "runs/tiny_base"
    tokenizer_traces: int = 20_000
    model: ModelSection = field(default_factory=ModelSection)
    train: TrainSection = field(default_factory=TrainSection)
    first_data: tuple[str, ...] = ()
    start: str = ""
    instruction: str = ""
