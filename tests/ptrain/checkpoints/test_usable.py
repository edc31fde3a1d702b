"""A checkpoint as it lies is an adapter or a model: decoded, merged and published, even moved."""

import json
import shutil

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from pbranch.errors import AdapterError
from pbranch.files.recipe import load_recipe
from pbranch.format.branch_config import load_branch_config
from pinfer.engine import Engine
from pinfer.params import SamplingParams
from ptrain.artifacts.merge import merge
from ptrain.artifacts.publish import publish
from ptrain.config import LoraOptions, Recipe, TrainOptions
from ptrain.model.base import load_base
from ptrain.train import train


def make_recipe(bases, data, out, family="qwen3", lora=None, **keys):
    options = TrainOptions(steps=4, batch_rows=2, lr=1e-2, save_steps=2, device="cpu")
    return Recipe(
        data=str(data), model=str(bases[family]), out=str(out), eval_share=0.1,
        lora=lora or LoraOptions(r=2),
        train=options, **keys,
    )  # fmt: skip


def decode(**names):
    engine = Engine.from_pretrained(**names, device="cpu")
    return engine.generate(["low high"], SamplingParams(max_new_tokens=4))[0]


@pytest.mark.parametrize("family", ["qwen3", "llama", "wide"])
def test_a_checkpoint_of_an_adapter(bases, data, tmp_path, family):
    out = train(make_recipe(bases, data, tmp_path / "run", family))
    last, whole = load_branch_config(out / "checkpoint-4"), load_branch_config(out)
    assert last == whole
    copy = shutil.copytree(out / "checkpoint-2", tmp_path / "copy")
    shutil.rmtree(out)
    assert decode(adapter=str(copy)).stats.generated_tokens
    merged = merge(copy, tmp_path / "merged")
    assert decode(model=str(merged)).stats.generated_tokens
    plan = publish(copy, "me/copy", base="me/base", dry_run=True)
    assert "files.json" not in plan.files and "optimizer.pt" not in plan.files
    assert {"adapter_model.safetensors", "branch_config.json", "recipe.yaml"} <= plan.files.keys()
    assert "a checkpoint, after 2 of 4 steps" in plan.card
    report = json.loads((copy / "train_report.json").read_text())
    assert (report["steps"], report["steps_planned"]) == (2, 4)
    assert load_recipe(Recipe, copy / "recipe.yaml").out == str(tmp_path / "run")


def test_a_run_that_has_not_ended_names_its_checkpoints(bases, data, tmp_path):
    out = train(make_recipe(bases, data, tmp_path / "run"))
    (out / "branch_config.json").unlink()
    with pytest.raises(AdapterError, match="as each checkpoint-N in it is"):
        load_branch_config(out)


def test_a_checkpoint_of_all_weights(bases, data, tmp_path):
    out = train(make_recipe(bases, data, tmp_path / "run", tuning="full"))
    copy = shutil.copytree(out / "checkpoint-2", tmp_path / "copy")
    assert decode(model=str(copy)).stats.generated_tokens
    plan = publish(copy, "me/copy", dry_run=True)
    assert {"model.safetensors", "tokenizer.json", "branch_config.json"} <= plan.files.keys()


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "olora"])
def test_a_checkpoint_from_a_start_within_the_base(bases, data, tmp_path, init):
    """It fits the whole base, and the run still goes on from it, to the same weights."""
    lora = LoraOptions(r=4, alpha=8, init=init, use_rslora=init == "olora")
    recipe = make_recipe(bases, data, tmp_path / "run", "llama", lora)
    out = train(recipe)
    once = load_file(out / "adapter_model.safetensors")
    last = load_file(out / "checkpoint-4" / "adapter_model.safetensors")
    assert once.keys() == last.keys() and all(torch.equal(once[k], last[k]) for k in once)
    stored = json.loads((out / "checkpoint-2" / "adapter_config.json").read_text())
    assert (stored["r"], stored["init_lora_weights"]) == (8, True)
    merged = AutoModelForCausalLM.from_pretrained(merge(out / "checkpoint-4", tmp_path / "merged"))
    base = load_base(str(bases["llama"]))
    exact = PeftModel.from_pretrained(base.model, out).merge_and_unload()
    for name, weight in exact.state_dict().items():
        assert torch.allclose(merged.state_dict()[name], weight, atol=1e-5), name
    shutil.rmtree(out / "checkpoint-4")
    train(recipe)
    resumed = load_file(out / "adapter_model.safetensors")
    assert all(torch.equal(once[k], resumed[k]) for k in once)
