"""One fine-tuning run from recipe to adapter folder, told in order. Knows no details."""

import logging
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import PartialState

from pbranch.console import say
from pbranch.files.recipe import dump_recipe
from ptrain.artifacts.run_report import Report, describe, naming_files, save_rest
from ptrain.checkpoints.resume import check_processes, find_checkpoint
from ptrain.checkpoints.storage import replacing
from ptrain.config import Recipe
from ptrain.data.dataset import Encoder, count, load_split, mean_branch_tokens
from ptrain.data.path_rows import count_rows
from ptrain.model.attention import refuse_context_parallelism
from ptrain.model.base import Base, add_lora, choose_dtype, load_base
from ptrain.model.leak_probe import probe
from ptrain.model.lora import fit_original, starting_point
from ptrain.model.sharding import SPLIT_WEIGHTS, kind_of_split, loading_in_parts, refuse_unfit
from ptrain.trainer.branch_trainer import make_trainer
from ptrain.trainer.evaluate import make_generations
from ptrain.trainer.guard import signals
from ptrain.trainer.progress import AtStart
from ptrain.trainer.trl_config import check_reporter, use_cpu


def train(recipe: Recipe, home: Path | None = None) -> Path:
    """Train, or go on training, and return the adapter's folder.

    home: where relative `data` files are looked for when the current folder has none.
    """
    quieten()
    check_reporter(recipe.train.report_to)
    refuse_context_parallelism()
    out, device = Path(recipe.out), "cpu" if use_cpu(recipe.train.device) else "auto"
    split = kind_of_split(device == "cpu")  # first: joins the processes
    refuse_unfit(recipe, split)
    checkpoint = find_checkpoint(recipe, PartialState().is_main_process)
    dtype = choose_dtype(recipe.train.dtype, device)
    base, model = load_model(recipe, split, dtype)
    start = starting_point(model, recipe.lora) if recipe.tuning == "lora" else {}
    encode = Encoder(base.tokenizer, base.markers, recipe.branches.layout, recipe.switch)
    traces, held_out, left_out = load_split(recipe, encode, home)
    trainer = make_trainer(recipe, model, base.tokenizer, traces, held_out)
    attention, counted = trainer.use_attention(recipe.train.attention), count_rows(traces, recipe)
    vouch = partial(probe, trainer.model, base.markers, recipe.branches.layout)
    if split in SPLIT_WEIGHTS:  # no pass before the trainer has wrapped the model
        trainer.add_callback(AtStart(partial(vouch, dtype=dtype)))
    else:
        vouch()
    config = describe(base, recipe, mean_branch_tokens(traces, base.markers))
    trainer.generations = make_generations(recipe, trainer, held_out, config)
    if checkpoint:
        check_processes(checkpoint, trainer.accelerator)

    main = trainer.is_world_process_zero()
    if main:
        with naming_files(out), replacing(out) as folder:
            (folder / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
        say(f"{len(traces)} traces, {len(held_out)} held out, {count(left_out)} → {out}")
        say(f"{counted}\n{attention}")
        if not held_out:
            say("no evaluation: nothing is held out (eval_share, eval_data), or all is one prompt")
        say(f"from {checkpoint}" if checkpoint else f"{trainer.args.max_steps} steps")
    with naming_files(out), signals() as trainer.guard.asked:
        done = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.state.global_step < trainer.args.max_steps:
        trainer.accelerator.end_training()
        raise KeyboardInterrupt(how_to_go_on(recipe, trainer.state))
    scores = score_end(trainer) if held_out else {}
    weights = trainer.gather()  # by all processes: they may be split over them
    if main:
        report = Report(len(traces), len(held_out), dict(left_out), counted, done.metrics, scores)
        with naming_files(out), replacing(out) as folder:
            trainer.write_weights(folder, weights)
            fit_original(folder, start)
            save_rest(folder, base, recipe, config, report.of(trainer))
        print(f"{'model' if recipe.tuning == 'full' else 'adapter'}  {out}")
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
        base = load_base(
            recipe.model, stored, recipe.seed, recipe.quantization, recipe.trust_remote_code
        )
        return base, base.model if full else add_lora(base, recipe.lora, recipe.seed)


def score_end(trainer: Any) -> dict[str, float]:
    """Scores after the last step: those of `train.eval_steps` where it has just evaluated."""
    logged = [x for x in trainer.state.log_history if "eval_loss" in x]
    if logged and logged[-1]["step"] == trainer.state.global_step:
        return logged[-1]
    return trainer.evaluate()


def how_to_go_on(recipe: Recipe, state: Any) -> str:
    """What a run that was stopped has saved, and the command that goes on."""
    never = recipe.resume == "never"
    return (
        f"step {state.global_step} of {state.max_steps} is saved in {recipe.out}; the same command "
        f"{'with resume=auto ' if never else ''}goes on from there"
    )


def quieten() -> None:
    """Leave stderr to the run's own lines: no loading bars, no notes on trl's deprecations."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    for module in ("transformers", "torch"):
        warnings.filterwarnings("ignore", category=FutureWarning, module=module)
