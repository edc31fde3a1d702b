"""trl's SFTTrainer over branch rows: loss on each row's own target, and evaluation by kind of row.

Data arrives laid out and in order; nothing is shuffled, cut or packed here.
"""

import math
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from torch import Tensor
from transformers import IntervalStrategy, PrinterCallback
from transformers.integrations import (
    INTEGRATION_TO_CALLBACK,
    get_available_reporting_integrations,
)
from trl import SFTConfig, SFTTrainer

from pbranch.errors import RecipeError
from pbranch.markers import find_markers
from ptrain.batching import count_steps, draw_forms, make_rows, run_order
from ptrain.collator import BranchCollator
from ptrain.config import Recipe
from ptrain.dataset import Example
from ptrain.evaluate import Generations, Tally
from ptrain.progress import Progress


class BranchSFTTrainer(SFTTrainer):
    """Takes batches of `BranchCollator`; its dataset holds row numbers and forms."""

    generations: Generations | None = None  # at each evaluation, where the recipe asks for them

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tally = Tally(find_markers(self.processing_class))

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Mean over all targets of the optimiser step, whatever device or micro-batch has them."""
        inputs = dict(inputs)
        kinds = inputs.pop("kinds")
        output = model(**inputs, use_cache=False, fused_lm_head=True)
        losses = -output.log_probs  # (B, L), 0 where there is no target
        if not model.training:
            hits, targets = output.is_top1, inputs["shift_labels"]
            sums = self.tally.count(losses.detach(), hits, targets, kinds)
            # a row each: rows doubled to fill a batch drop out
            self.tally.sums.append(self.accelerator.gather_for_metrics(sums))
        count = output.label_mask.sum() if num_items_in_batch is None else num_items_in_batch
        loss = losses.sum() / torch.as_tensor(count).clamp(min=1)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # DDP averages the gradients
        return loss

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Its metrics are those of `ptrain.evaluate`."""
        output = super().evaluation_loop(*args, **kwargs)
        generated = self.generations.scores(self.model) if self.generations else {}
        return output._replace(
            metrics={**(output.metrics or {}), **self.tally.scores(), **generated}
        )

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """A checkpoint holds LoRA and marker rows; peft's default adds a resized vocabulary."""
        if self.args.should_save:
            model: Any = self.model
            model.save_pretrained(output_dir, state_dict=state_dict, save_embedding_layers=False)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Without trl's model card, which would describe a checkpoint as a finished model."""
        super(SFTTrainer, self)._save_checkpoint(model, trial)


def make_trainer(
    recipe: Recipe, model: Any, tokenizer: Any, train: list[Example], held_out: list[Example]
) -> BranchSFTTrainer:
    """A trainer over `train`, evaluating on `held_out`; nothing has run yet."""
    examples, rows = [*train, *held_out], make_rows([len(x) for x in train], recipe)
    lengths = [sum(len(train[i]) for i in row) for row in rows]
    steps = count_steps(len(rows), recipe)
    order = run_order(lengths, recipe.train.batch_rows, steps, recipe.seed)
    first = len(rows)
    rows += [[i] for i in range(len(train), len(examples))]
    by_length = sorted(range(first, len(rows)), key=lambda r: -len(examples[rows[r][0]]))
    forms = {"parallel": [0], "linear": [1], "mixed": [0, 1]}[recipe.form]
    evaluated = _items(by_length * len(forms), [form for form in forms for _ in by_length])
    config = make_config(recipe, steps, bf16=model.dtype == torch.bfloat16)
    if not held_out:
        config.eval_strategy = IntervalStrategy.NO
    trainer = BranchSFTTrainer(
        model=model,
        args=config,
        data_collator=BranchCollator(examples, rows, tokenizer.pad_token_id or 0),
        train_dataset=_items(order, draw_forms(recipe, steps)),
        eval_dataset=evaluated if held_out else None,
        processing_class=tokenizer,
        callbacks=[Progress()],
    )
    trainer.remove_callback(PrinterCallback)  # it writes to stdout
    return trainer


def _items(rows: list[int], linear: list[int]) -> Dataset:
    """What `BranchCollator` takes: row numbers, and whether each is in linear form."""
    return Dataset.from_dict({"row": rows, "linear": linear})


def make_config(recipe: Recipe, steps: int, bf16: bool) -> SFTConfig:
    """The recipe in trl's words."""
    train, cpu = recipe.train, use_cpu(recipe.train.device)
    micro, accumulation = split_batch(recipe, PartialState(cpu=cpu).num_processes)
    return SFTConfig(
        output_dir=recipe.out,
        max_steps=steps,
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        learning_rate=train.lr,
        lr_scheduler_type=train.schedule,
        warmup_steps=math.ceil(train.warmup * steps),
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        gradient_checkpointing=train.gradient_checkpointing,
        bf16=bf16,
        use_cpu=cpu,
        seed=recipe.seed,
        logging_steps=train.logging_steps,
        logging_first_step=True,
        eval_strategy="steps" if train.eval_steps else "no",
        eval_steps=train.eval_steps or None,
        save_steps=train.save_steps,
        save_total_limit=2,
        report_to=train.report_to,
        disable_tqdm=True,
        # rows come laid out, packed and in order
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        train_sampling_strategy="sequential",
        dataloader_pin_memory=not cpu,
        ddp_find_unused_parameters=False,
        router_aux_loss_coef=0.0,  # its formula takes a 2-D mask only
    )


def split_batch(recipe: Recipe, processes: int) -> tuple[int, int]:
    """Rows of a forward pass on one device, and such passes a step."""
    rows, micro = recipe.train.batch_rows, recipe.train.micro_rows
    micro = micro or max(1, rows // processes)
    if rows % (micro * processes):
        raise RecipeError(
            f"train.batch_rows: {rows} rows cannot be shared by {processes} processes that take "
            f"train.micro_rows {micro} at a time; expected a multiple of {micro * processes}"
        )
    return micro, rows // (micro * processes)


def use_cpu(device: str) -> bool:
    """Whether to train on the CPU; RecipeError where the device asked for is missing."""
    if device == "cuda" and not torch.cuda.is_available():
        raise RecipeError("train.device: found cuda, but this machine has no CUDA device; use cpu")
    return device == "cpu" or not torch.accelerator.is_available()


def check_reporter(name: str) -> None:
    """Raise RecipeError where `train.report_to` names what transformers does not know, or what is
    not installed."""
    installed = get_available_reporting_integrations()
    if name not in ("none", "all", *installed):
        what = "is not installed" if name in INTEGRATION_TO_CALLBACK else "is not known"
        raise RecipeError(
            f"train.report_to: {name} {what}; expected none, all, or one of {', '.join(installed)}"
        )
