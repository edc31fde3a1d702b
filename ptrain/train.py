"""One fine-tuning run from recipe to adapter folder, told in order. Knows no details."""

import errno
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from pbranch.config import BranchConfig
from pbranch.recipe import dump_recipe
from ptrain.card import model_card
from ptrain.config import Recipe
from ptrain.dataset import Encoder, count, load_split, mean_branch_tokens
from ptrain.distributed import (
    SPLIT_WEIGHTS,
    count_trained,
    kind_of_split,
    loading_in_parts,
    refuse_unfit,
)
from ptrain.lora import fit_original, starting_point
from ptrain.model import Base, add_lora, choose_dtype, load_base
from ptrain.probe import probe
from ptrain.progress import AtStart, say
from ptrain.resume import find_checkpoint
from ptrain.trainer import make_trainer, use_cpu

REPORT = "train_report.json"


def train(recipe: Recipe, home: Path | None = None) -> Path:
    """Train, or go on training, and return the adapter's folder.

    home: where relative `data` files are looked for when the current folder has none.
    """
    quieten()
    out = Path(recipe.out)
    device = "cpu" if use_cpu(recipe.train.device) else "auto"
    split = kind_of_split(device == "cpu")  # first: joins the processes
    refuse_unfit(recipe, split)
    checkpoint = find_checkpoint(recipe)
    dtype = choose_dtype(recipe.train.dtype, device)
    base, model = load_model(recipe, split, dtype)
    start = starting_point(model, recipe.lora) if recipe.tuning == "lora" else {}
    encode = Encoder(base.tokenizer, base.markers, recipe.branches.layout)
    traces, held_out, left_out = load_split(recipe, encode, home)
    trainer = make_trainer(recipe, model, base.tokenizer, traces, held_out)
    vouch = partial(probe, trainer.model, base.markers, recipe.branches.layout)
    if split in SPLIT_WEIGHTS:  # no pass before the trainer has wrapped the model
        trainer.add_callback(AtStart(partial(vouch, dtype=dtype)))
    else:
        vouch()

    main = trainer.is_world_process_zero()
    if main:
        out.mkdir(parents=True, exist_ok=True)
        (out / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
        say(f"{len(traces)} traces, {len(held_out)} held out, {count(left_out)} → {out}")
        say(f"from {checkpoint}" if checkpoint else f"{trainer.args.max_steps} steps")
    with naming_files(out):
        done = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    scores = trainer.evaluate() if held_out else {}
    report = Report(len(traces), len(held_out), dict(left_out), done.metrics, scores)
    state = trainer.gather()  # by all processes: weights may be split over them
    if main:
        with naming_files(out):
            trainer.write(out, state)
            fit_original(out, start)
            save_rest(out, base, recipe, mean_branch_tokens(traces, base.markers))
            write_report(out, report.of(trainer))
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()
    return out


def load_model(recipe: Recipe, split: str | None, dtype: torch.dtype) -> tuple[Base, Any]:
    """The base, and the model to train: the base with LoRA, or itself.

    All weights are trained in float32, products being in `dtype`; DeepSpeed keeps float32 copies.
    """
    full = recipe.tuning == "full"
    stored = torch.float32 if full and split in (None, "fsdp") else dtype
    with loading_in_parts(split, stored):
        base = load_base(recipe.model, stored, recipe.seed, recipe.quantization)
        return base, base.model if full else add_lora(base, recipe.lora, recipe.seed)


def quieten() -> None:
    """Leave stderr to the run's own lines: no loading bars, no notes on trl's deprecations."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    for module in ("transformers", "torch"):
        warnings.filterwarnings("ignore", category=FutureWarning, module=module)


@contextmanager
def naming_files(out: Path) -> Iterator[None]:
    """Errors of safetensors and torch about files in `out` (a full disk) as one OSError."""
    try:
        yield
    except (SafetensorError, OSError, RuntimeError) as e:
        if isinstance(e, RuntimeError) and "inline_container" not in str(e):
            raise
        number = (isinstance(e, OSError) and e.errno) or errno.EIO
        raise OSError(number, f"cannot write ({str(e).splitlines()[0]})", str(out)) from e


@dataclass(frozen=True, slots=True)
class Report:
    """What a run was given and what it measured."""

    traces: int
    held_out: int
    left_out: dict[str, int]
    metrics: dict[str, float]
    scores: dict[str, float]

    def of(self, trainer: Any) -> dict[str, Any]:
        """As stored. `seconds` are those since the last resume."""
        losses = [x["loss"] for x in trainer.state.log_history if "loss" in x]
        return {
            "steps": trainer.state.global_step,
            "seconds": round(self.metrics["train_runtime"], 1),
            "loss_first": losses[0] if losses else None,
            "loss_last": losses[-1] if losses else None,
            "trainable_params": count_trained(trainer.model),
            "traces": self.traces,
            "held_out": self.held_out,
            "left_out": self.left_out,
            **{k: round(v, 4) for k, v in self.scores.items() if k.startswith("eval_loss")},
            "device": str(trainer.args.device),
            "processes": trainer.args.world_size,
            "torch": torch.__version__,
        }


def save_rest(out: Path, base: Base, recipe: Recipe, branch_tokens: float | None) -> None:
    """What lies beside the weights: tokenizer, branch config and card."""
    base.tokenizer.save_pretrained(out)
    BranchConfig(
        marker_ids=base.markers.as_dict(),
        base_model=base.name,
        base_fingerprint=base.fingerprint,
        join=recipe.branches.join,
        positions=recipe.branches.positions,
        outline=recipe.branches.outline,
        branch_tokens=branch_tokens,
        quantization=recipe.quantization,
    ).save(out)
    (out / "README.md").write_text(model_card(recipe, base.name), encoding="utf-8")


def write_report(out: Path, report: dict[str, Any]) -> None:
    """`train_report.json`, and the same as a table on stdout."""
    (out / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    width = max(map(len, report))
    print("\n".join(f"{key:<{width}}  {value}" for key, value in report.items()))
    print(f"{'adapter':<{width}}  {out}")
