"""Loads a base and its adapter, and refuses what cannot be decoded branch by branch.

By folder, Hub id, GGUF file or name. The adapter is merged into the weights; its tokenizer and its
`branch_config.json` come with it.
"""

import logging
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pbranch.errors import AdapterError, RequestError
from pbranch.files.run_facts import digest
from pbranch.format.branch_config import FILE_NAME as BRANCH_CONFIG
from pbranch.format.branch_config import BranchConfig, load_branch_config
from pbranch.format.layout import LayoutOptions
from pbranch.hf.base_models import SHIPPED, default_adapter, locate, shipped
from pbranch.hf.fingerprint import fingerprint
from pbranch.hf.hub import fetch_adapter, find_branch_config
from pbranch.hf.load_model import (
    context_length,
    four_bit,
    load_config,
    load_model,
    load_tokenizer,
    refusing,
)
from pbranch.hf.merge_adapter import check_markers, merge_adapter
from pbranch.hf.prompt import turn_end_id
from pinfer.model_spec import ModelSpec
from pinfer.sampling.generation_config import read_sampling

UNBOUNDED = 1 << 30  # context of a model that names none
DTYPES = ("float32", "bfloat16", "float16", "float64")
log = logging.getLogger("pinfer")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to be driven, its tokenizer, and what it brings to decoding."""

    model: Any
    tokenizer: Any
    spec: ModelSpec
    branch_config: BranchConfig | None = None
    adapter: Path | None = None  # the folder of what was merged into the model
    path: str = ""  # of the base: a folder or a Hub id


@refusing
def load(
    model: str | None = None,
    adapter: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
) -> Loaded:
    """Load what the names lead to; see `Engine.from_pretrained`. dtype: float32 on a CPU, bfloat16
    on a GPU by default. trust_remote_code: whether Python code that comes with the model may run.
    Raises ModelError or AdapterError with what does not fit."""
    import torch

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or ("float32" if device == "cpu" else "bfloat16")
    if dtype not in DTYPES:
        raise RequestError(f"dtype {dtype!r}: expected {', '.join(DTYPES)}")
    if device.split(":")[0] not in ("cpu", "cuda"):
        raise RequestError(f"device {device!r}: expected cpu or cuda")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise RequestError(f"device {device!r}: no CUDA device here; use cpu")
    if model is None and adapter is None:
        model, adapter = SHIPPED, str(shipped("adapter"))
        log.warning("no --model given: using the shipped tiny model and adapter")
    elif adapter is None and (own := default_adapter(model)) is not None:
        adapter = str(own)
        log.warning("no --adapter given: using the shipped adapter of %s", model)
    folder = fetch_adapter(adapter) if adapter not in (None, "none") else None
    config = load_branch_config(folder) if folder else None
    if model is None:
        model = config.base_model if config else SHIPPED
    model = locate(model)
    quantization = config.quantization if config else None
    if adapter is None:
        config = find_branch_config(model)
    weights = getattr(torch, dtype)
    if quantization and folder is not None:
        _check_rounding(quantization, folder, device)
        base = load_rounded(model, weights, quantization, device, trust_remote_code)
    else:
        base = load_model(model, weights, trust_remote_code=trust_remote_code)
    tokenizer = load_tokenizer(folder or model, trust_remote_code)
    if folder is not None and config is not None:
        base = merge_adapter(base, tokenizer, folder, config, weights)
    elif config is not None:
        check_markers(tokenizer, config, model)
    spec = make_spec(base, tokenizer, config)
    return Loaded(base.to(device).eval(), tokenizer, spec, config, folder, model)


def identify_weights(path: str, adapter: Path | None, trust_remote_code: bool = False) -> str:
    """The same for equal weights of a base and an adapter, wherever these lie: see `fingerprint`
    of the base, which looks at some of its weights, and a hash of all of the adapter's."""
    base = fingerprint(path, load_config(path, trust_remote_code))
    return f"{base} {digest(adapter / 'adapter_model.safetensors') if adapter else None}"


def load_rounded(model: str, dtype: Any, kind: str, device: str, trust_remote_code: bool) -> Any:
    """A base rounded to 4 bit, as an adapter saw it in training, then spread out again so that the
    adapter can be merged exactly. Not run on a GPU yet."""
    base = load_model(
        model,
        dtype,
        trust_remote_code=trust_remote_code,
        quantization=four_bit(kind, dtype),
        device_map=device,
    )
    return base.dequantize()


def _check_rounding(kind: str, folder: Path, device: str) -> None:
    if not device.startswith("cuda") or find_spec("bitsandbytes") is None:
        raise AdapterError(
            f"{folder}: trained on a base in 4 bit ({kind}), which needs bitsandbytes and a CUDA "
            "device; install them, or merge it first by `ptrain merge`, which needs bitsandbytes "
            f"alone, or set quantization to null in its {BRANCH_CONFIG} to merge it into the "
            "unrounded base, which changes its answers a little"
        )


def make_spec(model: Any, tokenizer: Any, config: BranchConfig | None) -> ModelSpec:
    """Markers, end-of-text ids, context and sampling of a loaded model."""
    return ModelSpec(
        markers=config.ids if config else None,
        end_of_text=find_ends(model.generation_config, tokenizer),
        context=context_length(model.config) or UNBOUNDED,
        layout=config.layout_options if config else LayoutOptions(),
        branch_tokens=config.branch_tokens if config else None,
        sampling=read_sampling(model.generation_config),
    )


def find_ends(generation_config: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a text: the EOS of the model's files, and what ends a turn. A chat
    template that does not tell is no reason to refuse a model: text is answered without it too."""
    ends = getattr(generation_config, "eos_token_id", None)
    ends = set(ends if isinstance(ends, list) else [ends] if ends is not None else ())
    try:
        ends.add(turn_end_id(tokenizer))
    except RequestError as e:
        if tokenizer.eos_token_id is not None:
            ends.add(tokenizer.eos_token_id)
        known = "only EOS ends a text" if ends else "nothing ends a text but max_new_tokens"
        log.warning("%s; %s", e, known)
    return frozenset(ends)
