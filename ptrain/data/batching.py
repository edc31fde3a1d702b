"""Which traces share a row, in which order rows are trained, and in which form. Knows lengths only.

The order is that of the whole run and depends on the seed, never on the number of processes: each
optimiser step takes the next `batch_rows` rows, however they are spread over devices.
"""

import bisect
import math
import random
from collections.abc import Sequence

import numpy as np

from ptrain.config import Recipe

POOL = 32  # batches that are sorted by length together: little padding, still well mixed


def make_rows(lengths: Sequence[int], recipe: Recipe) -> list[list[int]]:
    """The traces of each row: one, or several with `train.packing`."""
    if not recipe.train.packing:
        return [[i] for i in range(len(lengths))]
    return pack(lengths, recipe.train.max_length, recipe.seed)


def count_steps(rows: int, recipe: Recipe) -> int:
    """Optimiser steps of the run."""
    train = recipe.train
    return train.steps or max(1, math.ceil(train.epochs * rows / train.batch_rows))


def pack(lengths: Sequence[int], max_length: int, seed: int) -> list[list[int]]:
    """Whole traces into rows of at most `max_length` tokens: best fit, longest first."""
    order = list(range(len(lengths)))
    random.Random(seed).shuffle(order)  # so that equal lengths are not always neighbours
    order.sort(key=lambda i: -lengths[i])
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []  # (tokens left, row), sorted
    for i in order:
        at = bisect.bisect_left(free, (lengths[i], -1))
        left, row = free.pop(at) if at < len(free) else (max_length, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(i)
        bisect.insort(free, (left - lengths[i], row))
    return rows


def run_order(lengths: Sequence[int], batch_rows: int, steps: int, seed: int) -> list[int]:
    """Indices of rows for `steps` batches: epoch after epoch, each shuffled.

    Batches are of like length; within one, rows are sorted, longest first.
    """
    rng = random.Random(seed)
    stream: list[int] = []
    out: list[int] = []
    while len(stream) < steps * batch_rows:
        epoch = list(range(len(lengths)))
        rng.shuffle(epoch)
        stream += epoch
    del stream[steps * batch_rows :]
    for start in range(0, len(stream), POOL * batch_rows):
        pool = sorted(stream[start : start + POOL * batch_rows], key=lambda i: -lengths[i])
        batches = [pool[i : i + batch_rows] for i in range(0, len(pool), batch_rows)]
        rng.shuffle(batches)
        out += [i for batch in batches for i in batch]
    return out


def draw_forms(recipe: Recipe, steps: int) -> list[int]:
    """1 for each row of the run, in its order, that is trained in linear form, else 0.

    In a mixed run each occurrence of a row is drawn on its own, with the share that `curriculum`
    gives for its step.
    """
    size = recipe.train.batch_rows
    if recipe.form != "mixed":
        return [int(recipe.form == "linear")] * (steps * size)
    times, shares = zip(*recipe.curriculum, strict=True)
    rng = random.Random(f"{recipe.seed} forms")  # its own: the order is that of every form
    parallel = np.interp(np.arange(steps) / max(1, steps - 1), times, shares)
    return [int(rng.random() >= share) for share in parallel for _ in range(size)]


def longest_row(lengths: Sequence[int], recipe: Recipe) -> int:
    """Tokens of the longest row that will be trained."""
    return max(sum(lengths[i] for i in row) for row in make_rows(lengths, recipe))
