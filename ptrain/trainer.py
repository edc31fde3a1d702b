"""trl's SFTTrainer over branch rows: loss on each row's own target, and evaluation by kind of row.

Data arrives laid out and in order; nothing is shuffled, cut or packed here.
"""

import math
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import is_peft_model
from datasets import Dataset
from torch import Tensor
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from pbranch.errors import RecipeError
from pbranch.layout import Kind, Layout
from ptrain.batching import count_steps, make_rows, run_order
from ptrain.collator import BranchCollator
from ptrain.config import Recipe
from ptrain.distributed import trained_state
from ptrain.model import choose_dtype
from ptrain.progress import Progress

KINDS = [kind.name.lower() for kind in Kind]


class BranchSFTTrainer(SFTTrainer):
    """Takes batches of `BranchCollator`; its dataset holds row numbers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._tallies: list[Tensor] = []  # of the evaluation under way: (2 * kinds) sums, counts
        super().__init__(*args, **kwargs)

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
            self._tally(losses.detach(), kinds, output.label_mask)
        count = output.label_mask.sum() if num_items_in_batch is None else num_items_in_batch
        loss = losses.sum() / torch.as_tensor(count).clamp(min=1)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # DDP averages the gradients
        return loss

    def _tally(self, losses: Tensor, kinds: Tensor, mask: Tensor) -> None:
        """Sums and counts by kind; gathered a row: rows doubled to fill a batch drop out."""
        sums = losses.new_zeros(len(losses), 2, len(KINDS))
        sums[:, 0].scatter_add_(1, kinds, losses)
        sums[:, 1].scatter_add_(1, kinds, mask.to(losses.dtype))
        self._tallies.append(self.accelerator.gather_for_metrics(sums.flatten(1)).double().sum(0))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """After an evaluation, its loss over all targets and over those of each kind."""
        if self._tallies and "eval_loss" in logs:
            sums, counts = torch.stack(self._tallies).sum(0).cpu().view(2, -1)
            self._tallies.clear()
            logs["eval_loss"] = (sums.sum() / counts.sum().clamp(min=1)).item()
            logs |= {
                f"eval_loss_{kind}": (loss / count).item()
                for kind, loss, count in zip(KINDS, sums, counts, strict=True)
                if count
            }
        super().log(logs, start_time)

    def gather(self) -> dict[str, Tensor]:
        """The weights to save, whole: LoRA and marker rows, or all. Every process must ask, for
        they may be split; peft's own default would add a resized vocabulary."""
        if is_peft_model(self.model):
            return trained_state(self.model)
        return self.accelerator.get_state_dict(self.model_wrapped)

    def write(self, folder: Path, state: dict[str, Tensor]) -> None:
        """An adapter's or a model's files, from what `gather` returned."""
        model: Any = self.model
        extra = {"save_embedding_layers": False} if is_peft_model(model) else {}
        model.save_pretrained(str(folder), state_dict=state, **extra)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As a checkpoint asks, of every process; the first writes."""
        state = self.gather()
        if self.args.should_save:
            self.write(Path(output_dir or str(self.args.output_dir)), state)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Without trl's model card, which would describe a checkpoint as a finished model."""
        super(SFTTrainer, self)._save_checkpoint(model, trial)


def make_trainer(
    recipe: Recipe, model: Any, tokenizer: Any, train: list[Layout], held_out: list[Layout]
) -> BranchSFTTrainer:
    """A trainer over `train`, evaluating on `held_out`; nothing has run yet."""
    layouts, rows = [*train, *held_out], make_rows([len(x) for x in train], recipe)
    lengths = [sum(len(train[i]) for i in row) for row in rows]
    steps = count_steps(len(rows), recipe)
    order = run_order(lengths, recipe.train.batch_rows, steps, recipe.seed)
    first = len(rows)
    rows += [[i] for i in range(len(train), len(layouts))]
    by_length = sorted(range(first, len(rows)), key=lambda r: -len(layouts[rows[r][0]]))
    config = make_config(recipe, steps)
    trainer = BranchSFTTrainer(
        model=model,
        args=config,
        data_collator=BranchCollator(layouts, rows, tokenizer.pad_token_id or 0),
        train_dataset=Dataset.from_dict({"row": order}),
        eval_dataset=Dataset.from_dict({"row": by_length}) if held_out else None,
        processing_class=tokenizer,
        callbacks=[Progress()],
    )
    trainer.remove_callback(PrinterCallback)  # it writes to stdout
    return trainer


def make_config(recipe: Recipe, steps: int) -> SFTConfig:
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
        bf16=choose_dtype(train.dtype, "cpu" if cpu else "auto") == torch.bfloat16,
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
