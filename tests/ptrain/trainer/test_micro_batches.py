"""Rows of a pass follow the free memory, and change nothing but that."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from pbranch.errors import RecipeError
from ptrain.config import Recipe, TrainOptions
from ptrain.model.memory_estimate import Estimate
from ptrain.train import train
from ptrain.trainer import micro_batches
from ptrain.trainer.micro_batches import fit_memory

FIXED, ROW = 1000, 100  # bytes: of a run without rows, and of a row of 500 tokens


def measure(recipe, length):
    """A run whose rows take memory by their length; a tenth of it with gradient checkpointing."""
    rows = recipe.train.micro_rows
    row = ROW * length // 500 // (10 if recipe.train.gradient_checkpointing else 1)
    return Estimate(rows, length, FIXED, 0, 0, 0, rows * row, 0, 0, 0)


def fit(monkeypatch, free, **train):
    options = TrainOptions(device="cpu", batch_rows=12, max_length=500, **train)
    monkeypatch.setattr(micro_batches, "free_memory", lambda device: free)
    monkeypatch.setitem(micro_batches.SHARE, "cpu", 0.5)
    return fit_memory(Recipe(data="x", train=options), [200, 500], measure)


@pytest.mark.parametrize(
    ("free", "rows"),
    [(100_000, 12), (4410, 12), (4000, 6), (2650, 3), (2410, 2), (2000, 1), (1101, 1)],
)
def test_as_many_rows_as_fit_and_divide_the_batch(monkeypatch, free, rows):
    assert fit(monkeypatch, free).train.micro_rows == rows


def test_a_number_that_is_given_stays(monkeypatch):
    assert fit(monkeypatch, 0, micro_rows=4).train.micro_rows == 4


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (1090, "train.gradient_checkpointing=true or train.max_length=375"),
        (1005, "a smaller model"),
    ],
)
def test_a_row_that_does_not_fit_is_an_error_with_what_does(monkeypatch, free, expected):
    with pytest.raises(RecipeError) as e:
        fit(monkeypatch, free)
    assert "one row of 500 tokens takes about 1.1 kB" in str(e.value)
    assert str(e.value).endswith(f"expected {expected}")


def test_gradients_do_not_depend_on_the_rows_of_a_pass(bases, data, tmp_path, capsys):
    """Two steps of plain SGD: what moves the weights is the gradient alone."""
    options = TrainOptions(
        device="cpu", steps=2, batch_rows=8, lr=0.1, optimizer="sgd", max_grad_norm=1e6
    )
    recipe = Recipe(data=str(data), model=str(bases["qwen3"]), eval_share=0.0, train=options)
    found = []
    for rows in (1, 2, 8, None):
        run = replace(
            recipe, out=str(tmp_path / str(rows)), train=replace(options, micro_rows=rows)
        )
        found.append(load_file(train(run) / "adapter_model.safetensors"))
    assert any(x.abs().max() > 1e-3 for name, x in found[0].items() if "lora_B" in name)
    for other in found[1:]:
        for name, weights in other.items():
            torch.testing.assert_close(weights, found[0][name], rtol=1e-4, atol=1e-6)
