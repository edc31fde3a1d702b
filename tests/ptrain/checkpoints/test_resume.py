"""A run goes on over the same data, base and precision alone, however they are named."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file

from pbranch.errors import RecipeError
from ptrain.config import LoraOptions, Recipe, TrainOptions
from ptrain.train import train
from tests.ptrain.conftest import make_records, write_records

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def run(bases, tmp_path):
    """A recipe whose last checkpoint, of two, was lost: it goes on from step 2 of 4. Base and data
    are copies that may be changed."""
    base = shutil.copytree(bases["qwen3"], tmp_path / "base")
    data = write_records(tmp_path / "data.jsonl", make_records(12))
    recipe = Recipe(
        data=str(data), model=str(base), out=str(tmp_path / "run"), eval_share=0.2,
        lora=LoraOptions(r=2),
        train=TrainOptions(steps=4, batch_rows=2, save_steps=2, device="cpu", logging_steps=1),
    )  # fmt: skip
    shutil.rmtree(train(recipe) / "checkpoint-4")
    return recipe, tmp_path


def refused(recipe):
    with pytest.raises(RecipeError) as caught:
        train(recipe)
    message = str(caught.value)
    assert "\n" not in message and "checkpoint-2: " in message
    assert "resume=never, or another out" in message
    return message


def test_other_data_in_the_same_file_is_refused(run):
    recipe, root = run
    whole = load_file(root / "run" / WEIGHTS)
    write_records(root / "data.jsonl", make_records(12)[:9])
    message = refused(recipe)
    assert "the data was 10 traces, 2 held out (hash" in message
    assert "is 7 traces, 2 held out (hash" in message
    changed = make_records(12)
    changed[3]["completion"] += " high"
    write_records(root / "data.jsonl", changed)
    assert "the data was 10 traces, 2 held out (hash" in refused(recipe)
    assert all(torch.equal(w, whole[k]) for k, w in load_file(root / "run" / WEIGHTS).items())
    train(replace(recipe, resume="never"))
    assert json.loads((root / "run" / "train_report.json").read_text())["traces"] == 10


def test_equal_data_under_other_names_goes_on_to_the_same_weights(run):
    recipe, root = run
    whole = load_file(root / "run" / WEIGHTS)
    records = make_records(12)
    parts = [write_records(root / f"{i}.jsonl", records[6 * i : 6 * i + 6]) for i in (0, 1)]
    (root / "data.jsonl").unlink()
    train(replace(recipe, data=list(map(str, parts))))
    assert all(torch.equal(w, whole[k]) for k, w in load_file(root / "run" / WEIGHTS).items())


def test_an_entry_that_the_recipe_no_longer_has_is_another_recipe(run):
    recipe, root = run
    other = replace(recipe, out=str(root / "other"), lora=LoraOptions(options={"bias": "none"}))
    train(other)
    with pytest.raises(RecipeError, match=r"lora\.options\.bias was 'none', is None"):
        train(replace(other, lora=LoraOptions()))


def test_another_chat_template_is_other_data(run):
    recipe, root = run
    page = root / "base" / "chat_template.jinja"
    page.write_text("Hello. " + page.read_text())
    assert "the data was" in refused(recipe)


def test_another_base_in_the_same_folder_is_refused(run):
    recipe, root = run
    file = root / "base" / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.1.mlp.up_proj.weight"] += 0.01
    save_file(tensors, file, metadata={"format": "pt"})
    message = refused(recipe)
    assert "the base's weights (fingerprint) was 2-" in message


def test_another_precision_is_refused_and_the_same_under_another_name_is_not(run):
    recipe, _ = run
    AcceleratorState._reset_state()
    other = replace(recipe, train=replace(recipe.train, dtype="bfloat16"))
    message = refused(other)
    assert "the precision (train.dtype) was float32, is bfloat16" in message
    train(replace(recipe, train=replace(recipe.train, dtype="float32")))  # what auto meant


def test_a_checkpoint_of_an_earlier_release_goes_on_with_a_line(run, capsys):
    recipe, root = run
    path = root / "run" / "checkpoint-2" / "files.json"
    stored = json.loads(path.read_text())
    for key in ("data", "base", "dtype"):
        del stored[key]
    path.write_text(json.dumps(stored))
    with pytest.raises(RecipeError, match=r"data was .*data\.jsonl"):  # then its name decides
        train(replace(recipe, data=[recipe.data, recipe.data]))
    capsys.readouterr()
    train(recipe)
    line = "is of an earlier release: not compared with it: the data, the base's weights"
    assert line in capsys.readouterr().err


def test_a_checkpoint_knows_its_own_recipe(run):
    recipe, root = run
    (root / "run" / "recipe.yaml").unlink()
    with pytest.raises(RecipeError, match=r"seed was 0, is 1"):
        train(replace(recipe, seed=1))
    train(recipe)


class Runs:
    """As a pickle, code that runs when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "loss_0_of_1.pt"])
def test_a_pickle_in_a_checkpoint_is_refused_and_not_run(run, name):
    recipe, root = run
    folder = root / "run" / "checkpoint-2"
    torch.save(Runs(root / "ran"), folder / name)
    facts = json.loads((folder / "files.json").read_text())
    facts["sizes"][name] = (folder / name).stat().st_size
    (folder / "files.json").write_text(json.dumps(facts))
    with pytest.raises(RecipeError, match=r"checkpoint-2: cannot go on from it \(.*remove it") as e:
        train(recipe)
    assert "\n" not in str(e.value) and not (root / "ran").exists()
