"""One fine-tuning run from recipe to adapter folder, told in order. Knows no details."""

import logging
import os
import warnings
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import PartialState

from pbranch.console import say
from pbranch.files.lock import locked_folder
from pbranch.files.recipe import dump_recipe
from pbranch.files.run_facts import digest as file_digest
from pbranch.format.branch_config import BranchConfig
from pbranch.hf.load_model import context_length
from ptrain.artifacts.run_report import (
    Report,
    disk_errors,
    make_branch_config,
    save_metadata,
    write_checkpoint_metadata,
)
from ptrain.artifacts.target import check_out
from ptrain.checkpoints.resume import (
    check_facts,
    check_processes,
    find_checkpoint,
    plan_rounds,
)
from ptrain.checkpoints.storage import read_state, replacing
from ptrain.config import LookaheadRecipe, Recipe
from ptrain.data.batching import count_steps
from ptrain.data.dataset import Split, load_split, mean_branch_tokens
from ptrain.data.digest import digest
from ptrain.data.encoder import make_encoder
from ptrain.data.path_rows import PackingStats, measure_packing
from ptrain.model.attention import refuse_context_parallelism
from ptrain.model.base import Base, add_lora, load_base
from ptrain.model.defaults import fill_in
from ptrain.model.leak_probe import probe
from ptrain.model.lora import convert_for_original_base, copy_initial_weights
from ptrain.model.precision import (
    check_precision,
    deepspeed_errors,
    name_of,
    overrule_launcher,
)
from ptrain.model.sharding import (
    SHARDED_WEIGHTS,
    find_sharding,
    refuse_sharding,
    sharded_loading,
)
from ptrain.start import Start, find_start, list_inputs, load_adapter
from ptrain.trainer.branch_trainer import BranchSFTTrainer, make_trainer
from ptrain.trainer.evaluate import make_generations, weak_markers
from ptrain.trainer.guard import stop_signals
from ptrain.trainer.heap import limit_kernel_caches
from ptrain.trainer.micro_batches import fit_memory
from ptrain.trainer.progress import AtStart
from ptrain.trainer.trl_config import check_reporter, use_cpu


