"""Writes tiny bases, adapters and merged models to disk, as `ptrain` leaves them."""

import shutil
from pathlib import Path
from typing import Any

import torch

from pbranch.format.branch_config import BranchConfig
from pbranch.format.markers import add_markers
from pbranch.hf.fingerprint import fingerprint
from pbranch.hf.merge_adapter import grow_vocabulary
from tests.conftest import build_model

ROWS = 448  # of the vocabulary: the byte-level tokenizer of conftest, the markers, some to spare


def save_base(folder: Path, tokenizer: Any, kind: str = "qwen3", **config: Any) -> Path:
    """A random base and its tokenizer, without markers."""
    model = build_model(kind, tokenizer, vocab_size=ROWS, **config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_adapter(folder: Path, base: Path, **changes: Any) -> Path:
    """A LoRA with random weights and rows of its own for the markers; `changes`: to its
    branch config. Its markers score high, so that random weights fork."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    markers = add_markers(tokenizer)
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    found = fingerprint(str(base), model.config)
    grow_vocabulary(model, tokenizer)  # a real one has no rows to spare
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    ids = list(markers.as_dict().values())
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=4,
        target_modules="all-linear",
        trainable_token_indices=dict.fromkeys(("embed_tokens", "lm_head")[: 1 if tied else 2], ids),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        peft_model = get_peft_model(model, config)
        for name, weight in peft_model.named_parameters():
            if weight.requires_grad:
                scale = 0.6 if "token" in name else 0.1
                weight.data = torch.randn(weight.shape) * scale
    peft_model.save_pretrained(folder, save_embedding_layers=False)
    tokenizer.save_pretrained(folder)
    known: dict[str, Any] = {
        "marker_ids": markers.as_dict(),
        "base_model": str(base),
        "base_fingerprint": found,
    }
    BranchConfig(**{**known, **changes}).save(folder)
    return folder


def merge(folder: Path, base: Path, adapter: Path) -> Path:
    """Base and adapter as one plain model with its branch config."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pbranch.format.branch_config import load_branch_config

    model = AutoModelForCausalLM.from_pretrained(base)
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    merged.save_pretrained(folder)
    AutoTokenizer.from_pretrained(adapter).save_pretrained(folder)
    load_branch_config(adapter).save(folder)
    return folder


def copy_folder(source: Path, to: Path) -> Path:
    """A copy to be spoiled."""
    return Path(shutil.copytree(source, to))


def short(*args: Any) -> list[Any]:
    """Options for a short answer on the CPU."""
    return ["--max-new-tokens", "30", "--device", "cpu", *args]
