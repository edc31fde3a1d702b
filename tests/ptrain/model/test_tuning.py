"""What is trained, and how: peft's variants of LoRA, a base in 4 bit, and all weights."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import ptrain.train
from pbranch.errors import ModelError, RecipeError
from pbranch.files.recipe import load_recipe
from pbranch.format.branch_config import load_branch_config
from ptrain.config import LoraOptions, Recipe, TrainOptions
from ptrain.model.base import add_lora, load_base
from ptrain.model.defaults import fill_in
from ptrain.model.lora import convert_for_original_base, copy_initial_weights
from ptrain.model.sharding import refuse_sharding
from ptrain.trainer.branch_trainer import make_trainer
from tests.ptrain.conftest import make_base

INITS = ["gaussian", "orthogonal", "mica", "olora", "pissa", "pissa_niter_4"]


def recipe(model: Path, data: Path, out: Path, steps: int = 3, **keys) -> Recipe:
    lora = keys.pop("lora", LoraOptions(r=4, alpha=8))
    options = TrainOptions(
        steps=steps, batch_rows=4, lr=1e-2, logging_steps=1, device="cpu", save_steps=2
    )
    return Recipe(
        data=str(data), model=str(model), out=str(out), eval_share=0.1, lora=lora, train=options,
        **keys,
    )  # fmt: skip


def logits(model, markers) -> torch.Tensor:
    """Of a few ordinary tokens and all markers."""
    ids = torch.tensor([[5, 9, *markers.as_dict().values(), 7, 20]])
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


@pytest.fixture
def trained(monkeypatch):
    """The trainers that `train` makes, so that a test can look at the model itself."""
    made = []

    def keep(*args):
        made.append(make_trainer(*args))
        return made[-1]

    monkeypatch.setattr(ptrain.train, "make_trainer", keep)
    return made


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_an_adapter_of_any_start_fits_the_original_base(bases, tmp_path, family, init):
    options = LoraOptions(
        r=4, alpha=8, init=init, use_rslora=init == "olora", use_dora=init == "pissa_niter_4",
        options={"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 3}},
    )  # fmt: skip
    base = load_base(str(bases[family]))
    before = logits(base.model, base.markers)
    model = add_lora(base, options)
    start = copy_initial_weights(model, options)
    assert bool(start) == init.startswith(("pissa", "olora"))
    assert torch.allclose(logits(model, base.markers), before, atol=1e-4)  # nothing learnt yet
    torch.manual_seed(1)
    for weight in (p for p in model.parameters() if p.requires_grad):
        weight.data += 0.1 * torch.randn_like(weight)
    expected = logits(model, base.markers)
    assert (expected - before).abs().max() > 0.1
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    convert_for_original_base(tmp_path, start)
    again = PeftModel.from_pretrained(load_base(str(bases[family])).model, tmp_path)
    assert torch.allclose(logits(again, base.markers), expected, rtol=1e-5, atol=1e-5)
    merged = again.merge_and_unload()
    assert torch.allclose(logits(merged, base.markers), expected, rtol=1e-4, atol=1e-4)


def test_a_run_from_pissa_saves_what_it_trained(bases, data, tmp_path, trained):
    options = LoraOptions(r=4, alpha=8, init="pissa", use_rslora=True)
    folder = ptrain.train.train(recipe(bases["llama"], data, tmp_path / "run", lora=options))
    stored = json.loads((folder / "adapter_config.json").read_text())
    assert (stored["r"], stored["init_lora_weights"]) == (8, True)
    base = load_base(str(bases["llama"]))
    again = PeftModel.from_pretrained(base.model, folder)
    expected = logits(trained[0].model, base.markers)
    assert torch.allclose(logits(again, base.markers), expected, rtol=1e-5, atol=1e-5)
    # interrupted, it goes on from the same start
    once = load_file(folder / "adapter_model.safetensors")
    shutil.rmtree(folder / "checkpoint-3")
    ptrain.train.train(recipe(bases["llama"], data, tmp_path / "run", lora=options))
    resumed = load_file(folder / "adapter_model.safetensors")
    assert all(torch.allclose(once[k], resumed[k], atol=1e-6) for k in once)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (LoraOptions(init="pisa"), r"lora\.init: found pisa, .*did you mean pissa\?"),
        (LoraOptions(init="eva"), r"lora\.init: found eva, expected one of true, false"),
        (
            LoraOptions(options={"rank_patern": {}}),
            r"unknown key lora\.options\.rank_patern; did you mean lora\.options\.rank_pattern\?",
        ),
        (LoraOptions(options={"lora_alpha": 3}), r"lora\.options\.lora_alpha: .* use lora\.alpha"),
        (
            LoraOptions(options={"trainable_token_indices": [1]}),
            r"unknown key lora\.options\.trainable_token_indices",
        ),
        (
            LoraOptions(options={"layers_to_transform": [0]}),
            r"lora\.options\.layers_to_transform: `layers_to_transform` cannot be used",
        ),
    ],
)
def test_lora_options_are_checked_by_name(bases, options, message):
    with pytest.raises(RecipeError, match=message) as caught:
        add_lora(load_base(str(bases["qwen3"])), options)
    assert "\n" not in str(caught.value)


def test_combinations_that_cannot_be_are_refused(bases, monkeypatch, tmp_path):
    four = {"data": "x", "quantization": "nf4"}
    with pytest.raises(RecipeError, match="quantization: nf4 with tuning: full"):
        Recipe(**four, tuning="full")
    for split in ("zero3", "fsdp"):
        with pytest.raises(RecipeError, match=f"quantization: nf4 under {split}"):
            refuse_sharding(split, Recipe(**four).quantization, LoraOptions())
    with pytest.raises(RecipeError, match=r"lora\.init: pissa is computed from whole weights"):
        refuse_sharding("zero3", None, LoraOptions(init="pissa"))
    refuse_sharding("zero2", Recipe(**four).quantization, LoraOptions())
    monkeypatch.setattr("ptrain.model.base.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"nf4 needs bitsandbytes, .* parallel-branches\[qlora\]"):
        load_base(str(bases["qwen3"]), quantization="nf4")


@pytest.mark.slow  # and run there, for .ci/run has bitsandbytes by then
@pytest.mark.parametrize(("family", "kind"), [("qwen3", "nf4"), ("llama", "fp4"), ("wide", "nf4")])
def test_qlora_trains_lora_and_marker_rows(bases, data, tmp_path, trained, family, kind):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    # 4-bit blocks hold 64 values; the test models' matrices of 32 x 64 are cut into such
    folder = ptrain.train.train(recipe(bases[family], data, tmp_path / "run", quantization=kind))
    assert load_branch_config(folder).quantization == kind
    base = load_base(str(bases[family]), quantization=kind)
    assert base.fingerprint == load_base(str(bases[family])).fingerprint
    layer = base.model.model.layers[0].self_attn.q_proj
    assert layer.weight.quant_state.quant_type == kind and layer.weight.quant_state.nested
    rows = {
        k: v for k, v in load_file(folder / "adapter_model.safetensors").items() if "lora_" not in k
    }
    assert len(rows) == (1 if family == "qwen3" else 2)
    ids = list(base.markers.as_dict().values())
    for name, row in rows.items():
        module = (
            base.model.get_output_embeddings()
            if "lm_head" in name
            else (base.model.get_input_embeddings())
        )
        assert ((row - module.weight[ids]).abs().amax(-1) > 1e-4).sum() >= 5
    again = PeftModel.from_pretrained(base.model, folder)
    expected = logits(trained[0].model, base.markers)
    # trl keeps a quantised model's adapter in bfloat16
    assert torch.allclose(logits(again, base.markers), expected, rtol=1e-5, atol=2e-2)


SLOW = [pytest.param(family, marks=pytest.mark.slow) for family in ("llama", "wide")]


@pytest.mark.parametrize("family", ["qwen3", *SLOW])
def test_full_tuning_gives_a_model_of_its_own(bases, data, tmp_path, trained, family):
    run = recipe(bases[family], data, tmp_path / "run", tuning="full")
    folder = ptrain.train.train(run)
    assert not (folder / "adapter_config.json").exists()
    model = AutoModelForCausalLM.from_pretrained(folder)
    base = load_base(str(bases[family]))
    report = json.loads((folder / "train_report.json").read_text())
    assert report["trainable_params"] == sum(p.numel() for p in model.parameters())
    now, then = dict(model.named_parameters()), dict(base.model.named_parameters())
    assert all((now[k] - then[k]).abs().max() > 0 for k in then)
    expected = logits(trained[0].model, base.markers)
    assert torch.allclose(logits(model, base.markers), expected, rtol=1e-5, atol=1e-5)
    assert load_branch_config(folder).marker_ids == base.markers.as_dict()
    for name in ("tokenizer.json", "README.md", "train_report.json"):
        assert (folder / name).is_file()
    assert load_recipe(Recipe, folder / "recipe.yaml") == fill_in(run, base.model.config, "cpu")
    # interrupted, it goes on from its checkpoint to the same weights
    once = load_file(folder / "model.safetensors")
    shutil.rmtree(folder / "checkpoint-3")
    ptrain.train.train(run)
    resumed = load_file(folder / "model.safetensors")
    assert all(torch.allclose(once[k], resumed[k], atol=1e-6) for k in once)


def test_pinfer_decodes_a_fully_tuned_model(data, tmp_path):
    from pinfer.models.load import load

    base = make_base(tmp_path / "base", "qwen3")
    folder = ptrain.train.train(recipe(base, data, tmp_path / "run", steps=1, tuning="full"))
    loaded = load(str(folder))
    assert loaded.spec.markers == loaded.branch_config.ids
    assert loaded.branch_config.base_model == str(base)
