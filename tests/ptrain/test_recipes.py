"""Every page below recipes/ is valid and runs: real architectures, small and random."""

import ast
import json
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from transformers import LlamaConfig, Qwen2Config, Qwen3Config

from pbranch.files.recipe import load_recipe
from pbranch.format.branch_config import load_branch_config
from ptrain.config import LookaheadRecipe, Recipe
from ptrain.pretrain.config import PretrainRecipe
from ptrain.train import train
from tests.ptrain.conftest import CONFIGS, SHAPE, make_base
from tests.support.repository import ROOT

ROOT = ROOT / "recipes"
PAGES = sorted(ROOT.rglob("*.yaml"))
LAUNCHES = [path for path in PAGES if path.parent.name == "accelerate"]
RECIPES = [path for path in PAGES if path not in LAUNCHES]
SCHEMAS = {
    ("ptrain.recipe", "main"): Recipe,
    ("ptrain.recipe", "main_lookahead"): LookaheadRecipe,
    ("ptrain.pretrain", "main"): PretrainRecipe,
}
# architecture, and whether the head is tied, as in the models' own config.json
REAL = {
    "smollm2": (LlamaConfig, {"tie_word_embeddings": True}),
    "Qwen/Qwen3-0.6B": (Qwen3Config, {"tie_word_embeddings": True}),
    "Qwen/Qwen3-32B": (Qwen3Config, {"tie_word_embeddings": False}),
    "Qwen/Qwen2.5-Coder-0.5B-Instruct": (Qwen2Config, {"tie_word_embeddings": True}),
    "Qwen/Qwen2.5-7B-Instruct": (Qwen2Config, {"tie_word_embeddings": False}),
    "meta-llama/Llama-3.1-8B-Instruct": (
        LlamaConfig,
        {
            "tie_word_embeddings": False,
            "rope_parameters": {
                "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0,
                "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 256,
            },
        },
    ),
}  # fmt: skip


def named(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda p: p.relative_to(ROOT).as_posix())


def schema(path: Path) -> type:
    """Of the recipe at `path`, by the function that its last line runs."""
    source = ast.parse(path.read_text(encoding="utf-8"))
    return SCHEMAS[
        next((x.module, x.names[0].name) for x in source.body if isinstance(x, ast.ImportFrom))
    ]


def test_there_are_recipes_of_all_kinds():
    assert {"sft.yaml", "tiny_base.yaml", "qwen3-32b-zero3.yaml"} <= {p.name for p in RECIPES}
    assert {"cpu2.yaml", "zero2.yaml", "zero3.yaml", "fsdp2.yaml"} <= {p.name for p in LAUNCHES}
    assert set(REAL) == {load_recipe(Recipe, p).model for p in RECIPES if schema(p) is Recipe} - {
        "tiny"
    }


@named(RECIPES)
def test_a_recipe_is_yaml_and_python_and_valid(path):
    text = path.read_text(encoding="utf-8")
    assert yaml.safe_load(text)["ptrain"] == 'r"""'
    body = compile(text, str(path), "exec", flags=ast.PyCF_ONLY_AST).body
    assert [type(node).__name__ for node in body] == ["AnnAssign", "ImportFrom", "Expr"]
    load_recipe(schema(path), path)
    assert f"accelerate launch recipes/{path.name}" in text


@named(LAUNCHES)
def test_a_launch_config_is_valid(path):
    config = load_config_from_file(str(path))  # refuses unknown keys
    assert config.num_processes >= 1
    known = vars(launch_command_parser().parse_args(["x.py"]))
    assert {*config.deepspeed_config, *config.fsdp_config} <= set(known)
    text = path.read_text(encoding="utf-8")
    assert f"recipes/accelerate/{path.name}" in text and text.startswith("# ")


def test_the_table_lists_every_page():
    table = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [p.name for p in PAGES if f"({p.relative_to(ROOT).as_posix()})" not in table]
    assert not missing


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(p, id=p.name, marks=pytest.mark.slow if "qlora" in p.name else ())
        for p in RECIPES
        if schema(p) is Recipe
    ],
)
def test_a_recipe_trains_two_steps_of_its_architecture(path, data, tmp_path, monkeypatch):
    recipe = load_recipe(Recipe, path)
    if recipe.quantization:
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    model = recipe.model
    if model != "tiny":
        kind, extra = REAL[model]
        config = lambda size: kind(vocab_size=size, **{**SHAPE, **extra})  # noqa: E731
        monkeypatch.setitem(CONFIGS, model, config)
        model = str(make_base(tmp_path / "base", model))
    small = [
        f"model={model}", f"data={data}", f"out={tmp_path / 'out'}", "train.steps=2",
        "train.batch_rows=2", "train.max_length=256", "train.device=cpu", "lora.r=4",
    ]  # fmt: skip
    folder = train(load_recipe(Recipe, path, small))
    report = json.loads((folder / "train_report.json").read_text())
    assert report["steps"] == 2 and report["loss_last"] > 0
    assert load_branch_config(folder).quantization == recipe.quantization
    weights = "model" if recipe.tuning == "full" else "adapter_model"
    assert (folder / f"{weights}.safetensors").is_file()
