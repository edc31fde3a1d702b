"""What a run leaves next to its weights: tokenizer, branch config, report and card.

Knows the recipe and what was measured; trains nothing.
"""

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from pbranch.files.recipe import dump_recipe
from pbranch.format.branch_config import BranchConfig
from ptrain.artifacts.artifact import RECIPE, REPORT
from ptrain.artifacts.model_card import write_card
from ptrain.config import LookaheadRecipe, Recipe
from ptrain.data.path_rows import PackingStats
from ptrain.model.base import Base
from ptrain.model.precision import computed_dtype
from ptrain.model.sharding import count_trained


@contextmanager
def disk_errors(out: Path) -> Iterator[None]:
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
    forked: int  # of the traces, as `traces` counts them
    notes: dict[str, int]
    packing: PackingStats
    metrics: dict[str, float]
    scores: dict[str, float]

    def as_dict(self, trainer: Any) -> dict[str, Any]:
        """As stored, with what `trainer` knows."""
        return {
            **count_work(trainer, self.metrics),
            "traces": self.traces,
            "held_out": self.held_out,
            "left_out": self.left_out,
            "traces_forked": self.forked,
            "notes": self.notes,
            "fill": round(self.packing.fill, 4),
            "tokens": self.packing.tokens,
            "tokens_one_row_per_branch": self.packing.path_tokens,
            **list_scores(trainer, self.scores),
        }


def count_work(trainer: Any, metrics: dict[str, float]) -> dict[str, Any]:
    """Steps, losses and weights of a run. `seconds` are those since the last resume."""
    losses = [x["loss"] for x in trainer.state.log_history if "loss" in x]
    return {
        "steps": trainer.state.global_step,
        "seconds": round(metrics["train_runtime"], 1),
        "loss_first": losses[0] if losses else None,
        "loss_last": losses[-1] if losses else None,
        "trainable_params": count_trained(trainer.model),
    }


def list_scores(trainer: Any, scores: dict[str, float]) -> dict[str, Any]:
    """The last evaluation, all of them, and what they were computed with."""
    return {
        **_round_scores(scores),
        "evaluations": [
            {"step": x["step"], **_round_scores(x)}
            for x in trainer.state.log_history
            if "eval_loss" in x
        ],
        "device": str(trainer.args.device),
        "dtype": computed_dtype(trainer),
        "processes": trainer.args.world_size,
        "torch": torch.__version__,
        **{name: version(name) for name in ("transformers", "peft", "trl")},
    }


def _round_scores(scores: dict[str, float]) -> dict[str, float]:
    return {k: round(v, 4) for k, v in scores.items() if _is_score(k)}


def _is_score(key: str) -> bool:
    """Whether a metric says how good the model is, not how fast the evaluation was."""
    return key.startswith("eval_") and not key.endswith(("_runtime", "_per_second", "_time"))


def make_branch_config(base: Base, recipe: Recipe, branch_tokens: float | None) -> BranchConfig:
    """What an adapter is trained for; branch_tokens: see `mean_branch_tokens`."""
    return BranchConfig(
        marker_ids=base.markers.as_dict(),
        base_model=base.name,
        base_fingerprint=base.fingerprint,
        join=recipe.branches.join,
        positions=recipe.branches.positions,
        outline=recipe.branches.outline,
        branch_tokens=branch_tokens,
        quantization=recipe.quantization,
        form=recipe.form,
        switch=recipe.switch,
        template_args=recipe.template_args,
    )


def save_metadata(
    folder: Path, tokenizer: Any, recipe: Recipe, config: BranchConfig, report: dict[str, Any]
) -> None:
    """Write what lies next to the weights into `folder`; the report also as a table on stdout."""
    _write_metadata(folder, recipe.out, tokenizer, recipe, config, report)
    print_report(report)


def print_report(report: dict[str, Any]) -> None:
    """A report as a table on stdout."""
    width = max(map(len, report))
    told = {key: value for key, value in report.items() if key != "evaluations"}
    print("\n".join(f"{key:<{width}}  {value}" for key, value in told.items()))


def write_checkpoint_metadata(
    folder: Path, state: Any, *, tokenizer: Any, recipe: Recipe, config: BranchConfig
) -> None:
    """Write what lies next to the weights of a checkpoint, so that it can be used as an adapter or
    a model. The report holds what is known at its step."""
    step, report = state.global_step, report_at_step(state)
    where = f"{recipe.out}/checkpoint-{step}"
    _write_metadata(folder, where, tokenizer, recipe, config, report)


def report_at_step(state: Any) -> dict[str, Any]:
    """The report of a checkpoint: what is known at its step."""
    step = state.global_step
    losses = [x["loss"] for x in state.log_history if "loss" in x]
    scores = [x for x in state.log_history if "eval_loss" in x and x["step"] == step]
    return {
        "steps": step,
        "steps_planned": state.max_steps,
        "loss_first": losses[0] if losses else None,
        "loss_last": losses[-1] if losses else None,
        **_round_scores(scores[-1] if scores else {}),
    }


def _write_metadata(
    folder: Path,
    where: str,
    tokenizer: Any,
    recipe: Recipe,
    config: BranchConfig,
    report: dict[str, Any],
) -> None:
    tokenizer.save_pretrained(folder)
    config.save(folder)
    write_pages(folder, recipe, report)
    write_card(folder, where)


def write_pages(folder: Path, recipe: Recipe | LookaheadRecipe, report: dict[str, Any]) -> None:
    """Write `recipe.yaml` and `train_report.json` into `folder`."""
    (folder / RECIPE).write_text(dump_recipe(recipe), encoding="utf-8")
    (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
