"""How many rows a forward pass takes: what the memory of the device allows.

Gradients are the same whatever the number. Knows lengths and estimates, no tensors.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from pbranch.errors import RecipeError
from ptrain.config import Recipe
from ptrain.data.batching import make_sequences, sequence_lengths
from ptrain.model.memory_estimate import Estimate, free_memory, pick_device, spell_bytes

# of the memory that is free: a CPU gains little by more rows, and others live on the machine
SHARE = {"cpu": 0.25, "cuda": 0.85}
SHORTEST = 64  # tokens: no row length below this is proposed
Measure = Callable[[Recipe, int], Estimate]  # memory of a run with rows of so many tokens


def fit_memory(recipe: Recipe, lengths: Sequence[int], measure: Measure) -> Recipe:
    """The recipe with `train.micro_rows`, where it has none; lengths: of its traces.

    As many of a device's share of a batch as its memory takes, so many that they divide the share.
    Raises RecipeError, with what to set, where there is no memory for one row.
    """
    if recipe.train.micro_rows is not None:
        return recipe
    state, device = PartialState(), pick_device(recipe.train.device)
    longest = max(sequence_lengths(lengths, make_sequences(lengths, recipe.train, recipe.seed)))
    free = free_memory(device) // (state.num_processes if device == "cpu" else 1)
    one = _change(recipe, micro_rows=1)
    found = measure(one, longest)
    if found.total > free:
        raise RecipeError(
            f"memory: one row of {longest} tokens takes about {spell_bytes(found.total)}, a "
            f"process has {spell_bytes(free)}; expected {_what_fits(one, longest, measure, free)}"
        )
    share = max(1, recipe.train.batch_rows // state.num_processes)
    taken, row = found.total, found.activations + found.head + found.pieces
    fitting = [1, *(n for n in range(2, share + 1) if taken + (n - 1) * row < SHARE[device] * free)]
    chosen = [max(n for n in fitting if share % n == 0)]
    broadcast_object_list(chosen)  # processes may see other free memory
    return _change(recipe, micro_rows=chosen[0])


def _what_fits(one: Recipe, length: int, measure: Measure, free: int) -> str:
    """Keys to set, and to what, for a row to fit into `free` bytes."""
    options = []
    spared = _change(one, gradient_checkpointing=True)
    if not one.train.gradient_checkpointing and measure(spared, length).total <= free:
        options.append("train.gradient_checkpointing=true")
    while length > SHORTEST and measure(one, length).total > free:
        length = max(SHORTEST, length * 3 // 4)
    if length > SHORTEST:
        options.append(f"train.max_length={length}")
    if one.tuning == "full":
        options.append("tuning=lora")
    elif one.quantization is None and pick_device(one.train.device) == "cuda":
        options.append("quantization=nf4")
    return " or ".join(options) or "a smaller model"


def _change(recipe: Recipe, **train: int) -> Recipe:
    return replace(recipe, train=replace(recipe.train, **train))  # type: ignore[arg-type]


def split_batch(batch_rows: int, micro_rows: int | None, processes: int) -> tuple[int, int]:
    """Sequences of a forward pass on one device, and such passes a step."""
    micro = micro_rows or max(1, batch_rows // processes)
    if batch_rows % (micro * processes):
        raise RecipeError(
            f"train.batch_rows: {batch_rows} rows cannot be shared by {processes} processes that "
            f"take train.micro_rows {micro} at a time; expected a multiple of {micro * processes}"
        )
    return micro, batch_rows // (micro * processes)