def train(recipe: Recipe, home: Path | None = None) -> Path:
    """Train, or go on training, and return the adapter's folder.

    Args:
        recipe: what to train, on what, and how; see `ptrain.config`.
        home: where relative `data` files are looked for when the current folder has none.

    Returns:
        The folder `recipe.out`, with the adapter, or all weights where `tuning` is full.

    Raises:
        BranchError: A recipe, data, model, checkpoint or folder that no run can start with, named
            in one line; TrainingError where it cannot go on (memory, a loss that is not finite).
        KeyboardInterrupt: The run was stopped by a signal; what it says names the last step saved.
        OSError: A file of `recipe.out` cannot be written.
    """
    out = Path(recipe.out)
    with locked_folder(out) if os.environ.get("RANK", "0") == "0" else nullcontext():
        run = prepare(recipe, home)
        if run.trainer.is_world_process_zero():
            announce(run)
        metrics = optimise(run.trainer, run.checkpoint, recipe)
        save(run, metrics)
    return out


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is ready for its first step, or for the one after `checkpoint`."""

    recipe: Recipe
    start: Start
    base: Base
    data: Split
    packing: PackingStats
    config: BranchConfig
    trainer: BranchSFTTrainer
    attention: str  # a line that names it
    checkpoint: Path | None

    @property
    def rounds(self) -> list[int]:
        """See `plan_rounds`."""
        return self.trainer.facts["rounds"]


def prepare(recipe: Recipe, home: Path | None) -> Run:
    """All that is checked, read and loaded before the first step."""
    quieten()
    limit_kernel_caches()
    check_reporter(recipe.train.report_to)
    refuse_context_parallelism()
    lora = recipe.lora if recipe.tuning == "lora" else None
    device = "cpu" if use_cpu(recipe.train.device) else "auto"
    sharding = find_sharding(device == "cpu")  # first: joins the processes
    refuse_sharding(sharding, recipe.quantization, lora)
    main = PartialState().is_main_process
    start = find_start(recipe)
    check_out(Path(recipe.out), list_inputs(recipe, start, home))
    asked, recipe = recipe.train.dtype, fill_in(recipe, start.config, device)
    dtype = getattr(torch, recipe.train.dtype)
    overrule_launcher(asked, dtype)
    checkpoint = find_checkpoint(recipe, main)
    encode = make_encoder(recipe, start.tokenizer, start.markers, home)
    data = load_split(recipe, encode, home, context_length(start.config))
    fitted = recipe  # to this machine, which the recipe that is kept should not be
    if sharding is None:
        fitted = fit_memory(recipe, list(map(len, data.train)), start.measure)
    base, model = load_model(recipe, sharding, dtype)
    load_adapter(model, base, start)
    base = replace(base, tokenizer=start.tokenizer)  # with the recipe's chat template, if any
    initial = copy_initial_weights(model, lora) if lora else {}
    packing = measure_packing(data.train, recipe.train, recipe.seed)
    rounds = plan_rounds(checkpoint, count_steps(packing.sequences, recipe.train))
    facts = describe_run(base, data, dtype, start)
    if checkpoint:
        check_facts(checkpoint, facts, main)
    with deepspeed_errors():
        trainer = make_trainer(fitted, model, base.tokenizer, data.train, data.held_out, rounds)
    check_precision(trainer, asked, dtype)
    attention = trainer.use_attention(recipe.train.attention)
    check_leaks(recipe, trainer, base, sharding, dtype)
    branches = make_branch_config(base, recipe, mean_branch_tokens(data.train, base.markers))
    trainer.facts = {**facts, "rounds": rounds}
    trainer.initial = initial
    trainer.write_metadata = partial(
        write_checkpoint_metadata, tokenizer=base.tokenizer, recipe=recipe, config=branches
    )
    trainer.generations = make_generations(recipe.evaluation, trainer, data.held_out, branches)
    if checkpoint:
        check_processes(checkpoint, trainer.accelerator)
    return Run(recipe, start, base, data, packing, branches, trainer, attention, checkpoint)


def describe_run(base: Base, data: Split, dtype: torch.dtype, start: Start) -> dict[str, str]:
    """What a checkpoint is to be of, besides the recipe's keys; see `check_facts`."""
    found = digest([*data.train, *data.held_out])
    counts = f"{len(data.train)} traces, {len(data.held_out)} held out"
    facts = {
        "data": f"{counts} (hash {found})",
        "base": base.fingerprint,
        "dtype": name_of(dtype),
    }
    if start.adapter is not None:
        facts["adapter"] = str(file_digest(start.adapter / "adapter_model.safetensors"))
    return facts


def load_model(recipe: Recipe, sharding: str | None, dtype: torch.dtype) -> tuple[Base, Any]:
    """The base, and the model to train: the base with LoRA, or itself.

    All weights are trained in float32, products being in `dtype`; DeepSpeed keeps float32 copies.
    """
    full = recipe.tuning == "full"
    stored = torch.float32 if full and sharding in (None, "fsdp") else dtype
    with sharded_loading(sharding, stored):
        base = load_base(
            recipe.model, stored, recipe.seed, recipe.quantization, recipe.trust_remote_code
        )
        return base, base.model if full else add_lora(base, recipe.lora, recipe.seed)


def check_leaks(
    recipe: Recipe, trainer: Any, base: Base, sharding: str | None, dtype: torch.dtype
) -> None:
    """Probe the model now, or at the first step where its weights are sharded: no pass before the
    trainer has wrapped it."""
    check = partial(probe, trainer.model, base.markers, recipe.branches.layout)
    if sharding in SHARDED_WEIGHTS:
        trainer.add_callback(AtStart(partial(check, dtype=dtype)))
    else:
        check()


