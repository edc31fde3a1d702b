"""The one merge of an adapter: rounded once, and refused where weights are missing or foreign."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from pbranch.errors import AdapterError
from pbranch.format.branch_config import load_branch_config
from pbranch.hf.load_model import load_model, load_tokenizer
from pbranch.hf.merge_adapter import merge_adapter
from tests.support.checkpoints import copy_folder, save_adapter, save_base

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module", params=["qwen3", "llama"])
def pair(request: Any, tmp_path_factory: Any, byte_tokenizer: Any) -> tuple[Path, Path]:
    """A base with a tied head, or one of its own, and its adapter."""
    folder = tmp_path_factory.mktemp(request.param)
    base = save_base(folder / "base", byte_tokenizer, request.param)
    return base, save_adapter(folder / "adapter", base)


def merge(base: Path, folder: Path, dtype: torch.dtype, stored: Any = torch.float32) -> Any:
    model, tokenizer = load_model(str(base), stored), load_tokenizer(folder)
    return merge_adapter(model, tokenizer, folder, load_branch_config(folder), dtype)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_sum_is_rounded_once(pair: tuple[Path, Path], dtype: Any, stored: Any) -> None:
    exact = PeftModel.from_pretrained(load_model(str(pair[0]), stored).float(), str(pair[1]))
    exact = exact.merge_and_unload().state_dict()
    merged = merge(*pair, dtype, stored).state_dict()
    assert merged.keys() == exact.keys()
    for name, tensor in merged.items():
        assert tensor.dtype == dtype and torch.equal(tensor, exact[name].to(dtype)), name


LAST = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"
FIRST = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(LAST), f"of its weights, 1 missing ({LAST})"),
        (lambda t: t.pop(FIRST), f"'{FIRST}' is missing"),
        (lambda t: t.update({"x": t[LAST].clone()}), "of its weights, 1 not in the model (x)"),
        (lambda t: t.update({LAST: t[LAST][:, :2].contiguous()}), "size mismatch for " + LAST[:40]),
    ],
    ids=["LoRA", "rows", "foreign", "rank"],
)
def test_weights_that_do_not_fit_are_named(
    pair: tuple[Path, Path], change: Any, message: str, tmp_path: Path
) -> None:
    folder = copy_folder(pair[1], tmp_path / "adapter")
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(AdapterError) as caught:
        merge(pair[0], folder, torch.float32)
    assert str(caught.value).startswith(f"{folder}: does not fit the base: ")
    assert message in str(caught.value) and "\n" not in str(caught.value)


CONFIG = "adapter_config.json"


@pytest.mark.parametrize(
    "changes",
    [
        {"megatron_config": {"a": 1}}, {"megatron_core": "this"}, {"layer_replication": [[0, 9]]},
        {"peft_type": "XLORA"}, {"peft_type": None}, {"r": 10**9}, {"r": 0}, {"r": "4"},
        {"r": True}, {"rank_pattern": {"up_proj": 10**9}}, {"alpha_pattern": {"up_proj": "x"}},
        {"lora_alpha": float("nan")}, {"lora_alpha": "x"}, {"init_lora_weights": "pissa"},
        {"init_lora_weights": "loftq"}, {"loftq_config": {"a": 1}}, {"use_dora": 1},
        {"target_modules": 7}, {"target_modules": "([a-z_.]+)+!"}, {"exclude_modules": "("},
        {"trainable_token_indices": [-1]}, {"trainable_token_indices": {"embed_tokens": "x"}},
        {"task_type": "SEQ_CLS"}, {"bias": "some"}, {"layers_to_transform": 10**30},
    ],
    ids=str,
)  # fmt: skip
def test_a_configuration_that_no_run_leaves_is_one_line(
    pair: tuple[Path, Path], changes: dict[str, Any], tmp_path: Path
) -> None:
    if pair[0].parent.name.startswith("llama"):
        pytest.skip("alike for both")
    folder = copy_folder(pair[1], tmp_path / "adapter")
    stored = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(stored | changes))
    with pytest.raises(AdapterError) as caught:
        merge(pair[0], folder, torch.float32)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_a_base_that_peft_has_stored_as_well_is_no_stranger(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """peft adds the embedding to an adapter where the vocabulary was resized."""
    name = "base_model.model.model.embed_tokens.weight"
    folder = copy_folder(pair[1], tmp_path / "adapter")
    tensors = load_file(folder / WEIGHTS)
    base = load_model(str(pair[0]), torch.float32)
    tensors[name] = base.get_input_embeddings().weight.data.clone()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    merged, plain = merge(pair[0], folder, torch.float32), merge(*pair, torch.float32)
    for key, tensor in plain.state_dict().items():
        assert torch.equal(tensor, merged.state_dict()[key])
