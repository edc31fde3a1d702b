"""Loads a base model, adds the markers to its vocabulary, and puts LoRA on it.

Refuses models whose attention cannot be masked by token. Knows no data and no trainer.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor

from pbranch.errors import ModelError
from pbranch.format.markers import MarkerIds, Role, add_markers
from pbranch.hf.base_models import locate
from pbranch.hf.fingerprint import fingerprint
from pbranch.hf.hub import find_branch_config
from pbranch.hf.load_model import (
    four_bit,
    load_config,
    load_model,
    load_tokenizer,
    refusing,
    vocabulary_size,
)
from pbranch.hf.merge_adapter import check_markers
from pbranch.hf.segment_codec import SegmentCodec
from ptrain import compat
from ptrain.config import LoraOptions
from ptrain.model import attention
from ptrain.model.sharding import gathered

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
    """A base with the markers in its vocabulary, and the fingerprint of its files."""

    name: str
    model: Any
    tokenizer: Any
    markers: MarkerIds
    fingerprint: str


@refusing
def load_base(
    name: str,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    quantization: str | None = None,
    trust_remote_code: bool = False,
) -> Base:
    """Model and tokenizer of `name` (as `locate` takes it), with rows for the markers. What
    an earlier run has left, merged or tuned in full, keeps the rows that were trained.

    quantization: nf4 or fp4, for QLoRA; `dtype` is then that of the products. Raises ModelError on
    a missing or unfit model, MarkerError where a marker string is taken.
    """
    path = locate(name)
    config = load_config(path, trust_remote_code)
    tokenizer, markers = load_marked_tokenizer(path, trust_remote_code)
    attention.register()
    model = load_model(
        path,
        dtype,
        trust_remote_code=trust_remote_code,
        attention=attention.dense_name(config),
        **(_in_four_bits(quantization, dtype) if quantization else {}),
    )
    compat.keep_four_bits(model)
    if model._is_stateful:
        raise ModelError(f"model {name}: {config.model_type} keeps a recurrent state, no mask")
    base = Base(name, model, tokenizer, markers, fingerprint(path, config))
    if find_branch_config(path) is None:
        add_marker_rows(base, seed)
    return base


def _in_four_bits(kind: str, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of `load_model`; embedding and head stay in `dtype`."""
    if find_spec("bitsandbytes") is None:
        raise ModelError(
            f"quantization: {kind} needs bitsandbytes, which is not installed; expected "
            "pip install parallel-branches[qlora]"
        )
    return {"quantization": four_bit(kind, dtype), "device_map": {"": PartialState().device}}


def load_marked_tokenizer(path: str, trust_remote_code: bool = False) -> tuple[Any, MarkerIds]:
    """The tokenizer of a base with the six markers added; they are there already in what training
    has left, whose `branch_config.json` has their ids."""
    tokenizer, learned = load_tokenizer(path, trust_remote_code), find_branch_config(path)
    if learned is None:
        return tokenizer, add_markers(tokenizer)
    check_markers(tokenizer, learned, path)
    return tokenizer, learned.ids


def add_marker_rows(base: Base, seed: int) -> None:
    """Give each marker a row in embedding and head: spare rows where the base has enough."""
    model, size = base.model, vocabulary_size(base.tokenizer)
    if size > model.get_input_embeddings().num_embeddings:
        torch.manual_seed(seed)  # the rows between are drawn, by every process the same
        # padded: a vocabulary that is no multiple of 64 is slow, and was seen to diverge (trl#5608)
        model.resize_token_embeddings(size, pad_to_multiple_of=64, mean_resizing=False)
    codec, old = SegmentCodec(base.tokenizer), min(base.markers.as_dict().values())
    matrices = [model.get_input_embeddings().weight]
    if not is_tied(model):
        matrices.append(model.get_output_embeddings().weight)
    for number, matrix in enumerate(matrices):
        generator = torch.Generator().manual_seed(seed + number)
        with gathered([matrix], change=True):
            for role, text in RELATED.items():
                row = _related_row(matrix.detach(), codec.encode(text), old, generator)
                matrix.data[getattr(base.markers, role.value)] = row


def _related_row(matrix: Tensor, ids: list[int], old: int, generator: torch.Generator) -> Tensor:
    """Noise apart, the mean of the rows of `ids`, made as long as rows of the vocabulary are: the
    mean of several is half as long."""
    noise = torch.randn(matrix.shape[1], generator=generator) * NOISE
    rows = matrix[:old].float().cpu()
    row = rows[ids].mean(0) + noise * rows.std(0)
    return (row * (rows.norm(dim=1).mean() / row.norm())).to(matrix)


def is_tied(model: Any) -> bool:
    """Whether the head reads the embedding's own weights."""
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight


def add_lora(base: Base, options: LoraOptions, seed: int = 0) -> Any:
    """The base as a peft model: LoRA, and the marker rows of embedding and (untied) head."""
    from peft import get_peft_model

    from ptrain.model.lora import REFUSALS, lora_config, refusal
    from ptrain.model.lora_targets import check_targets

    compat.patch_token_wrapper()
    compat.patch_token_rows()
    compat.patch_head_gathering()
    torch.manual_seed(seed)
    ids = list(base.markers.as_dict().values())
    tied = is_tied(base.model)
    modules = [base.model.get_input_embeddings(), base.model.get_output_embeddings()]
    names = [_leaf_name(base.model, module) for module in modules[: 1 if tied else 2]]
    config = lora_config(options, dict.fromkeys(names, ids))
    check_targets(base.model, config)
    if base.model.device.type == "meta":
        config.init_lora_weights = True  # others may read weights, and there are none
    # ZeRO-3 gathers small weights of one dtype only; its optimizer keeps float32 copies anyway
    in_parts = any(hasattr(p, "ds_id") for p in base.model.parameters())
    try:
        model = get_peft_model(base.model, config, autocast_adapter_dtype=not in_parts)
    except REFUSALS as e:
        raise refusal(e) from e
    config.base_model_name_or_path = base.name
    return model


def _leaf_name(model: Any, module: Any) -> str:
    return next(name for name, m in model.named_modules() if m is module).rsplit(".", 1)[-1]
