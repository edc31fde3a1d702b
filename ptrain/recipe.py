"""What `accelerate launch recipes/sft.yaml`, `python -m ptrain` and `ptrain sft` have in common."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pbranch import console
from pbranch.errors import BranchError, TrainingError
from pbranch.files.recipe import load_recipe
from ptrain.config import LookaheadRecipe, Recipe


def main(path: str, overrides: Sequence[str] | None = None) -> None:
    """Train by a recipe, as a program: errors become one line on stderr and an exit code.

    Args:
        path: the recipe, a YAML page; see `recipes/`.
        overrides: `key=value` each, as `train.lr=1e-4`; None: those of the command line.

    Raises:
        SystemExit: With 1 on a known error, 130 where the run was interrupted.
    """
    console.run(lambda: run(path, sys.argv[1:] if overrides is None else overrides))


def run(path: str | Path, overrides: Sequence[str]) -> None:
    """Train, or raise a BranchError; with several processes the first speaks for all."""
    try:
        recipe = load_recipe(Recipe, path, overrides)
        from ptrain.artifacts.target import check_page
        from ptrain.train import train
        from ptrain.trainer.guard import oom_as_training_error, what_to_lower

        check_page(Path(recipe.out), Path(path))
        with oom_as_training_error(what_to_lower(recipe), "outside a forward pass"):
            train(recipe, home_of(path))
    except TrainingError:
        raise  # of this process
    except (BranchError, KeyboardInterrupt) as e:
        if os.environ.get("RANK", "0") != "0":  # all processes read the same and fail alike
            sys.exit(130 if isinstance(e, KeyboardInterrupt) else 1)
        raise


def main_lookahead(path: str, overrides: Sequence[str] | None = None) -> None:
    """As `main`, for a recipe of `ptrain lookahead`."""
    console.run(lambda: run_lookahead(path, sys.argv[1:] if overrides is None else overrides))


def run_lookahead(path: str | Path, overrides: Sequence[str]) -> None:
    """Train look-ahead rows by a recipe, or raise a BranchError."""
    recipe = load_recipe(LookaheadRecipe, path, overrides)
    from ptrain.artifacts.target import check_page
    from ptrain.lookahead.run import train_lookahead
    from ptrain.lookahead.trainer import what_to_lower
    from ptrain.trainer.guard import oom_as_training_error

    check_page(Path(recipe.out), Path(path))
    with oom_as_training_error(what_to_lower(recipe), "outside a forward pass"):
        train_lookahead(recipe, home_of(path))


def home_of(path: str | Path) -> Path:
    """The checkout of `recipes/NAME.yaml`: where data is looked for after the current folder."""
    return Path(path).resolve().parent.parent
