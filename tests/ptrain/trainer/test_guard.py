"""What stops a run early: signals, losses that are no numbers, memory; and going on after it."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from pbranch.errors import TrainingError, is_out_of_memory
from ptrain.checkpoints.storage import find_damage, list_checkpoints
from ptrain.config import LoraOptions, Recipe, TrainOptions
from ptrain.train import train
from ptrain.trainer.branch_trainer import BranchSFTTrainer
from ptrain.trainer.guard import Guard, oom_as_training_error, what_to_lower

STEPS = 6


def slow(value):
    return pytest.param(value, marks=pytest.mark.slow)


def recipe(bases, data, out, **options) -> Recipe:
    options = {
        "steps": STEPS, "batch_rows": 4, "micro_rows": 2, "lr": 1e-2, "logging_steps": 4,
        "save_steps": 2, "device": "cpu",
    } | options  # fmt: skip
    return Recipe(
        data=str(data), model=str(bases["qwen3"]), out=str(out), eval_share=0.1,
        lora=LoraOptions(r=4, alpha=8, dropout=0.2), train=TrainOptions(**options),
    )  # fmt: skip


def result(out):
    """Adapter and log of a finished run."""
    log = json.loads((out / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
    return load_file(out / "adapter_model.safetensors"), log["log_history"]


@pytest.fixture(scope="module")
def undisturbed(bases, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    train(recipe(bases, data, out))
    return result(out)


def at_batch(monkeypatch, number, action):
    """Have `action` done after the given batch (from 1, two a step)."""
    note, count = Guard.note_batch, 0

    def counted(self, batch, loss):
        nonlocal count
        count += 1
        note(self, batch, loss)
        if count == number:
            action(self)

    monkeypatch.setattr(Guard, "note_batch", counted)


@pytest.mark.parametrize("number", [signal.SIGTERM, slow(signal.SIGINT), slow(signal.SIGUSR1)])
def test_a_signal_saves_and_the_run_goes_on_bit_for_bit(
    bases, data, tmp_path, monkeypatch, undisturbed, number
):
    handlers = signal.getsignal(number)
    with monkeypatch.context() as patch:
        at_batch(patch, 5, lambda _: os.kill(os.getpid(), number))
        with pytest.raises(KeyboardInterrupt) as caught:
            train(recipe(bases, data, tmp_path, logging_steps=2))
    assert str(caught.value) == (
        f"step 3 of 6 is saved in {tmp_path}; the same command goes on from there"
    )
    assert signal.getsignal(number) is handlers
    assert list_checkpoints(tmp_path)[-1].name == "checkpoint-3"
    assert not (tmp_path / "adapter_model.safetensors").exists()
    train(recipe(bases, data, tmp_path, logging_steps=4, eval_steps=5))  # both change no weight
    (weights, log), (expected, _) = result(tmp_path), undisturbed
    assert all(torch.equal(weights[k], expected[k]) for k in expected)
    # intervals are those of the recipe, not of the checkpoint
    assert [x["step"] for x in log if "loss" in x] == [1, 2, 4]
    assert next(x["step"] for x in log if "eval_loss" in x) == 5


def test_a_stop_between_lines_of_the_log_keeps_their_losses(
    bases, data, tmp_path, monkeypatch, undisturbed
):
    with monkeypatch.context() as patch:
        at_batch(patch, 6, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(KeyboardInterrupt):
            train(recipe(bases, data, tmp_path))
    train(recipe(bases, data, tmp_path))
    _, log = result(tmp_path)
    assert [x for x in log if "loss" in x] == [x for x in undisturbed[1] if "loss" in x]


def test_the_next_ctrl_c_stops_at_once(bases, data, tmp_path, monkeypatch):
    def twice(_):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    at_batch(monkeypatch, 5, twice)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(recipe(bases, data, tmp_path))
    assert caught.value.args == ()
    assert list_checkpoints(tmp_path)[-1].name == "checkpoint-2"


def poison_gradient(monkeypatch, value):
    """From step 3 on, the gradient of one LoRA weight is `value` under a finite loss."""

    def poison(trainer):
        if trainer.state.global_step == 2:
            next(p for p in trainer.model.parameters() if p.requires_grad).grad.fill_(value)

    clip = BranchSFTTrainer._clip_grad_norm
    monkeypatch.setattr(
        BranchSFTTrainer,
        "_clip_grad_norm",
        lambda self, model: (poison(self), clip(self, model))[1],
    )


def assert_untouched(out, step):
    """The last checkpoint is that of `step`, whole, with numbers for weights."""
    last = list_checkpoints(out)[-1]
    assert last.name == f"checkpoint-{step}" and find_damage(last) is None
    weights = load_file(last / "adapter_model.safetensors")
    assert all(w.isfinite().all() for w in weights.values())
    assert not (out / ".partial").exists() and not (out / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("value", [float("nan"), slow(float("inf"))])
def test_a_loss_that_is_no_number_stops_with_its_rows(bases, data, tmp_path, monkeypatch, value):
    compute, batches = BranchSFTTrainer.compute_loss, 0

    def poisoned(self, *args, **kwargs):
        nonlocal batches
        batches += 1
        loss = compute(self, *args, **kwargs)
        return loss * value if batches == 6 else loss  # the second batch of step 3

    monkeypatch.setattr(BranchSFTTrainer, "compute_loss", poisoned)
    with pytest.raises(TrainingError) as caught:
        train(recipe(bases, data, tmp_path))
    path = tmp_path / "nan_batch_step_3.pt"
    words = (
        f"step 3, rank 0: the loss is [{value}], expected a finite number; its rows are in {path}"
    )
    assert words in str(caught.value) and "train.lr (0.01)" in str(caught.value)
    stored = torch.load(path, weights_only=True)
    assert stored["step"] == 3 and stored["rank"] == 0 and len(stored["batches"]) == 1
    ids, texts = stored["batches"][0]["input_ids"], stored["texts"][0]
    assert ids.shape[0] == len(texts) == 2 and "user" in texts[0]
    assert_untouched(tmp_path, 2)


@pytest.mark.parametrize("value", [float("nan"), slow(float("inf"))])
def test_a_gradient_that_is_no_number_stops_too(bases, data, tmp_path, monkeypatch, value):
    poison_gradient(monkeypatch, value)
    with pytest.raises(TrainingError, match=r"step 3, rank 0: the gradient is .*(nan|inf)"):
        train(recipe(bases, data, tmp_path))
    assert len(torch.load(tmp_path / "nan_batch_step_3.pt", weights_only=True)["batches"]) == 2
    assert_untouched(tmp_path, 2)


def test_weights_that_are_no_numbers_are_never_saved(bases, data, tmp_path, monkeypatch):
    """An optimiser that makes them from finite gradients, in the very step that is saved."""
    step = torch.optim.AdamW.step

    def poisoned(self, *args, **kwargs):
        done = step(self, *args, **kwargs)
        weight = self.param_groups[0]["params"][0]
        if self.state[weight]["step"] == 4:
            weight.data.fill_(float("nan"))
        return done

    monkeypatch.setattr(torch.optim.AdamW, "step", poisoned)
    with pytest.raises(TrainingError, match="step 4: the optimiser has made weights"):
        train(recipe(bases, data, tmp_path))
    assert_untouched(tmp_path, 2)


def test_a_learning_rate_that_is_far_too_high_ends_as_an_error(bases, data, tmp_path):
    with pytest.raises(TrainingError, match=r"Lower train.lr \(1e\+38\)"):
        train(recipe(bases, data, tmp_path, lr=1e38, save_steps=1))


CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has …")
CPU = RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried …")


@pytest.mark.parametrize("error", [CUDA, slow(CPU), slow(MemoryError())])
def test_memory_that_runs_out_is_one_line(bases, data, tmp_path, monkeypatch, error):
    def fail(self, *args, **kwargs):
        if self.state.global_step == 2:
            raise error
        return compute(self, *args, **kwargs)

    compute = BranchSFTTrainer.compute_loss
    monkeypatch.setattr(BranchSFTTrainer, "compute_loss", fail)
    with pytest.raises(TrainingError) as caught:
        train(recipe(bases, data, tmp_path, max_length=256))
    message = str(caught.value)
    assert "\n" not in message and "step 3, rank 0: out of memory on 2 rows of " in message
    assert message.endswith(
        "lower train.micro_rows (2), train.max_length (256), lora.r (4), "
        "or set train.gradient_checkpointing=true (false), or quantization=nf4 (none)"
    )
    assert_untouched(tmp_path, 2)


def test_only_errors_of_memory_are_taken_for_them():
    recipe = Recipe(data="x", tuning="full", train=TrainOptions(micro_rows=1))
    with pytest.raises(RuntimeError, match="shapes"), oom_as_training_error("x", "here"):
        raise RuntimeError("shapes differ")
    assert not is_out_of_memory(RuntimeError("index out of range"))
    assert what_to_lower(recipe) == (
        "train.max_length (4096), or set train.gradient_checkpointing=true (false)"
    )
    quantised = replace(recipe, tuning="lora", quantization="nf4")
    assert "quantization" not in what_to_lower(quantised) and "lora.r" in what_to_lower(quantised)
