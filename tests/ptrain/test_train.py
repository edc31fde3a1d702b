"""Whole runs on tiny random models: what is saved, what has learned, merging and resuming."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pbranch.errors import AdapterError, RecipeError
from pbranch.files.recipe import dump_recipe, load_recipe
from pbranch.format.branch_config import load_branch_config
from ptrain.artifacts.artifact import ADAPTER
from ptrain.artifacts.merge import merge
from ptrain.artifacts.run_report import disk_errors
from ptrain.config import LoraOptions, Recipe, TrainOptions
from ptrain.model.base import load_base
from ptrain.train import train
from tests.ptrain.conftest import make_base


def recipe(model: Path, data: Path, out: Path, **options) -> Recipe:
    options = {
        "steps": 8,
        "batch_rows": 4,
        "lr": 1e-2,
        "logging_steps": 1,
        "device": "cpu",
    } | options
    return Recipe(
        data=str(data), model=str(model), out=str(out), eval_share=0.1,
        lora=LoraOptions(r=4, alpha=8), train=TrainOptions(**options),
    )  # fmt: skip


@pytest.fixture(scope="module")
def adapters(bases, data, tmp_path_factory):
    """An adapter of a tied, an untied and a resized base."""
    root = tmp_path_factory.mktemp("adapters")
    return {f: train(recipe(bases[f], data, root / f)) for f in ("qwen3", "llama", "wide")}


@pytest.mark.parametrize("family", ["qwen3", "llama", "wide"])
def test_only_lora_and_marker_rows_are_saved(adapters, bases, family):
    for folder in (adapters[family], adapters[family] / "checkpoint-8"):
        tensors = load_file(folder / "adapter_model.safetensors")
        rows = {k: v for k, v in tensors.items() if "lora_" not in k}
        names = {k.removeprefix("base_model.model.") for k in rows}
        embedding = "model.embed_tokens.token_adapter.trainable_tokens_delta"
        head = "lm_head.token_adapter.trainable_tokens_delta"
        assert names == ({embedding} if family == "qwen3" else {embedding, head})
        assert all(v.shape == (6, 32) for v in rows.values())
        assert all(4 in v.shape for k, v in tensors.items() if "lora_" in k)
    started = load_base(str(bases[family])).model
    markers = list(load_branch_config(adapters[family]).marker_ids.values())
    for key, row in rows.items():  # every one of the rows has learned
        module = (
            started.get_output_embeddings() if "lm_head" in key else started.get_input_embeddings()
        )
        moved = (row - module.weight[markers].detach()).abs().amax(-1)
        learned = moved > 1e-4
        assert learned.all() if "lm_head" in key else learned.sum() >= 5


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_an_adapter_in_bfloat16_holds_the_same_numbers_rounded(
    adapters, bases, data, tmp_path, family
):
    asked = recipe(bases[family], data, tmp_path / "out")
    asked = replace(asked, lora=replace(asked.lora, save_dtype="bfloat16"))
    folder = train(asked)
    whole, rounded = (load_file(f / ADAPTER[1]) for f in (adapters[family], folder))
    assert rounded.keys() == whole.keys()
    assert all(torch.equal(v, whole[k].bfloat16()) for k, v in rounded.items())
    checkpoint = load_file(folder / "checkpoint-8" / ADAPTER[1])
    assert all(torch.equal(v, whole[k]) for k, v in checkpoint.items())  # training goes on from it
    merged = AutoModelForCausalLM.from_pretrained(merge(folder, tmp_path / "merged"))
    near = AutoModelForCausalLM.from_pretrained(merge(adapters[family], tmp_path / "whole"))
    for one, other in zip(merged.parameters(), near.parameters(), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("family", ["qwen3", "llama", "wide"])
def test_an_adapter_folder_is_whole(adapters, bases, family):
    folder = adapters[family]
    config = load_branch_config(folder)
    assert config.base_model == str(bases[family])
    assert config.base_fingerprint == load_base(str(bases[family])).fingerprint
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template and len(tokenizer) > max(config.marker_ids.values())
    stored = json.loads((folder / "adapter_config.json").read_text())
    assert stored["base_model_name_or_path"] == str(bases[family])
    report = json.loads((folder / "train_report.json").read_text())
    assert report["steps"] == 8 and report["loss_first"] > report["loss_last"] > 0
    assert {"seconds", "trainable_params", "eval_loss", "eval_loss_body"} <= set(report)
    assert 0 < report["fill"] < 1 and 0 < report["tokens"] < report["tokens_one_row_per_branch"]
    again = load_recipe(Recipe, folder / "recipe.yaml")
    assert dump_recipe(again) == (folder / "recipe.yaml").read_text()
    assert "pinfer generate" in (folder / "README.md").read_text()


@pytest.mark.parametrize("family", ["qwen3", "llama", "wide"])
def test_merging_is_exact(adapters, bases, tmp_path, family):
    from peft import PeftModel

    folder = merge(adapters[family], tmp_path / "merged")
    base = load_base(str(bases[family]))
    model = PeftModel.from_pretrained(base.model, adapters[family]).eval()
    merged = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([[5, 9, *base.markers.as_dict().values(), 7, 20]])
    with torch.no_grad():
        expected, found = model(input_ids=ids).logits, merged(input_ids=ids).logits
    known = len(base.tokenizer)  # rows beyond, padding, are random in a resized base
    assert torch.allclose(expected[..., :known], found[..., :known], rtol=1e-5, atol=1e-5)
    assert load_branch_config(folder) == load_branch_config(adapters[family])


def test_merging_into_another_base_is_refused(adapters, tmp_path):
    folder = shutil.copytree(adapters["qwen3"], tmp_path / "adapter")
    other = make_base(tmp_path / "other", "qwen2")
    config = json.loads((folder / "branch_config.json").read_text())
    (folder / "branch_config.json").write_text(json.dumps(config | {"base_model": str(other)}))
    with pytest.raises(AdapterError, match="fingerprint"):
        merge(folder, tmp_path / "merged")


def test_resuming_gives_the_weights_of_an_undisturbed_run(adapters, bases, data, tmp_path):
    whole = recipe(bases["qwen3"], data, tmp_path / "run", save_steps=4)
    train(whole)
    through = load_file(tmp_path / "run" / "adapter_model.safetensors")
    shutil.rmtree(tmp_path / "run" / "checkpoint-8")
    (tmp_path / "run" / "adapter_model.safetensors").unlink()
    train(whole)
    resumed = load_file(tmp_path / "run" / "adapter_model.safetensors")
    once = load_file(adapters["qwen3"] / "adapter_model.safetensors")
    for key, value in through.items():
        assert torch.allclose(resumed[key], value, rtol=0, atol=1e-7)
        assert torch.allclose(once[key], value, rtol=0, atol=1e-7)
    other = recipe(bases["qwen3"], data, tmp_path / "run", save_steps=4, lr=1e-3)
    with pytest.raises(RecipeError, match=r"train\.lr was 0\.01, is 0\.001"):
        train(other)


def test_accumulation_and_packing_change_no_weights(adapters, bases, data, tmp_path):
    train(recipe(bases["qwen3"], data, tmp_path / "micro", micro_rows=1))
    once = load_file(adapters["qwen3"] / "adapter_model.safetensors")
    parts = load_file(tmp_path / "micro" / "adapter_model.safetensors")
    for key, value in once.items():  # Adam's first steps turn rounding into whole steps of lr
        assert torch.allclose(parts[key], value, rtol=0, atol=2e-3)
        assert (parts[key] - value).abs().mean() < 1e-4
    folder = train(recipe(bases["qwen3"], data, tmp_path / "packed", packing=True, max_length=512))
    assert json.loads((folder / "train_report.json").read_text())["loss_last"] > 0


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (SafetensorError("I/O error: no space left\nmore"), OSError),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos"), OSError),
        (OSError(28, "No space left on device"), OSError),
        (RuntimeError("shapes differ"), RuntimeError),
    ],
)
def test_file_errors_of_libraries_name_the_folder(tmp_path, error, found):
    with pytest.raises(found) as caught, disk_errors(tmp_path):
        raise error
    assert found is not OSError or caught.value.filename == str(tmp_path)
