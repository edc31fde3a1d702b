"""The trainer of look-ahead rows: steps, checkpoints and resuming as those of `ptrain sft`.

Its model is the frozen one, with the trained tensors as a child called `lookahead`.
"""

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import save_file
from torch import Tensor
from transformers import PrinterCallback

from pbranch.hf.lookahead.files import WEIGHTS, LookaheadConfig, check_shapes, load_tensors
from pbranch.hf.lookahead.row_lora import RowLora
from ptrain.config import LookaheadOptions, LookaheadRecipe, Recipe
from ptrain.data.batching import order_rounds
from ptrain.data.dataset import Split
from ptrain.lookahead.anchors import LookaheadCollator
from ptrain.lookahead.loss import Tally, score_batch
from ptrain.lookahead.weights import Lookahead
from ptrain.trainer.guard import Guard
from ptrain.trainer.heap import TrimHeap
from ptrain.trainer.progress import Progress
from ptrain.trainer.resumable_trainer import ResumableSFTTrainer
from ptrain.trainer.trl_config import make_sft_config, use_cpu


class LookaheadTrainer(ResumableSFTTrainer):
    """Takes batches of `LookaheadCollator`."""

    def __init__(
        self, *args: Any, options: LookaheadOptions, config: LookaheadConfig, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.options, self.config = options, config
        self.lora = RowLora(self.model, self.lookahead.tensors)
        self.tally = Tally(options.tokens)

    @property
    def lookahead(self) -> Lookahead:
        """What is trained."""
        model: Any = self.model
        return model.lookahead

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Mean over all labelled look-ahead rows of the optimiser step."""
        scores = score_batch(self.model, self.lora, self.lookahead, inputs, self.options)
        if not model.training:
            self.tally.sums.append(self.accelerator.gather_for_metrics(self.tally.count(scores)))
        count = scores.labelled.sum() if num_items_in_batch is None else num_items_in_batch
        return scores.losses.sum() / torch.as_tensor(count).clamp(min=1)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Its metrics are those of `Tally`."""
        output = super().evaluation_loop(*args, **kwargs)
        return output._replace(metrics={**(output.metrics or {}), **self.tally.scores()})

    def write_weights(self, folder: Path) -> None:
        """`lookahead.safetensors` and `lookahead_config.json`."""
        tensors = {k: v.detach().cpu().contiguous() for k, v in self.lookahead.tensors.items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        self.config.save(folder)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As a checkpoint asks."""
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        self.write_weights(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """The trained tensors; the frozen ones are there."""
        folder, own = Path(resume_from_checkpoint), self.lookahead.tensors
        tensors = load_tensors(folder)
        check_shapes(tensors, {name: tuple(x.shape) for name, x in own.items()}, folder)
        with torch.no_grad():
            for name, values in tensors.items():
                own[name].copy_(values)


def make_trainer(
    recipe: LookaheadRecipe,
    data: Split,
    model: Any,
    tokenizer: Any,
    config: LookaheadConfig,
    rounds: list[int],
    guarded: Recipe,
) -> LookaheadTrainer:
    """A trainer over `data`, nothing has run yet. model: frozen, with its `lookahead`; guarded:
    the recipe in the words of `ptrain sft`; rounds: see `plan_rounds`."""
    train, options = recipe.train, recipe.lookahead
    order = order_rounds([len(x) for x in data.train], train.batch_rows, rounds, recipe.seed)
    first = len(data.train)
    held_out = sorted(range(len(data.held_out)), key=lambda i: -len(data.held_out[i]))
    evaluated = _items([first + i for i in held_out], first=-len(held_out))
    guard = Guard(guarded, tokenizer.decode)
    guard.memory_hint = what_to_lower(recipe)
    examples = [*data.train, *data.held_out]
    trainer = LookaheadTrainer(
        model=model,
        args=make_sft_config(train, recipe.out, recipe.seed, rounds[-1], bool(held_out)),
        data_collator=LookaheadCollator(
            examples, options.tokens, options.anchors, recipe.seed, tokenizer.pad_token_id or 0
        ),
        train_dataset=_items(order),
        eval_dataset=evaluated if held_out else None,
        processing_class=tokenizer,
        callbacks=[Progress()],
        guard=guard,
        options=options,
        config=config,
    )
    trainer.remove_callback(PrinterCallback)
    if use_cpu(train.device):
        trainer.add_callback(TrimHeap())
    return trainer


def what_to_lower(recipe: LookaheadRecipe) -> str:
    """The keys that save memory, with their present values."""
    train = recipe.train
    alone = train.micro_rows in (None, 1)
    keys = [] if alone else [f"train.micro_rows ({train.micro_rows})"]
    anchors = f"lookahead.anchors ({recipe.lookahead.anchors})"
    return ", ".join([*keys, anchors, f"train.max_length ({train.max_length})"])


def _items(sequences: list[int], first: int = 0) -> Dataset:
    """What `LookaheadCollator` takes; draws are numbered from `first`, evaluations below 0."""
    draws = list(range(first, first + len(sequences)))
    return Dataset.from_dict({"sequence": sequences, "draw": draws})
