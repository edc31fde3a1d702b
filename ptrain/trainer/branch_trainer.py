"""trl's SFTTrainer over branches: loss on each token's own target, scored by kind of target.

Data arrives laid out and in order; nothing is shuffled, cut or packed here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import is_peft_model
from datasets import Dataset
from torch import Tensor
from transformers import PrinterCallback

from pbranch.errors import RecipeError
from pbranch.files.markdown import one_line
from pbranch.format.markers import find_markers
from ptrain.artifacts.stop_tokens import stop_at_turn_end
from ptrain.config import Recipe
from ptrain.data.batching import (
    count_steps,
    draw_forms,
    make_sequences,
    order_rounds,
    sequence_lengths,
)
from ptrain.data.collator import BranchCollator
from ptrain.data.dataset import Example
from ptrain.model.attention import BRANCH_FLEX, choose_attention, length_multiple
from ptrain.model.fast_layers import use_fast_layers
from ptrain.model.sharding import trained_state
from ptrain.model.vocabulary import use_frozen_vocabulary
from ptrain.trainer.evaluate import Generations, Tally
from ptrain.trainer.guard import Guard
from ptrain.trainer.heap import TrimHeap
from ptrain.trainer.optimizer import set_marker_rates
from ptrain.trainer.progress import Progress
from ptrain.trainer.resumable_trainer import ResumableSFTTrainer
from ptrain.trainer.trl_config import make_sft_config, use_cpu


class BranchSFTTrainer(ResumableSFTTrainer):
    """Takes batches of `BranchCollator`; its dataset holds numbers of sequences, and forms."""

    generations: Generations | None = None  # at each evaluation, where the recipe asks for them

    def __init__(self, *args: Any, marker_lr: float, fork_weight: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.marker_lr, self.fork_weight = marker_lr, fork_weight
        use_frozen_vocabulary(self.model)
        use_fast_layers(self.model)
        markers = find_markers(self.processing_class)
        self.tally, self.rare = Tally(markers), [markers.fork, markers.spawn]

    def use_attention(self, option: str) -> str:
        """Switch the model to what `train.attention` asks for; returns a line that names it."""
        model: Any = self.model
        collator: Any = self.data_collator
        longest, device = collator.longest, self.args.device.type
        name = choose_attention(option, device, longest, model.config)
        model.set_attn_implementation(name)
        if name == BRANCH_FLEX:
            collator.limit_shapes(length_multiple(name))
        return f"attention: {name} ({option}; rows of up to {longest} tokens on {device})"

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """transformers', with a rate of their own for the markers' rows."""
        try:
            optimizer = super().create_optimizer(model)
        except (ImportError, ValueError) as e:  # its package is not there, or wants more arguments
            raise RecipeError(f"train.optimizer: {one_line(e)}") from e
        set_marker_rates(optimizer, model or self.model, self.marker_lr)
        return optimizer

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Mean over all targets of the optimiser step, whatever device or micro-batch has them. In
        training, fork and spawn count `fork_weight` times.

        inputs: what `collate` makes, all (B, L) but for the layout tensor.
        """
        inputs = dict(inputs)
        kinds = inputs.pop("kinds")
        output = model(**inputs, use_cache=False, fused_lm_head=True)
        losses = -output.log_probs  # (B, L), 0 where there is no target
        if not model.training:
            hits, targets = output.is_top1, inputs["shift_labels"]
            sums = self.tally.count(losses.detach(), hits, targets, kinds)
            # one of each sequence: those that are doubled to fill a batch drop out
            self.tally.sums.append(self.accelerator.gather_for_metrics(sums))
        elif self.fork_weight != 1:
            rare = torch.isin(inputs["shift_labels"], torch.tensor(self.rare, device=losses.device))
            losses = torch.where(rare, self.fork_weight * losses, losses)
        count = output.label_mask.sum() if num_items_in_batch is None else num_items_in_batch
        loss = losses.sum() / torch.as_tensor(count).clamp(min=1)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # DDP averages the gradients
        return loss

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Its metrics are those of `ptrain.trainer.evaluate`."""
        output = super().evaluation_loop(*args, **kwargs)
        generated = self.generations.scores(self.model) if self.generations else {}
        return output._replace(
            metrics={**(output.metrics or {}), **self.tally.scores(), **generated}
        )

    def gather(self) -> dict[str, Tensor]:
        """The weights to save, whole: LoRA and marker rows, or all. Every process must ask, for
        they may be split."""
        if is_peft_model(self.model):
            return trained_state(self.model)
        return self.accelerator.get_state_dict(self.model_wrapped)

    def write_weights(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """An adapter's or a model's files, from what `gather` returned; peft's own default would
        add a resized vocabulary."""
        model: Any = self.model
        if is_peft_model(model):
            model.save_pretrained(str(folder), state_dict=weights, save_embedding_layers=False)
        else:
            stop_at_turn_end(model, self.processing_class)
            model.save_pretrained(str(folder), state_dict=weights)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As a checkpoint asks, of every process; the first writes."""
        weights = self.gather()
        if self.args.should_save:
            self.write_weights(Path(output_dir or str(self.args.output_dir)), weights)


def make_trainer(
    recipe: Recipe,
    model: Any,
    tokenizer: Any,
    train: list[Example],
    held_out: list[Example],
    rounds: Sequence[int] | None = None,
) -> BranchSFTTrainer:
    """A trainer over `train`, evaluating on `held_out`; nothing has run yet. `recipe` is filled in,
    see `ptrain.model.defaults`. rounds: see `plan_rounds`; None: the run has one."""
    options, lengths = recipe.train, [len(x) for x in train]
    sequences = make_sequences(lengths, options, recipe.seed)
    rounds = rounds or [count_steps(len(sequences), options)]
    in_order = sequence_lengths(lengths, sequences)
    order, steps = order_rounds(in_order, options.batch_rows, rounds, recipe.seed), rounds[-1]
    alone = sorted(range(len(held_out)), key=lambda i: -len(held_out[i]))  # a sequence each
    by_length = [len(sequences) + i for i in alone]
    sequences += [[len(train) + i] for i in range(len(held_out))]
    forms = {"parallel": [0], "linear": [1], "mixed": [0, 1]}[recipe.form]
    evaluated = _items(by_length * len(forms), [form for form in forms for _ in by_length])
    trainer = BranchSFTTrainer(
        model=model,
        args=make_sft_config(options, recipe.out, recipe.seed, steps, bool(held_out)),
        data_collator=BranchCollator([*train, *held_out], sequences, tokenizer.pad_token_id or 0),
        train_dataset=_items(order, draw_forms(recipe, steps)),
        eval_dataset=evaluated if held_out else None,
        processing_class=tokenizer,
        callbacks=[Progress()],
        guard=Guard(recipe, tokenizer.decode),
        marker_lr=options.marker_lr,
        fork_weight=options.fork_weight,
    )
    trainer.remove_callback(PrinterCallback)  # it writes to stdout
    if use_cpu(options.device):
        trainer.add_callback(TrimHeap())
    return trainer


def _items(sequences: list[int], linear: list[int]) -> Dataset:
    """What `BranchCollator` takes: numbers of sequences, and whether each is in linear form."""
    return Dataset.from_dict({"sequence": sequences, "linear": linear})
