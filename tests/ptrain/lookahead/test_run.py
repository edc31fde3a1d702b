"""Whole runs of `ptrain lookahead`: what is saved, resuming bit for bit, decoding with the result,
and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Phi3Config

from pbranch.errors import AdapterError, ModelError, RecipeError
from pbranch.files.recipe import load_recipe
from pbranch.hf.lookahead.files import adapter_digest, read_config
from pinfer import Engine, SamplingParams
from ptrain.config import LookaheadOptions, LookaheadRecipe, LoraOptions, Recipe, TrainOptions
from ptrain.lookahead.run import train_lookahead
from ptrain.recipe import run_lookahead
from ptrain.train import train
from tests.ptrain.conftest import make_base, make_records, write_records
from tests.support.repository import ROOT

torch.set_num_threads(1)
PROMPTS = [{"token_ids": [5, 6, 7, 8]}, {"token_ids": [40, 41, 42]}]


def recipe(model: Path, data: Path, out: Path, adapter: Path | None = None, **changes):
    train_options = {
        "steps": 8, "batch_rows": 4, "logging_steps": 1, "device": "cpu", "save_steps": 3,
        "eval_steps": 4,
    } | changes.pop("train", {})  # fmt: skip
    options = {"tokens": 3, "r": 4, "markov_rank": 4, "anchors": 8} | changes.pop("lookahead", {})
    return LookaheadRecipe(
        data=str(data), model=str(model), adapter=adapter and str(adapter), out=str(out),
        eval_share=0.2, lookahead=LookaheadOptions(**options), train=TrainOptions(**train_options),
        **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def adapter(bases, data, tmp_path_factory):
    """Of a base that has to grow for the markers."""
    out = tmp_path_factory.mktemp("adapters") / "wide"
    options = TrainOptions(steps=2, batch_rows=4, lr=1e-2, device="cpu")
    return train(
        Recipe(data=str(data), model=str(bases["wide"]), out=str(out), eval_share=0.1,
               lora=LoraOptions(r=4), train=options)
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(bases, data, adapter, tmp_path_factory):
    out = tmp_path_factory.mktemp("lookahead") / "run"
    return train_lookahead(recipe(bases["wide"], data, out, adapter))


def test_a_run_leaves_two_files_with_recipe_and_report(trained, bases, adapter):
    config = read_config(trained)
    assert config.base_model == str(bases["wide"]) and config.adapter == adapter_digest(adapter)
    assert (config.tokens, config.r, config.markov_rank, config.width) == (3, 4, 4, 32)
    tensors = load_file(trained / "lookahead.safetensors")
    report = json.loads((trained / "train_report.json").read_text())
    assert report["trainable_params"] == sum(x.numel() for x in tensors.values())
    assert report["steps"] == 8 and report["loss_first"] > report["loss_last"] > 0
    assert 0 <= report["eval_agreement_3"] <= 1 and report["eval_acceptance_1"] > 0
    assert [x["step"] for x in report["evaluations"]] == [4, 8] and report["traces_forked"] > 0
    assert load_recipe(LookaheadRecipe, trained / "recipe.yaml").lookahead.anchors == 8
    assert not (trained / "adapter_config.json").exists()
    for name, values in tensors.items():  # all of it has learned
        assert values.abs().max() > 0, name


def test_a_resumed_run_is_the_same(trained, bases, data, adapter, tmp_path):
    """From the checkpoint of the sixth step, as if the run had been stopped there."""
    again = tmp_path / "again"
    shutil.copytree(trained, again)
    shutil.rmtree(again / "checkpoint-8")
    (again / "lookahead.safetensors").unlink()
    train_lookahead(recipe(bases["wide"], data, again, adapter))
    one, other = (load_file(x / "lookahead.safetensors") for x in (trained, again))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    reports = [json.loads((x / "train_report.json").read_text()) for x in (trained, again)]
    assert reports[0]["evaluations"] == reports[1]["evaluations"]


def test_micro_batches_make_no_difference(trained, bases, data, adapter, tmp_path):
    """Losses are means over the labels of a step, in however many passes they are computed."""
    options = {"micro_rows": 4, "eval_steps": 0, "save_steps": 100}
    other = train_lookahead(recipe(bases["wide"], data, tmp_path / "x", adapter, train=options))
    one, two = (json.loads((x / "train_report.json").read_text()) for x in (trained, other))
    for key in ("loss_first", "loss_last", "eval_loss"):
        assert one[key] == pytest.approx(two[key], rel=1e-3)


@pytest.mark.parametrize("mode", ["two_pass", "tail", "fused"])
def test_what_is_trained_drafts_and_changes_no_token(trained, bases, adapter, mode):
    params = SamplingParams(max_new_tokens=24, mode="linear")
    plain = Engine.from_pretrained(str(bases["wide"]), str(adapter)).generate(PROMPTS, params)
    engine = Engine.from_pretrained(
        str(bases["wide"]), str(adapter), draft=f"lookahead:{mode}:{trained}"
    )
    found = engine.generate(PROMPTS, params)
    assert [g.token_ids for g in found] == [g.token_ids for g in plain]
    assert all(g.stats.drafted for g in found)


def test_what_lies_beside_the_adapter_needs_no_folder(trained, bases, adapter, tmp_path):
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    with pytest.raises(AdapterError, match=r"no lookahead_config\.json; expected a folder"):
        Engine.from_pretrained(str(bases["wide"]), str(folder), draft="lookahead")
    for name in ("lookahead.safetensors", "lookahead_config.json"):
        shutil.copyfile(trained / name, folder / name)
    engine = Engine.from_pretrained(str(bases["wide"]), str(folder), draft="lookahead:fused")
    (found,) = engine.generate(PROMPTS[:1], SamplingParams(max_new_tokens=24))
    assert found.stats.drafted


def test_a_bare_model_learns_from_plain_texts(bases, tmp_path):
    """And is drafted for under its own name; its look-ahead is of no other model or adapter."""
    data = write_records(tmp_path / "plain.jsonl", make_records(12, depth=0))
    out = train_lookahead(recipe(bases["qwen3"], data, tmp_path / "out", train={"steps": 2}))
    draft = f"lookahead:{out}"
    engine = Engine.from_pretrained(str(bases["qwen3"]), "none", draft=draft)
    params = SamplingParams(max_new_tokens=12, mode="linear")
    assert engine.generate(PROMPTS, params)[0].stats.drafted
    with pytest.raises(AdapterError, match="this base is another one"):
        Engine.from_pretrained(str(bases["llama"]), "none", draft=draft)
    with pytest.raises(ModelError, match="its LoRA needs the fast path"):
        Engine.from_pretrained(str(bases["qwen3"]), "none", draft=draft, path="general")


def test_a_look_ahead_of_an_adapter_is_of_no_other(trained, bases, data, adapter):
    with pytest.raises(AdapterError, match=r"for adapter the one of hash \w+, found none"):
        Engine.from_pretrained(str(bases["wide"]), "none", draft=f"lookahead:{trained}")
    config = json.loads((trained / "lookahead_config.json").read_text())
    other = trained.parent / "longer"
    shutil.copytree(trained, other, ignore=shutil.ignore_patterns("checkpoint-*"))
    config["tokens"] = 5  # more than were trained
    (other / "lookahead_config.json").write_text(json.dumps(config))
    with pytest.raises(AdapterError, match=r"embeddings \(3, 32\), expected \(5, 32\)"):
        Engine.from_pretrained(str(bases["wide"]), str(adapter), draft=f"lookahead:{other}")


def test_the_command_takes_the_page_of_the_recipes(bases, tmp_path, capsys):
    data = write_records(tmp_path / "plain.jsonl", make_records(8, depth=0))
    changes = [
        f"model={bases['qwen3']}", "adapter=null", f"data={data}", f"out={tmp_path / 'out'}",
        "eval_share=0", "train.steps=1", "train.batch_rows=2", "train.micro_rows=2",
        "train.device=cpu", "lookahead.tokens=2", "lookahead.r=0", "lookahead.markov_rank=0",
    ]  # fmt: skip
    run_lookahead(ROOT / "recipes" / "lookahead.yaml", changes)
    assert f"lookahead  {tmp_path / 'out'}" in capsys.readouterr().out
    tensors = load_file(tmp_path / "out" / "lookahead.safetensors")
    assert {name: tuple(x.shape) for name, x in tensors.items()} == {"embeddings": (2, 32)}
    with pytest.raises(RecipeError, match=r"unknown key lookahead\.rank"):
        run_lookahead(ROOT / "recipes" / "lookahead.yaml", ["lookahead.rank=3"])


def test_what_no_run_can_start_with(trained, bases, data, adapter, tmp_path):
    with pytest.raises(RecipeError, match=r"has adapter_config\.json; expected a folder of its"):
        train_lookahead(recipe(bases["wide"], data, adapter, adapter))
    with pytest.raises(RecipeError, match="checkpoints of another recipe"):
        train_lookahead(recipe(bases["wide"], data, trained, adapter, lookahead={"r": 8}))
    with pytest.raises(RecipeError, match=r"train\.packing: has no meaning"):
        recipe(bases["wide"], data, tmp_path, train={"packing": True})
    with pytest.raises(RecipeError, match=r"lookahead\.tokens: found 0, expected at least 1"):
        recipe(bases["wide"], data, tmp_path, lookahead={"tokens": 0})
    folder = make_base(tmp_path / "base", "qwen3")
    fused = Phi3Config(
        vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, pad_token_id=0,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(fused).save_pretrained(folder)
    plain = write_records(tmp_path / "plain.jsonl", make_records(6, depth=0))
    with pytest.raises(ModelError, match="no linear layer q_proj; expected layers built as in"):
        train_lookahead(recipe(folder, plain, tmp_path / "x"))
    capped = make_base(tmp_path / "capped", "gemma2")
    with pytest.raises(ModelError, match="cannot be trained for a model with attn_logit_softcapp"):
        train_lookahead(recipe(capped, plain, tmp_path / "x"))
