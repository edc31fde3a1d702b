"""Whether a run goes on from a checkpoint in its folder. Knows folders and recipes, no weights."""

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate.utils import DistributedType

from pbranch.console import say
from pbranch.errors import BranchError, RecipeError, first_line, is_out_of_memory
from pbranch.files.recipe import load_recipe
from ptrain.checkpoints.storage import (
    find_damage,
    list_checkpoints,
    read_facts,
    read_state,
    remove_leftovers,
)
from ptrain.config import LookaheadRecipe, Recipe

# keys that a run may go on with although it was started with others: they decide where, how often
# and in which portions it computes (the last to rounding, and to other random numbers of dropout)
FREE = {
    "evaluation.max_new_tokens", "evaluation.prompts", "out", "resume", "train.device",
    "train.eval_steps", "train.gradient_checkpointing", "train.logging_steps",
    "train.micro_rows", "train.report_to", "train.save_steps",
}  # fmt: skip
# keys whose meaning a checkpoint's facts hold: what they lead to counts, not how they are written
BY_FACT = {"data", "eval_data", "train.dtype"}
PLANNED = {"train.steps", "train.epochs"}  # see `plan_rounds`
FACTS = {
    "data": "the data", "base": "the base's weights (fingerprint)",
    "adapter": "the adapter to train further (hash)", "dtype": "the precision (train.dtype)",
}  # fmt: skip


def find_checkpoint(recipe: Recipe | LookaheadRecipe, main: bool = True) -> Path | None:
    """The last whole checkpoint in `recipe.out`; None where the run starts from its first step.

    A damaged one (a file is missing or cut short) is passed over for the one before it, with a
    line that names the file. Raises RecipeError where all are damaged, as starting again would be a
    surprise, and where they are of another recipe. With `resume: never` old checkpoints are
    removed, as they would be taken for newer ones. main: whether this process cleans up and speaks.
    """
    out = Path(recipe.out)
    found = list_checkpoints(out)
    if main:
        remove_leftovers(out)
    if recipe.resume == "never":
        if found and main:
            say(f"removing {len(found)} checkpoints of an earlier run in {out}")
            for folder in found:
                shutil.rmtree(folder)
        return None
    damages = []
    for folder in reversed(found):
        damage = find_damage(folder)
        if damage is None:
            own = folder / "recipe.yaml"  # earlier releases wrote that of the run alone
            page = own if own.is_file() else out / "recipe.yaml"
            told = FACTS.keys() - {"adapter"} <= read_facts(folder).keys()  # not all runs have one
            by_fact = BY_FACT if told else set()
            _compare(recipe, load_recipe(type(recipe), page), FREE | PLANNED | by_fact)
            return folder
        damages.append(damage)
        if main:
            say(f"{folder.name} is damaged and passed over: {damage}")
    if damages:
        raise RecipeError(
            f"{out}: none of its {len(found)} checkpoints is whole ({damages[0]}); expected one, "
            "or resume=never to start anew"
        )
    return None


def check_facts(checkpoint: Path, facts: dict[str, Any], main: bool = True) -> None:
    """Refuse (RecipeError) a checkpoint of other data, another base or another precision.

    facts: of this run, by the keys of FACTS. One that an earlier release did not store cannot be
    compared; a line says so. main: whether this process speaks.
    """
    stored = read_facts(checkpoint)
    for key, what in FACTS.items():
        if key in stored and stored[key] != facts.get(key):
            raise RecipeError(
                f"{checkpoint}: {what} was {stored[key]}, is {facts.get(key)}; expected the same, "
                "resume=never, or another out"
            )
    missing = [what for key, what in FACTS.items() if key in facts and key not in stored]
    if missing and main:
        say(f"{checkpoint} is of an earlier release: not compared with it: {', '.join(missing)}")


@contextmanager
def checkpoint_errors(checkpoint: str | Path | None) -> Iterator[None]:
    """What torch raises about files of a checkpoint that are whole and still not to be read, or are
    pickles that would run code, as one RecipeError."""
    try:
        yield
    except Exception as e:
        if checkpoint is None or isinstance(e, BranchError | OSError) or is_out_of_memory(e):
            raise
        raise RecipeError(
            f"{checkpoint}: cannot go on from it ({first_line(e)}); remove it, or resume=never"
        ) from e


def plan_rounds(checkpoint: Path | None, steps: int) -> list[int]:
    """After which steps the rounds of a run end: several where `steps`, those that the recipe asks
    for now, were raised since the run began. Raises RecipeError where they were lowered."""
    if checkpoint is None:
        return [steps]
    rounds = read_facts(checkpoint).get("rounds") or [read_state(checkpoint)["max_steps"]]
    if steps < rounds[-1]:
        raise RecipeError(
            f"{checkpoint}: the run was planned for {rounds[-1]} steps, is for {steps} "
            "(train.steps, train.epochs); expected as many or more, resume=never, or another out"
        )
    return rounds if steps == rounds[-1] else [*rounds, steps]


def check_processes(checkpoint: Path, accelerator: Any) -> None:
    """Refuse (RecipeError) a checkpoint whose shards these processes cannot read.

    One of another number of processes is read, but its random numbers are not: a line says so.
    """
    facts, state = read_facts(checkpoint), describe_processes(accelerator)
    shards = facts["sharding"] != "no" or state["sharding"] != "no"
    if shards and facts != facts | state:
        raise RecipeError(
            f"{checkpoint}: written by {facts['processes']} processes with sharding "
            f"{facts['sharding']}, found {state['processes']} with {state['sharding']}; "
            "launch the run as it was, or resume=never"
        )
    if facts["processes"] != state["processes"] and accelerator.is_main_process:
        say(
            f"{checkpoint} was written by {facts['processes']} processes, there are "
            f"{state['processes']}: the same rows in the same order, but equal to rounding only"
        )


def describe_processes(accelerator: Any) -> dict[str, Any]:
    """Number of processes, and who shards the weights: `no`, `deepspeed` or `fsdp`."""
    kinds = {DistributedType.DEEPSPEED: "deepspeed", DistributedType.FSDP: "fsdp"}
    return {
        "processes": accelerator.num_processes,
        "sharding": kinds.get(accelerator.distributed_type, "no"),
    }


def _compare(new: Recipe | LookaheadRecipe, old: Recipe | LookaheadRecipe, free: set[str]) -> None:
    a, b = _flat(dataclasses.asdict(new)), _flat(dataclasses.asdict(old))
    differs = [
        f"{key} was {b.get(key)!r}, is {a.get(key)!r}"
        for key in sorted(a.keys() | b.keys())
        if key not in free and a.get(key) != b.get(key)
    ]
    if differs:
        raise RecipeError(
            f"{new.out} holds checkpoints of another recipe ({differs[0]}); expected the same "
            "recipe, resume=never, or another out"
        )


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        nested = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return flat
