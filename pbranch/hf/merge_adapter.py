"""Merges an adapter into the weights of its base; the one place that does, for decoding and for
`ptrain merge`. Loads no base and writes no file.
"""

import warnings
from pathlib import Path
from typing import Any

from pbranch.errors import AdapterError
from pbranch.format.branch_config import FILE_NAME, BranchConfig
from pbranch.format.markers import find_markers
from pbranch.hf.fingerprint import check_base
from pbranch.hf.load_model import describe_misfits, vocabulary_size

SEED = 0  # of rows that a vocabulary grows by and nothing was trained in: alike at every merge


def merge_adapter(base: Any, tokenizer: Any, folder: Path, config: BranchConfig, dtype: Any) -> Any:
    """The base, changed in place, with the adapter in `folder` merged into its weights.

    A vocabulary that is smaller than the tokenizer's grows, as it did in training.

    Args:
        base: a causal LM as `load_model` gives it.
        tokenizer: the adapter's, which has the markers.
        config: the adapter's branch config.
        dtype: of the merged weights, a torch.dtype. The sum is computed in the wider of this and
            the base's own, and rounded once.

    Raises:
        AdapterError: The adapter is of another base, or its weights or marker ids do not fit.
        MarkerError: The tokenizer lacks a marker.
    """
    import torch

    check_base(base, config, folder)
    check_markers(tokenizer, config, folder)
    own = base.dtype
    grow_vocabulary(base, tokenizer)
    wide = torch.promote_types(own, dtype)
    merged = _merge(base if wide == own else base.to(wide), folder)
    return merged if wide == dtype else merged.to(dtype)


def grow_vocabulary(base: Any, tokenizer: Any) -> None:
    """Give the base the rows that the tokenizer has and it lacks, as in training."""
    import torch

    size = vocabulary_size(tokenizer)
    if size > base.get_input_embeddings().weight.shape[0]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            base.resize_token_embeddings(size, pad_to_multiple_of=64, mean_resizing=False)


def check_markers(tokenizer: Any, config: BranchConfig, folder: str | Path) -> None:
    """Raise AdapterError where the tokenizer's marker ids are not those of the branch config,
    MarkerError where it lacks one."""
    if find_markers(tokenizer).as_dict() != config.marker_ids:
        raise AdapterError(f"{folder}: the tokenizer's marker ids differ from {FILE_NAME}")


def _merge(base: Any, folder: Path) -> Any:
    from peft import PeftModel
    from safetensors import SafetensorError

    own = {f"base_model.model.{name}" for name in base.state_dict()}
    try:
        with warnings.catch_warnings():  # of missing weights, which are refused below
            warnings.filterwarnings("ignore", message="Found missing adapter keys")
            model = PeftModel.from_pretrained(base, str(folder))
        _refuse_misfits(model, folder, own)
        return model.merge_and_unload()
    except AdapterError:
        raise
    except (ValueError, RuntimeError, KeyError, OSError, SafetensorError) as e:
        said = " ".join(str(e).split())[:200] or type(e).__name__
        missing = " is missing" if isinstance(e, KeyError) else ""
        raise AdapterError(f"{folder}: does not fit the base: {said}{missing}") from e


def _refuse_misfits(model: Any, folder: Path, own: set[str]) -> None:
    """AdapterError unless the folder has all weights of the adapter and no others; `own`: those of
    the base, of which peft may have stored some as well."""
    from peft import get_peft_model_state_dict
    from peft.utils import load_peft_weights

    expected = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    stored = set(load_peft_weights(str(folder), device="cpu"))
    if misfits := describe_misfits(expected - stored, stored - expected - own):
        raise AdapterError(f"{folder}: does not fit the base: of its weights, {misfits}")
