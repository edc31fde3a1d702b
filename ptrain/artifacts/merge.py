"""Merges an adapter into its base: a plain model folder, with the markers in its vocabulary.

The folder is written whole: made next to its place, and renamed when all of it is there.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from pbranch.errors import AdapterError
from pbranch.files.atomic import atomic_folder
from pbranch.files.file_identity import refuse_overwriting
from pbranch.format.branch_config import FILE_NAME as BRANCH_CONFIG
from pbranch.format.branch_config import BranchConfig
from pbranch.hf.base_models import locate
from pbranch.hf.hub import fetch_adapter
from pbranch.hf.load_model import four_bit, load_model, load_tokenizer, refusing
from pbranch.hf.merge_adapter import merge_adapter
from ptrain.artifacts.artifact import RECIPE, REPORT, matches, read_artifact
from ptrain.artifacts.model_card import write_card
from ptrain.artifacts.run_report import disk_errors
from ptrain.artifacts.stop_tokens import stop_at_turn_end


@refusing
def merge(
    adapter: str | Path,
    out: Path,
    force: bool = False,
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> Path:
    """Write an adapter merged into its base as a plain model folder.

    Args:
        adapter: a folder, or an id of the Hub.
        out: the folder to write; it appears when all of it is there.
        force: replace what an earlier merge left in `out`.
        dtype: of the weights written; `auto` is the base's own. The sum is computed in the wider of
            the two, so float32 weights are exact and others rounded once.
        trust_remote_code: whether Python code that comes with the base may run.

    Returns:
        `out`.

    Raises:
        AdapterError: The adapter is not one of ours, does not fit the base, or `out` holds
            something else.
        DataError: `out` is the adapter or its base.
        ModelError: The base cannot be loaded.
        OSError: `out` cannot be written; nothing of it is left.
    """
    refuse_target(out, force)
    source = read_artifact(fetch_adapter(str(adapter)))
    if not source.is_adapter:
        raise AdapterError(f"{adapter}: a whole model, nothing to merge; expected an adapter")
    refuse_overwriting([out], [source.folder, locate(source.config.base_model)])
    base = load_base_of(source.folder, source.config, trust_remote_code)
    tokenizer = load_tokenizer(source.folder, trust_remote_code)
    written = base.dtype if dtype == "auto" else getattr(torch, dtype)
    model = merge_adapter(base, tokenizer, source.folder, source.config, written)
    stop_at_turn_end(model, tokenizer)
    with disk_errors(out), atomic_folder(out) as part:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        source.config.save(part)
        for name in (RECIPE, REPORT):
            if (source.folder / name).is_file():
                shutil.copyfile(source.folder / name, part / name)
        write_card(part, str(out))
    return out


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
    if held and BRANCH_CONFIG not in held:
        raise AdapterError(f"{out}: holds a model that no merge has written (no {BRANCH_CONFIG})")


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
