"""The recipe's precision against that of a launch: one holds, and nothing is silent."""

import json
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState

from pbranch.errors import RecipeError
from ptrain.config import LoraOptions, Recipe, TrainOptions
from ptrain.model.precision import (
    LAUNCHER,
    check_precision,
    deepspeed_errors,
    overrule_launcher,
)
from ptrain.train import train


@pytest.fixture(autouse=True)
def new_state():
    """accelerate keeps the precision of a process's first run."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.mark.parametrize(
    ("asked", "dtype", "said"),
    [
        ("bf16", torch.float32, "computing in float32, not in the bf16 of the launcher"),
        ("fp16", torch.float32, "computing in float32, not in the fp16 of the launcher"),
        ("fp16", torch.bfloat16, "computing in bfloat16, not in the fp16 of the launcher"),
        ("fp8", torch.bfloat16, "not in the fp8"),
        ("bf16", torch.bfloat16, ""),
        ("no", torch.bfloat16, ""),
        ("no", torch.float32, ""),
    ],
)
def test_another_precision_of_a_launch_is_said(monkeypatch, capsys, asked, dtype, said):
    monkeypatch.setenv(LAUNCHER, asked)
    overrule_launcher("auto", dtype)
    found = capsys.readouterr().err
    assert said in found and bool(found) == bool(said)
    assert not said or "train.dtype=auto of the recipe holds" in found
    overrule_launcher("auto", dtype)  # a second run of the process is not of another launch
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("asked", ["no", "bf16", "fp16"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_computes_in_what_its_recipe_says(
    bases, data, tmp_path, monkeypatch, capsys, asked, dtype
):
    monkeypatch.setenv(LAUNCHER, asked)
    options = TrainOptions(steps=1, batch_rows=2, device="cpu", dtype=dtype)
    recipe = Recipe(
        data=str(data), model=str(bases["qwen3"]), out=str(tmp_path), eval_share=0.0,
        lora=LoraOptions(r=2), train=options,
    )  # fmt: skip
    report = json.loads((train(recipe) / "train_report.json").read_text())
    assert report["dtype"] == dtype
    clash = asked not in ("no", {"float32": "no", "bfloat16": "bf16"}[dtype])
    assert ("of the launcher (mixed_precision)" in capsys.readouterr().err) == clash


def test_a_precision_that_came_in_all_the_same_is_refused():
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(mixed_precision="fp16"),
        model=SimpleNamespace(config=SimpleNamespace(dtype=torch.float32)),
    )
    with pytest.raises(RecipeError, match=r"auto means float32 here, .* computes in float16"):
        check_precision(trainer, "auto", torch.float32)
    trainer.accelerator.mixed_precision = "no"
    check_precision(trainer, "auto", torch.float32)


def test_a_deepspeed_file_that_differs_is_one_line():
    said = (
        "Please correct the following DeepSpeed config values that mismatch TrainingArguments "
        "values:\n- ds bf16.enabled=True vs hf bf16|bf16_full_eval=False\n"
        "The easiest method is to set these DeepSpeed config values to 'auto'."
    )
    with pytest.raises(RecipeError, match=r"\(ds bf16\.enabled=True vs hf bf16") as caught:
        with deepspeed_errors():
            raise ValueError(said)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="other"), deepspeed_errors():
        raise ValueError("other")
