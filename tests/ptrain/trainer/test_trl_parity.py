"""On text without a fork, ptrain trains as trl's own SFTTrainer does."""

import pytest
from datasets import Dataset
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from ptrain.config import LoraOptions, Recipe, TrainOptions
from ptrain.data.dataset import Example
from ptrain.model.base import add_lora, load_base
from ptrain.trainer import branch_trainer
from ptrain.trainer.branch_trainer import make_trainer
from tests.ptrain.conftest import make_records
from tests.ptrain.trainer.test_loss import encoder

STEPS = 8
STOCK = {"qwen3": "sdpa", "mistral": "sdpa", "gemma2": "eager"}  # attention of the stock run


def load(path):
    base = load_base(str(path))
    return base, add_lora(base, LoraOptions(r=4, alpha=8), seed=0)


def logged(trainer):
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("family", STOCK)
def test_each_step_has_the_loss_of_trl(bases, monkeypatch, tmp_path, family):
    monkeypatch.setattr(branch_trainer, "set_marker_rates", lambda *_: None)  # one rate, as trl's
    train = TrainOptions(
        steps=STEPS, batch_rows=4, micro_rows=2, lr=1e-2, logging_steps=1, device="cpu"
    )
    recipe = Recipe(data="-", out=str(tmp_path / "ours"), train=train)
    base, model = load(bases[family])
    layouts = list(map(encoder(base), make_records(24, depth=0)))
    ours = make_trainer(recipe, model, base.tokenizer, [Example(len(x), x) for x in layouts], [])
    ours.use_attention("auto")

    order = [layouts[i] for i in ours.train_dataset["sequence"]]  # each a trace: no packing
    assert not any(layout.hidden for layout in order)
    ids = [[*x.token_ids, base.tokenizer.eos_token_id] for x in order]
    labels = [[-100, *x.targets] for x in order]  # trl shifts them
    assert all(i[-5:] == t[-5:] for i, t in zip(ids, labels, strict=True))
    base, model = load(bases[family])
    model.set_attn_implementation(STOCK[family])
    config = SFTConfig(
        output_dir=str(tmp_path / "theirs"), max_steps=STEPS, per_device_train_batch_size=2,
        gradient_accumulation_steps=2, learning_rate=1e-2, lr_scheduler_type="cosine",
        warmup_steps=1, weight_decay=0.0, gradient_checkpointing=False, bf16=False, use_cpu=True,
        seed=0, logging_steps=1, max_length=None, train_sampling_strategy="sequential",
        disable_tqdm=True,
    )  # fmt: skip
    theirs = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_dict({"input_ids": ids, "labels": labels}),
        processing_class=base.tokenizer,
    )
    theirs.remove_callback(PrinterCallback)

    found, expected = logged(ours), logged(theirs)
    moved = [p.detach().abs().max() for n, p in model.named_parameters() if "lora_B" in n]
    assert len(found) == STEPS and min(moved) > 1e-3  # from 0
    assert found == pytest.approx(expected, rel=0, abs=1e-5)
