"""Training on a GGUF file: what is left names the file as it was named, never the user's cache."""

import json
import os
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from pbranch.errors import AdapterError
from ptrain.artifacts.artifact import read_artifact
from ptrain.artifacts.export import export
from ptrain.artifacts.merge import merge
from ptrain.artifacts.publish import publish
from ptrain.config import LoraOptions, Recipe, TrainOptions
from ptrain.train import train
from tests.support.gguf_files import write_gguf


@pytest.fixture(scope="module")
def trained(bases, data, tmp_path_factory):
    """A folder with base.gguf, and the adapter `out` that was trained on it there."""
    home = tmp_path_factory.mktemp("gguf")
    model = AutoModelForCausalLM.from_pretrained(bases["llama"])
    write_gguf(home / "base.gguf", model, AutoTokenizer.from_pretrained(bases["llama"]))
    before = Path.cwd()
    os.environ["XDG_CACHE_HOME"] = str(home / "cache")
    os.chdir(home)
    try:
        options = TrainOptions(steps=2, batch_rows=4, save_steps=1, device="cpu")
        train(Recipe(data=str(data), model="base.gguf", out="out", eval_share=0.1,
                     lora=LoraOptions(r=4, alpha=8), train=options))  # fmt: skip
        yield home
    finally:
        os.chdir(before)
        del os.environ["XDG_CACHE_HOME"]


def names_the_cache(folder):
    """Files under `folder` in which the cache's path stands."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path.name for path in files if b"parallel-branches/gguf" in path.read_bytes()]


def test_an_adapter_names_the_file_as_it_was_given(trained):
    out = trained / "out"
    assert json.loads((out / "branch_config.json").read_text())["base_model"] == "base.gguf"
    stored = json.loads((out / "adapter_config.json").read_text())
    assert stored["base_model_name_or_path"] == "base.gguf"
    assert read_artifact(out).recipe.model == "base.gguf"
    assert names_the_cache(out) == []


def test_its_name_leads_there_again(trained, tmp_path):
    from pinfer import Engine, SamplingParams

    shutil.rmtree(trained / "cache")
    engine = Engine.from_pretrained(adapter="out", device="cpu")
    (answer,) = engine.generate(["seven nine"], SamplingParams(max_new_tokens=4))
    assert answer.text
    assert names_the_cache(merge("out", tmp_path / "merged")) == []
    assert names_the_cache(export("out", tmp_path / "exported")) == []


def test_a_file_that_others_do_not_have_is_not_published(trained):
    with pytest.raises(AdapterError, match=r"its base is the file base\.gguf, .*OWNER/NAME:FILE"):
        publish(trained / "out", "me/x", dry_run=True)
    plan = publish(trained / "out", "me/x", base="me/b-GGUF:base.gguf", dry_run=True)
    assert "base_model: me/b-GGUF" in plan.front_matter
    assert "model: me/b-GGUF:base.gguf" in plan.card
