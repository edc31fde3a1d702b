"""Merges an adapter into its base: a plain model folder, with the markers in its vocabulary."""

from pathlib import Path
from typing import Any

import torch

from pbranch.config import fingerprint, load_branch_config
from pbranch.errors import AdapterError, ModelError
from ptrain.model import locate


def merge(adapter: Path, out: Path) -> Path:
    """Write base + adapter to `out`, in the base's own dtype.

    Raises AdapterError where the adapter is not one of ours or the base is another model.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = load_branch_config(adapter)
    try:
        path = locate(config.base_model)
        model: Any = AutoModelForCausalLM.from_pretrained(path, dtype="auto")
    except (OSError, ValueError) as e:
        raise ModelError(f"model {config.base_model}: cannot load: {e}") from e
    if fingerprint(model) != config.base_fingerprint:
        raise AdapterError(
            f"{adapter}: trained on another {config.base_model} (fingerprint "
            f"{config.base_fingerprint}), found {fingerprint(model)}"
        )
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=64, mean_resizing=False)
    dtype = model.dtype
    # added in float32: in bfloat16 the sum would be rounded twice
    merged = PeftModel.from_pretrained(model.to(torch.float32), adapter).merge_and_unload()
    merged.to(dtype).save_pretrained(out)
    tokenizer.save_pretrained(out)
    config.save(out)
    return out