def announce(run: Run) -> None:
    """Write the recipe as merged, and say what will be trained."""
    out, data = Path(run.recipe.out), run.data
    with disk_errors(out), replacing(out) as folder:
        (folder / "recipe.yaml").write_text(dump_recipe(run.recipe), encoding="utf-8")
    first, *others = data.describe()
    say("\n".join([f"{first} → {out}", *others, *run.start.describe(run.recipe)]))
    say(f"{run.packing}\n{run.attention}")
    if not data.held_out:
        say("no evaluation: nothing is held out (eval_share, eval_data), or all is one prompt")
    say(f"from {run.checkpoint}" if run.checkpoint else f"{run.rounds[-1]} steps")
    if run.checkpoint and run.rounds[-1] != read_state(run.checkpoint)["max_steps"]:
        before, now = run.rounds[-2:]
        say(
            f"planned for {before} steps, now for {now}: from here the learning rate is that of a "
            f"run of {now} steps"
        )


def optimise(
    trainer: Any, checkpoint: Path | None, recipe: Recipe | LookaheadRecipe
) -> dict[str, float]:
    """All steps; returns trl's metrics. KeyboardInterrupt where a signal has stopped them."""
    with disk_errors(Path(recipe.out)), stop_signals() as trainer.guard.asked:
        done = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.state.global_step < trainer.args.max_steps:
        trainer.accelerator.end_training()
        raise KeyboardInterrupt(how_to_resume(recipe.out, recipe.resume, trainer.state))
    return done.metrics


def save(run: Run, metrics: dict[str, float]) -> None:
    """Evaluate, and leave the weights with all that lies next to them in the run's folder."""
    trainer, data, out = run.trainer, run.data, Path(run.recipe.out)
    scores = score_end(trainer) if data.held_out else {}
    weights = trainer.gather()  # by all processes: they may be sharded over them
    if run.recipe.tuning == "lora":
        weights = {k: v.to(getattr(torch, run.recipe.lora.save_dtype)) for k, v in weights.items()}
    if trainer.is_world_process_zero():
        report = Report(
            traces=len(data.train),
            held_out=len(data.held_out),
            left_out=dict(data.left_out),
            forked=sum(x.forked for x in data.train),
            notes=dict(data.notes),
            packing=run.packing,
            metrics=metrics,
            scores=scores,
        )
        with disk_errors(out), replacing(out) as folder:
            trainer.write_weights(folder, weights)
            convert_for_original_base(folder, run.trainer.initial)
            tokenizer, stored = run.base.tokenizer, report.as_dict(trainer)
            save_metadata(folder, tokenizer, run.recipe, run.config, stored)
        warn_of_weak_markers(run.recipe, scores)
        print(f"{'model' if run.recipe.tuning == 'full' else 'adapter'}  {out}")
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()


def warn_of_weak_markers(recipe: Recipe, scores: dict[str, float]) -> None:
    """A last line where the model will seldom fork, or nobody knows whether it will."""
    if scores and recipe.form != "linear" and "eval_accuracy_fork" not in scores:
        say("warning: no held-out trace forks: how well fork and spawn are predicted is not known")
    if weak := weak_markers(scores):
        found = ", ".join(f"{name} {value:.2f}" for name, value in weak.items())
        rates = f"train.lr ({recipe.train.lr:.1e})"
        if recipe.tuning == "lora":  # else the markers' rows have the rate of all others
            rates = f"train.marker_lr ({recipe.train.marker_lr}) or {rates}"
        say(
            f"warning: of these markers too few are predicted right: {found}. The model will "
            f"seldom fork; train longer, on more traces that fork, or raise {rates}"
        )


def score_end(trainer: Any) -> dict[str, float]:
    """Scores after the last step: those of `train.eval_steps` where it has just evaluated."""
    logged = [x for x in trainer.state.log_history if "eval_loss" in x]
    if logged and logged[-1]["step"] == trainer.state.global_step:
        return logged[-1]
    return trainer.evaluate()


def how_to_resume(out: str, resume: str, state: Any) -> str:
    """What a run that was stopped has saved, and the command that goes on."""
    return (
        f"step {state.global_step} of {state.max_steps} is saved in {out}; the same command "
        f"{'with resume=auto ' if resume == 'never' else ''}goes on from there"
    )


def quieten() -> None:
    """Leave stderr to the run's own lines: no loading bars, no notes on trl's deprecations."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    for module in ("transformers", "torch"):
        warnings.filterwarnings("ignore", category=FutureWarning, module=module)
