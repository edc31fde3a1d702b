"""Takes an adapter apart into what other libraries load: a base that knows the markers, and a plain
LoRA for it.

peft stores trained rows of the vocabulary in an adapter, for which the base has to grow first;
vLLM refuses such an adapter. Here the rows are in the base.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pbranch.console import say
from pbranch.errors import AdapterError
from pbranch.files.atomic import atomic_folder
from pbranch.hf.fingerprint import check_base
from pbranch.hf.hub import fetch_adapter
from pbranch.hf.load_model import load_tokenizer, refusing
from pbranch.hf.merge_adapter import check_markers, grow_vocabulary, read_lora_config
from ptrain.artifacts.artifact import ADAPTER, CARD, read_artifact, refuse_link
from ptrain.artifacts.merge import load_base_of
from ptrain.artifacts.run_report import disk_errors
from ptrain.artifacts.stop_tokens import stop_at_turn_end

BASE, LORA = "base", "adapter"  # the folders that are written
ROWS = ".token_adapter.trainable_tokens_delta"
PREFIX = "base_model.model."
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that --max-lora-rank takes


@refusing
def export(
    adapter: str | Path, out: Path, dtype: str = "auto", trust_remote_code: bool = False
) -> Path:
    """Write an adapter as a base with the markers' rows, `out`/base, and a LoRA, `out`/adapter.

    Args:
        adapter: a folder, or an id of the Hub.
        out: the folder to write; it appears when all of it is there.
        dtype: of the base that is written; `auto` is the base's own.
        trust_remote_code: whether Python code that comes with the base may run.

    Returns:
        `out`.

    Raises:
        AdapterError: The adapter is not one of ours, does not fit the base, or `out` is taken.
        ModelError: The base cannot be loaded.
        OSError: `out` cannot be written; nothing of it is left.
    """
    from safetensors.torch import load_file, save_file

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AdapterError(f"{out}: not empty; expected a new folder")
    source = read_artifact(fetch_adapter(str(adapter)))
    if not source.is_adapter:
        raise AdapterError(f"{adapter}: a whole model, which other libraries load as it is")
    cards = [refuse_link(card) for card in source.folder.glob(CARD)]
    base = load_base_of(source.folder, source.config, trust_remote_code)
    tokenizer = load_tokenizer(source.folder, trust_remote_code)
    check_base(base, source.config, source.folder)
    check_markers(tokenizer, source.config, source.folder)
    grow_vocabulary(base, tokenizer)
    config = read_lora_config(source.folder)
    base = base if dtype == "auto" else base.to(getattr(torch, dtype))
    lora = put_rows(base, load_file(source.folder / ADAPTER[1]), config, source.folder)
    config.trainable_token_indices = None
    config.base_model_name_or_path = str(out / BASE)
    stop_at_turn_end(base, tokenizer)
    with disk_errors(out), atomic_folder(out) as part:
        for name in (BASE, LORA):
            (part / name).mkdir()
            tokenizer.save_pretrained(part / name)
        base.save_pretrained(part / BASE)
        save_file(lora, part / LORA / ADAPTER[1], metadata={"format": "pt"})
        config.save_pretrained(str(part / LORA))
        for card in cards:
            shutil.copyfile(card, part / card.name)
    if limits := find_vllm_limits(config, lora):
        say(f"peft loads {out / LORA}, vLLM does not: {'; '.join(limits)}")
    return out


def put_rows(base: Any, tensors: dict[str, Tensor], config: Any, folder: Path) -> dict[str, Tensor]:
    """Put the trained rows of an adapter into the vocabulary of `base`; returns its other weights.

    Raises AdapterError where a weight is of no module of the base."""
    known = {name for name, _ in base.named_modules()}
    vocabulary = {base.get_input_embeddings(), base.get_output_embeddings()}
    lora = {}
    for name, tensor in tensors.items():
        module = name.removeprefix(PREFIX).removesuffix(ROWS).removesuffix(".weight")
        if name.endswith(ROWS):
            ids = (config.trainable_token_indices or {}).get(module.rsplit(".", 1)[-1])
            if module not in known or ids is None or len(ids) != len(tensor):
                raise AdapterError(f"{folder}: does not fit the base: {name}")
            matrix = base.get_submodule(module).weight
            matrix.data[torch.tensor(ids)] = tensor.to(matrix)
        elif module not in known or base.get_submodule(module) not in vocabulary:
            lora[name] = tensor  # peft may have stored the vocabulary as well, which the base has
    return lora


def find_vllm_limits(config: Any, lora: dict[str, Tensor]) -> list[str]:
    """Why vLLM could not load an adapter, or would load it with another scale; empty where it can.

    By its source (vllm/lora/peft_helper.py, utils.py, lora_weights.py), not by a run of it.
    """
    ends = (".lora_A.weight", ".lora_B.weight")
    foreign = sorted(name for name in lora if not name.endswith(ends))
    limits = {
        "lora.use_dora": config.use_dora,
        "modules_to_save": config.modules_to_save,
        "rank_pattern, where it takes one scale for all": config.rank_pattern,
        "alpha_pattern, where it takes one scale for all": config.alpha_pattern,
        f"the weight {foreign[0] if foreign else ''}": foreign,
        f"a rank above {VLLM_RANKS[-1]}": config.r > VLLM_RANKS[-1],
    }
    return [what for what, found in limits.items() if found]
