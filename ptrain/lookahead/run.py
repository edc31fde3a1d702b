"""One look-ahead run from recipe to its two files, told in order. Knows no details."""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from pbranch.console import say
from pbranch.errors import RecipeError
from pbranch.files.lock import locked_folder
from pbranch.files.recipe import dump_recipe
from pbranch.hf.load_model import context_length
from pbranch.hf.lookahead.files import tensor_shapes
from pbranch.hf.lookahead.row_lora import check_layers
from ptrain.artifacts.artifact import ADAPTER, MODEL, RECIPE
from ptrain.artifacts.run_report import (
    count_work,
    disk_errors,
    list_scores,
    print_report,
    report_at_step,
    write_pages,
)
from ptrain.artifacts.target import check_out
from ptrain.checkpoints.resume import check_facts, check_processes, find_checkpoint, plan_rounds
from ptrain.checkpoints.storage import replacing
from ptrain.config import LookaheadRecipe
from ptrain.data.batching import count_steps
from ptrain.data.dataset import Split, find_files, load_split
from ptrain.data.digest import digest
from ptrain.data.encoder import make_encoder
from ptrain.lookahead.target import Target, data_recipe, find_target
from ptrain.lookahead.trainer import LookaheadTrainer, make_trainer
from ptrain.lookahead.weights import Lookahead
from ptrain.model.defaults import choose_dtype
from ptrain.model.precision import name_of, overrule_launcher
from ptrain.model.sharding import count_trained
from ptrain.train import optimise, quieten, score_end
from ptrain.trainer.heap import limit_kernel_caches
from ptrain.trainer.trl_config import check_reporter, use_cpu

LR = 2e-3
MICRO_ROWS = 1  # of them, look-ahead rows take the room: anchors x tokens each


def train_lookahead(recipe: LookaheadRecipe, home: Path | None = None) -> Path:
    """Train, or go on training, and return the folder with the look-ahead files.

    Args:
        recipe: what to train, on what, and how; see `ptrain.config`.
        home: where relative `data` files are looked for when the current folder has none.

    Returns:
        The folder `recipe.out`.

    Raises:
        BranchError: A recipe, data, model or checkpoint that no run can start with; TrainingError
            where the run cannot go on.
        KeyboardInterrupt: The run was stopped by a signal; what it says names the last step saved.
        OSError: A file of `recipe.out` cannot be written.
    """
    with locked_folder(Path(recipe.out)):
        return _train(recipe, home)


def _train(recipe: LookaheadRecipe, home: Path | None) -> Path:
    quieten()
    limit_kernel_caches()
    check_reporter(recipe.train.report_to)
    refuse_launch_and_folder(recipe)
    data_files = [*find_files(recipe.data, home), *find_files(recipe.eval_data, home)]
    named = [recipe.model, recipe.adapter]
    check_out(Path(recipe.out), [*data_files, *(name for name in named if name is not None)])
    target = find_target(recipe)
    asked, recipe = recipe.train.dtype, fill_in(recipe, target)
    dtype = getattr(torch, recipe.train.dtype)
    overrule_launcher(asked, dtype)
    checkpoint = find_checkpoint(recipe)
    as_sft = data_recipe(recipe, target.learned)
    markers = target.learned.ids if target.learned else None
    encode = make_encoder(as_sft, target.tokenizer, markers, home)
    data = load_split(as_sft, encode, home, context_length(target.config))
    rounds = plan_rounds(checkpoint, count_steps(len(data.train), recipe.train))
    config = target.describe(recipe)
    facts = {
        "data": f"{len(data.train)} traces, {len(data.held_out)} held out "
        f"(hash {digest([*data.train, *data.held_out])})",
        "base": f"{config.base_fingerprint}, adapter {config.adapter}",
        "dtype": name_of(dtype),
    }
    if checkpoint:
        check_facts(checkpoint, facts)
    model = target.load(dtype, recipe.trust_remote_code)
    if recipe.lookahead.r:
        check_layers(model)
    shapes, rows = tensor_shapes(config, model), model.get_input_embeddings().weight
    model.lookahead = Lookahead(shapes, rows, recipe.seed)
    trainer = make_trainer(recipe, data, model, target.tokenizer, config, rounds, as_sft)
    trainer.facts = {**facts, "rounds": rounds}
    trainer.write_metadata = partial(write_checkpoint_pages, recipe=recipe)
    if checkpoint:
        check_processes(checkpoint, trainer.accelerator)
    announce(recipe, data, trainer, rounds, checkpoint)
    metrics = optimise(trainer, checkpoint, recipe)
    save(recipe, data, trainer, metrics)
    return Path(recipe.out)


def refuse_launch_and_folder(recipe: LookaheadRecipe) -> None:
    """RecipeError where several processes were launched, or `out` holds an adapter or a model,
    whose recipe and checkpoints the run would mix with its own."""
    processes = PartialState(cpu=use_cpu(recipe.train.device)).num_processes
    if processes > 1:
        raise RecipeError(f"launch: found {processes} processes, expected one for look-ahead rows")
    for name in (ADAPTER[0], MODEL[0]):
        if (Path(recipe.out) / name).is_file():
            raise RecipeError(f"out: {recipe.out} has {name}; expected a folder of its own")


def fill_in(recipe: LookaheadRecipe, target: Target) -> LookaheadRecipe:
    """The recipe with learning rate, precision and rows of a pass."""
    train = recipe.train
    device = "cpu" if use_cpu(train.device) else "auto"
    filled = replace(
        train,
        lr=train.lr or LR,
        dtype=name_of(choose_dtype(train.dtype, device, target.config)),  # type: ignore[arg-type]
        micro_rows=train.micro_rows or MICRO_ROWS,
    )
    return replace(recipe, train=filled)


def announce(
    recipe: LookaheadRecipe,
    data: Split,
    trainer: LookaheadTrainer,
    rounds: list[int],
    checkpoint: Path | None,
) -> None:
    """Write the recipe as merged, and say what will be trained."""
    out = Path(recipe.out)
    with disk_errors(out), replacing(out) as folder:
        (folder / RECIPE).write_text(dump_recipe(recipe), encoding="utf-8")
    first, *others = data.describe()
    others = [line for line in others if not line.startswith("warning")]  # it is not to fork
    say("\n".join([f"{first} → {out}", *others]))
    options = recipe.lookahead
    say(
        f"{options.tokens} look-ahead rows, LoRA of rank {options.r}, Markov head of rank "
        f"{options.markov_rank}: {count_trained(trainer.model)} weights"
    )
    say(f"from {checkpoint}" if checkpoint else f"{rounds[-1]} steps")


def save(
    recipe: LookaheadRecipe, data: Split, trainer: LookaheadTrainer, metrics: dict[str, float]
) -> None:
    """Evaluate, and leave the files with recipe and report in the run's folder."""
    out = Path(recipe.out)
    scores = score_end(trainer) if data.held_out else {}
    report = {
        **count_work(trainer, metrics),
        "traces": len(data.train),
        "held_out": len(data.held_out),
        "left_out": dict(data.left_out),
        "traces_forked": sum(x.forked for x in data.train),
        "notes": dict(Counter(data.notes)),
        **list_scores(trainer, scores),
    }
    with disk_errors(out), replacing(out) as folder:
        trainer.write_weights(folder)
        write_pages(folder, recipe, report)
    print_report(report)
    print(f"lookahead  {out}")
    trainer.accelerator.end_training()


def write_checkpoint_pages(folder: Path, state: Any, *, recipe: LookaheadRecipe) -> None:
    """What lies next to the weights of a checkpoint."""
    write_pages(folder, recipe, report_at_step(state))
