"""Loads a base model, adds the markers to its vocabulary, and puts LoRA on it.

Refuses models whose attention cannot be masked by row. Knows no data and no trainer.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pbranch.bases import load_config, locate
from pbranch.codec import SegmentCodec
from pbranch.config import fingerprint
from pbranch.errors import ModelError
from pbranch.markers import MarkerIds, Role, add_markers
from ptrain import attention, compat
from ptrain.config import LoraOptions

# A marker's row starts as the mean of the rows of text that does a like job in plain writing.
RELATED = {
    Role.FORK: "these parts:",
    Role.TOPIC: "\n- ",
    Role.SPAWN: ":\n\n",
    Role.BRANCH: "\n",
    Role.END: ".\n",
    Role.JOIN: "\nSo all",
}
NOISE = 0.02  # of the embedding's own deviation: rows of like text must not start equal


@dataclass(frozen=True, slots=True)
class Base:
    """A base with the markers in its vocabulary, and its fingerprint from before that."""

    name: str
    model: Any
    tokenizer: Any
    markers: MarkerIds
    fingerprint: str


def load_base(name: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> Base:
    """Model and tokenizer of `name` (a folder, a Hub id, or tiny), ready for branch rows.

    Raises ModelError on a missing or unfit model, MarkerError where a marker string is taken.
    """
    from transformers import AutoModelForCausalLM

    path = locate(name)
    config = load_config(path)
    tokenizer, markers = load_tokenizer(path)
    attention.register()
    chosen = attention.dense_name(config)
    try:
        model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation=chosen)
    except (OSError, ValueError, RuntimeError) as e:
        raise ModelError(f"model {name}: cannot load: {e}") from e
    if model._is_stateful:
        raise ModelError(f"model {name}: {config.model_type} keeps a recurrent state, no mask")
    base = Base(name, model, tokenizer, markers, fingerprint(model))
    add_marker_rows(base, seed)
    return base


def load_tokenizer(path: str) -> tuple[Any, MarkerIds]:
    """The base's tokenizer with the six markers added."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as e:
        raise ModelError(f"model {path}: cannot load its tokenizer: {e}") from e
    return tokenizer, add_markers(tokenizer)


def add_marker_rows(base: Base, seed: int) -> None:
    """Give each marker a row in embedding and head: spare rows where the base has enough."""
    model, size = base.model, len(base.tokenizer)
    if size > model.get_input_embeddings().weight.shape[0]:
        # padded: a vocabulary that is no multiple of 64 is slow, and was seen to diverge (trl#5608)
        model.resize_token_embeddings(size, pad_to_multiple_of=64, mean_resizing=False)
    codec, old = SegmentCodec(base.tokenizer), min(base.markers.as_dict().values())
    matrices = [model.get_input_embeddings().weight]
    if not is_tied(model):
        matrices.append(model.get_output_embeddings().weight)
    for number, matrix in enumerate(matrices):
        generator = torch.Generator().manual_seed(seed + number)
        for role, text in RELATED.items():
            row = _related_row(matrix.detach(), codec.encode(text), old, generator)
            matrix.data[getattr(base.markers, role.value)] = row


def _related_row(matrix: Tensor, ids: list[int], old: int, generator: torch.Generator) -> Tensor:
    noise = torch.randn(matrix.shape[1], generator=generator) * NOISE
    spread = matrix[:old].float().std(0).cpu()
    return (matrix[ids].float().mean(0).cpu() + noise * spread).to(matrix)


def is_tied(model: Any) -> bool:
    """Whether the head reads the embedding's own weights."""
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight


def add_lora(base: Base, options: LoraOptions, seed: int = 0) -> Any:
    """The base as a peft model: LoRA, and the marker rows of embedding and (untied) head."""
    from peft import LoraConfig, get_peft_model

    compat.patch_token_wrapper()
    torch.manual_seed(seed)
    ids = list(base.markers.as_dict().values())
    tied = is_tied(base.model)
    modules = [base.model.get_input_embeddings(), base.model.get_output_embeddings()]
    names = [_leaf_name(base.model, module) for module in modules[: 1 if tied else 2]]
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=options.r,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=options.target_modules,
        use_rslora=options.use_rslora,
        use_dora=options.use_dora,
        trainable_token_indices=dict.fromkeys(names, ids),
    )
    try:
        model = get_peft_model(base.model, config)
    except ValueError as e:  # peft names the target modules that it did not find
        raise ModelError(f"model {base.name}: cannot add LoRA: {e}") from e
    config.base_model_name_or_path = base.name
    return model


def _leaf_name(model: Any, module: Any) -> str:
    return next(name for name, m in model.named_modules() if m is module).rsplit(".", 1)[-1]


def choose_dtype(name: str, device: str) -> torch.dtype:
    """`auto`: bfloat16 on a GPU that has it, else float32."""
    if name == "auto":
        cuda = device != "cpu" and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        name = "bfloat16" if cuda else "float32"
    return getattr(torch, name)
