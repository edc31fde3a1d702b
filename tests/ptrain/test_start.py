"""A second round: from an adapter, from what an earlier run has left, or on to more steps."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from pbranch.errors import AdapterError, MarkerError, ModelError, RecipeError
from pbranch.format.branch_config import SwitchOptions, load_branch_config
from pinfer.engine import Engine
from pinfer.params import SamplingParams
from ptrain.artifacts.merge import merge
from ptrain.artifacts.publish import publish
from ptrain.check import check
from ptrain.config import BranchOptions, LoraOptions, Recipe, TrainOptions
from ptrain.data.batching import order_rounds, order_sequences
from ptrain.model.base import load_base
from ptrain.train import train

WEIGHTS = "adapter_model.safetensors"
LORA = LoraOptions(r=2, alpha=4)


def make_recipe(base, data, out, steps=2, lora=LORA, lr=1e-2, **keys):
    options = TrainOptions(
        steps=steps, batch_rows=2, lr=lr, save_steps=2, device="cpu", logging_steps=1
    )
    return Recipe(
        data=str(data), model=str(base), out=str(out), eval_share=0.1, lora=lora, train=options,
        **keys,
    )  # fmt: skip


@pytest.fixture(scope="module", params=["qwen3", "wide"])
def first(request, bases, data, tmp_path_factory):
    """The recipe and the adapter of a first round, on a tied base and on a resized, untied one."""
    root = tmp_path_factory.mktemp("first")
    recipe = make_recipe(bases[request.param], data, root / "adapter")
    train(recipe)
    return recipe, root / "adapter"


def decode(**names):
    engine = Engine.from_pretrained(**names, device="cpu")
    return engine.generate(["low high"], SamplingParams(max_new_tokens=4))[0].token_ids


def same(a, b, **limits):
    return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], **limits) for k in a)


def test_an_adapter_is_the_start(first, tmp_path, capsys):
    recipe, adapter = first
    still = replace(recipe.train, lr=1e-12, marker_lr=1e-12)
    again = replace(recipe, adapter=str(adapter), out=str(tmp_path / "again"), train=still)
    said = "\n".join(check(again))
    assert f"goes on from there: {adapter}" in said and "was trained with" not in said
    other = replace(again, form="mixed", switch=SwitchOptions(parallel="Fork."))
    said = "\n".join(check(other))
    assert f'form is "mixed"; {adapter} was trained with "parallel"' in said
    assert 'switch is {"parallel": "Fork.", "linear": null}; ' in said
    out = train(again)
    assert f"goes on from there: {adapter}" in capsys.readouterr().err
    assert same(load_file(out / WEIGHTS), load_file(adapter / WEIGHTS), atol=1e-7)
    moved = train(replace(again, out=str(tmp_path / "moved"), train=recipe.train))
    assert not same(load_file(moved / WEIGHTS), load_file(adapter / WEIGHTS), atol=1e-4)
    assert load_branch_config(moved) == load_branch_config(adapter)  # of the same base
    assert decode(model=str(merge(moved, tmp_path / "merged"))) == decode(adapter=str(moved))
    assert f"goes on from `{adapter}`" in (moved / "README.md").read_text()


def test_a_merged_model_is_a_base(first, data, tmp_path):
    recipe, adapter = first
    merged = merge(adapter, tmp_path / "merged")
    stored = AutoModelForCausalLM.from_pretrained(merged)
    base = load_base(str(merged), seed=9)
    assert base.markers == load_branch_config(adapter).ids
    assert same(base.model.state_dict(), stored.state_dict())  # the rows that were trained too
    again = make_recipe(merged, data, tmp_path / "again")
    list(check(again))
    out = train(again)
    config = load_branch_config(out)
    assert config.base_model == str(merged)
    assert config.marker_ids == load_branch_config(adapter).marker_ids
    twice = merge(out, tmp_path / "twice")
    assert decode(adapter=str(out)) == decode(model=str(twice))
    assert "model.safetensors" in publish(twice, "me/twice", dry_run=True).files
    assert publish(out, "me/again", base="me/merged", dry_run=True).files
    with pytest.raises(AdapterError, match="made for base"):
        train(replace(recipe, adapter=str(out), out=str(tmp_path / "no")))


def test_a_fully_tuned_model_is_a_base_of_both_tunings(bases, data, tmp_path):
    one = train(make_recipe(bases["qwen3"], data, tmp_path / "one", tuning="full"))
    two = train(make_recipe(one, data, tmp_path / "two", tuning="full", lr=1e-12))
    assert same(
        load_file(two / "model.safetensors"), load_file(one / "model.safetensors"), atol=1e-6
    )
    assert decode(adapter=str(train(make_recipe(one / "checkpoint-2", data, tmp_path / "three"))))


def test_starts_that_do_not_fit_are_one_line(bases, data, tmp_path, capsys):
    base = shutil.copytree(bases["qwen3"], tmp_path / "base")
    adapter = train(make_recipe(base, data, tmp_path / "adapter"))
    recipe = make_recipe(base, data, tmp_path / "out", adapter=str(adapter))

    def refused(error, *said, **keys):
        with pytest.raises(error) as caught:
            train(replace(recipe, **keys))
        message = str(caught.value)
        assert "\n" not in message and all(text in message for text in said), message

    refused(
        RecipeError, "lora: found lora.r 4, lora.alpha 8;", "needs lora.r=2 lora.alpha=4",
        lora=LoraOptions(r=4, alpha=8),
    )  # fmt: skip
    with pytest.raises(RecipeError, match=r"needs lora\.r=2"):
        list(check(replace(recipe, lora=LoraOptions(r=4, alpha=4))))
    refused(
        RecipeError, "are not those of this recipe on this model", "not in the model",
        lora=LoraOptions(r=2, alpha=4, target_modules=["q_proj"]),
    )  # fmt: skip
    refused(AdapterError, "made for base", model=str(bases["llama"]))
    with pytest.raises(RecipeError, match=r"on this model: 1 missing \(.*lm_head"):
        list(check(replace(recipe, model=str(bases["wide"]))))
    refused(ModelError, "an adapter; expected its base", model=str(adapter), adapter=None)
    merged = merge(adapter, tmp_path / "merged")
    refused(AdapterError, "a whole model; expected an adapter", adapter=str(merged))
    refused(AdapterError, "no branch_config.json", adapter=str(base))
    (merged / "branch_config.json").unlink()
    refused(MarkerError, "or with the branch_config.json", model=str(merged), adapter=None)
    with pytest.raises(RecipeError, match="tuning: full; expected tuning: lora"):
        replace(recipe, tuning="full")
    with pytest.raises(RecipeError, match=r"lora.init: pissa takes a start out of the base"):
        replace(recipe, lora=LoraOptions(init="pissa"))
    config = json.loads((adapter / "branch_config.json").read_text()) | {"quantization": "nf4"}
    (adapter / "branch_config.json").write_text(json.dumps(config))
    refused(RecipeError, "quantization: found null, but", "trained on nf4")


@pytest.mark.parametrize("init", ["pissa", "mica"])
def test_an_adapter_from_a_start_within_the_base(bases, data, tmp_path, init):
    lora = LoraOptions(r=2, alpha=4, init=init)
    adapter = train(make_recipe(bases["llama"], data, tmp_path / "one", lora=lora))
    stored = json.loads((adapter / "adapter_config.json").read_text())
    again = LoraOptions(r=stored["r"], alpha=stored["lora_alpha"])
    recipe = make_recipe(
        bases["llama"], data, tmp_path / "two", lora=again, adapter=str(adapter), lr=1e-12
    )
    recipe = replace(recipe, train=replace(recipe.train, marker_lr=1e-12))
    assert same(load_file(train(recipe) / WEIGHTS), load_file(adapter / WEIGHTS), atol=1e-7)
    merged = merge(tmp_path / "two", tmp_path / "merged")
    assert decode(model=str(merged)) == decode(adapter=str(adapter))


def test_another_layout_than_before_is_said(bases, data, tmp_path):
    adapter = train(make_recipe(bases["qwen3"], data, tmp_path / "adapter"))
    recipe = make_recipe(
        bases["qwen3"], data, tmp_path / "out", adapter=str(adapter),
        branches=BranchOptions(positions="flat"),
    )  # fmt: skip
    assert f"branches.positions is flat; {adapter} was trained with max" in "\n".join(check(recipe))


def test_the_chat_template_of_the_first_round_is_kept(bases, data, tmp_path):
    page = "Q {% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    adapter = train(make_recipe(bases["qwen3"], data, tmp_path / "a", chat_template=page))
    recipe = make_recipe(bases["qwen3"], data, tmp_path / "b", adapter=str(adapter))
    assert (train(recipe) / "chat_template.jinja").read_text() == page


def test_a_finished_run_goes_on_to_more_steps(bases, data, tmp_path, capsys):
    """Its first steps stay as they were, its rate is that of the longer run."""
    out = tmp_path / "run"
    recipe = make_recipe(bases["qwen3"], data, out)
    train(recipe)
    for steps in (4, 6):
        more = replace(recipe, train=replace(recipe.train, steps=steps))
        capsys.readouterr()
        train(more)
        assert f"planned for {steps - 2} steps, now for {steps}: " in capsys.readouterr().err
        state = json.loads((out / f"checkpoint-{steps}" / "trainer_state.json").read_text())
        assert (state["max_steps"], state["global_step"]) == (steps, steps)
    rates = {x["step"]: x["learning_rate"] for x in state["log_history"] if "loss" in x}
    whole = train(replace(more, out=str(tmp_path / "whole")))
    state = json.loads((whole / "checkpoint-6" / "trainer_state.json").read_text())
    planned = {x["step"]: x["learning_rate"] for x in state["log_history"] if "loss" in x}
    assert [rates[5], rates[6]] == pytest.approx([planned[5], planned[6]])
    assert json.loads((out / "train_report.json").read_text())["steps"] == 6
    assert decode(adapter=str(out))

    ended = load_file(out / WEIGHTS)
    shutil.rmtree(out / "checkpoint-6")  # killed: it goes on to the same weights
    train(more)
    assert same(load_file(out / WEIGHTS), ended, rtol=0, atol=0)
    with pytest.raises(RecipeError, match=r"planned for 6 steps, is for 2 .*expected as many or"):
        train(recipe)


def test_the_order_of_a_round_does_not_depend_on_later_ones():
    lengths = list(range(1, 30))
    short, long = order_rounds(lengths, 4, [5], 0), order_rounds(lengths, 4, [5, 8], 0)
    assert short == order_sequences(lengths, 4, 5, 0) == long[:20]
    assert len(long) == 32 and set(long) == set(range(29))  # an epoch goes on where it was left
