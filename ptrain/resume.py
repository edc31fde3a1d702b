"""Whether a run goes on from a checkpoint in its folder. Knows folders and recipes, no weights."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from accelerate import PartialState

from pbranch.errors import RecipeError
from pbranch.recipe import load_recipe
from ptrain.config import Recipe
from ptrain.progress import say

# keys that change no weight: a run may go on with others than it was started with
FREE = {
    "evaluation.max_new_tokens", "evaluation.prompts", "out", "resume", "train.device",
    "train.eval_steps", "train.gradient_checkpointing", "train.logging_steps",
    "train.micro_rows", "train.report_to", "train.save_steps",
}  # fmt: skip


def find_checkpoint(recipe: Recipe) -> Path | None:
    """The last whole checkpoint in `recipe.out`; None where the run starts anew.

    Raises RecipeError where the checkpoints are of another recipe. With `resume: never` old
    checkpoints are removed, as they would be taken for newer ones.
    """
    out = Path(recipe.out)
    found = sorted(out.glob("checkpoint-*"), key=lambda p: int(p.name.rsplit("-", 1)[1]))
    if recipe.resume == "never":
        if found and PartialState().is_main_process:
            say(f"removing {len(found)} checkpoints of an earlier run in {out}")
            for folder in found:
                shutil.rmtree(folder)
        return None
    # a checkpoint's state file is written last
    whole = [folder for folder in found if (folder / "trainer_state.json").is_file()]
    if not whole:
        return None
    differs = _differences(recipe, load_recipe(Recipe, out / "recipe.yaml"))
    if differs:
        raise RecipeError(
            f"{out} holds checkpoints of another recipe ({differs[0]}); expected the same recipe, "
            "resume=never, or another out"
        )
    return whole[-1]


def _differences(new: Recipe, old: Recipe) -> list[str]:
    a, b = _flat(dataclasses.asdict(new)), _flat(dataclasses.asdict(old))
    return [f"{k} was {b[k]!r}, is {a[k]!r}" for k in a if k not in FREE and a[k] != b[k]]


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return flat
