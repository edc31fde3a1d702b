"""Merges an adapter into its base: a plain model folder, with the markers in its vocabulary.

The folder is written whole: made beside its place, and renamed when all of it is there.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from pbranch.errors import AdapterError
from pbranch.format.branch_config import BranchConfig, fingerprint
from pbranch.hf.base_models import locate
from pbranch.hf.hub import fetch_adapter
from pbranch.hf.load_model import four_bit, load_model, load_tokenizer
from ptrain.artifacts.artifact import RECIPE, REPORT, Artefact, matches, read_artefact
from ptrain.artifacts.model_card import write_card


def merge(
    adapter: str | Path,
    out: Path,
    force: bool = False,
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> Path:
    """Write base + `adapter` (a folder or a Hub id) to `out`.

    force: replace what an earlier merge left in `out`. dtype: of the weights written; auto is the
    base's own. The sum is computed in float32, so float32 weights are exact and others rounded
    once. Raises AdapterError where the adapter is not one of ours or the base is another model.
    """
    refuse_target(out, force)
    source = read_artefact(fetch_adapter(str(adapter)))
    if not source.is_adapter:
        raise AdapterError(f"{adapter}: a whole model, nothing to merge; expected an adapter")
    model, tokenizer, own = merge_weights(source, trust_remote_code)
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)  # of a merge that was interrupted
    part.mkdir(parents=True)
    model.to(own if dtype == "auto" else getattr(torch, dtype)).save_pretrained(part)
    tokenizer.save_pretrained(part)
    source.config.save(part)
    for name in (RECIPE, REPORT):
        if (source.folder / name).is_file():
            shutil.copyfile(source.folder / name, part / name)
    write_card(part, str(out))
    if out.exists():
        shutil.rmtree(out)
    return part.rename(out)


def refuse_target(out: Path, force: bool) -> None:
    """AdapterError where `out` holds something that may not be replaced."""
    held = sorted(p.name for p in out.iterdir()) if out.is_dir() else []
    if out.exists() and not out.is_dir():
        raise AdapterError(f"{out}: is a file; expected a new folder")
    if held and not force:
        raise AdapterError(f"{out}: not empty ({held[0]}, …); expected a new folder, or --force")
    foreign = [n for n in held if not matches(n) or n.startswith("adapter_")]
    if foreign:
        raise AdapterError(
            f"{out}: holds {foreign[0]}, which no merge has written; --force replaces merged "
            "models only"
        )


def merge_weights(
    source: Artefact, trust_remote_code: bool = False
) -> tuple[Any, Any, torch.dtype]:
    """The merged model in float32, its tokenizer, and the dtype of the base."""
    from peft import PeftModel

    folder, config = source.folder, source.config
    model = load_base_of(folder, config, trust_remote_code)
    found = fingerprint(model)
    if found != config.base_fingerprint:
        raise AdapterError(
            f"{folder}: trained on another {config.base_model} (fingerprint "
            f"{config.base_fingerprint}), found {found}"
        )
    tokenizer = load_tokenizer(folder, trust_remote_code)
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # rows that nothing was trained in: the same at every merge
            model.resize_token_embeddings(
                len(tokenizer), pad_to_multiple_of=64, mean_resizing=False
            )
    dtype = model.dtype
    try:
        # added in float32: in bfloat16 the sum would be rounded twice
        merged = PeftModel.from_pretrained(model.to(torch.float32), folder).merge_and_unload()
    except (ValueError, RuntimeError, KeyError, OSError, SafetensorError) as e:
        raise AdapterError(f"{folder}: does not fit the base: {e}") from e
    return merged, tokenizer, dtype


def load_base_of(folder: Path, config: BranchConfig, trust_remote_code: bool = False) -> Any:
    """The base, in its own dtype; rounded to 4 bit and spread out again where the adapter in
    `folder` was trained on it so. Raises ModelError, or AdapterError without bitsandbytes."""
    kind = config.quantization
    if kind is not None and find_spec("bitsandbytes") is None:
        raise AdapterError(
            f"{folder}: trained on a base in 4 bit ({kind}), and merging needs the same "
            "rounding: install bitsandbytes"
        )
    rounding = four_bit(kind, torch.float32) if kind is not None else None
    path = locate(config.base_model)
    model = load_model(path, "auto", trust_remote_code=trust_remote_code, quantization=rounding)
    return model.dequantize() if kind is not None else model
