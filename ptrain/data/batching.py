"""Which traces share a sequence, in which order sequences are trained, and in which form. Knows
lengths only.

The order is that of the whole run and depends on the seed, never on the number of processes: each
optimiser step takes the next `batch_rows` sequences, however they are spread over devices.
"""

import bisect
import math
import random
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ptrain.config import Recipe, TrainOptions

POOL = 32  # batches that are sorted by length together: little padding, still well mixed


def make_sequences(lengths: Sequence[int], train: TrainOptions, seed: int) -> list[list[int]]:
    """The traces of each sequence, by number: one, or several with `train.packing`."""
    if not train.packing:
        return [[i] for i in range(len(lengths))]
    return pack(lengths, train.max_length, seed)


def count_steps(sequences: int, train: TrainOptions) -> int:
    """Optimiser steps of the run."""
    return train.steps or max(1, math.ceil(train.epochs * sequences / train.batch_rows))


def pack(lengths: Sequence[int], max_length: int, seed: int) -> list[list[int]]:
    """Whole traces into sequences of at most `max_length` tokens: best fit, longest first."""
    order = list(range(len(lengths)))
    random.Random(seed).shuffle(order)  # so that equal lengths are not always neighbours
    order.sort(key=lambda i: -lengths[i])
    sequences: list[list[int]] = []
    free: list[tuple[int, int]] = []  # (tokens left, sequence), sorted
    for i in order:
        at = bisect.bisect_left(free, (lengths[i], -1))
        left, number = free.pop(at) if at < len(free) else (max_length, len(sequences))
        if number == len(sequences):
            sequences.append([])
        sequences[number].append(i)
        bisect.insort(free, (left - lengths[i], number))
    return sequences


def sequence_lengths(lengths: Sequence[int], sequences: Sequence[Sequence[int]]) -> list[int]:
    """Tokens of each sequence, from those of the traces."""
    return [sum(lengths[i] for i in traces) for traces in sequences]


def order_rounds(
    lengths: Sequence[int], batch_size: int, rounds: Sequence[int], seed: int
) -> list[int]:
    """Numbers of the sequences of a run whose rounds end after these steps: what a round trains is
    not changed by those after it."""
    spans = pairwise([0, *rounds])
    return [i for a, b in spans for i in order_sequences(lengths, batch_size, b, seed, a)]


def order_sequences(
    lengths: Sequence[int], batch_size: int, steps: int, seed: int, first: int = 0
) -> list[int]:
    """Numbers of the sequences of `steps` batches, without those of the `first`: epoch after epoch,
    each shuffled.

    Batches are of like length; within one, sequences are sorted, longest first.
    """
    rng = random.Random(seed)
    stream: list[int] = []
    out: list[int] = []
    while len(stream) < steps * batch_size:
        epoch = list(range(len(lengths)))
        rng.shuffle(epoch)
        stream += epoch
    stream = stream[first * batch_size : steps * batch_size]
    for start in range(0, len(stream), POOL * batch_size):
        pool = sorted(stream[start : start + POOL * batch_size], key=lambda i: -lengths[i])
        batches = [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
        rng.shuffle(batches)
        out += [i for batch in batches for i in batch]
    return out


def draw_forms(recipe: Recipe, steps: int) -> list[int]:
    """1 for each sequence of the run, in its order, that is trained in linear form, else 0.

    In a mixed run each occurrence of a sequence is drawn on its own, with the share that
    `curriculum` gives for its step.
    """
    size = recipe.train.batch_rows
    if recipe.form != "mixed":
        return [int(recipe.form == "linear")] * (steps * size)
    times, shares = zip(*recipe.curriculum, strict=True)
    rng = random.Random(f"{recipe.seed} forms")  # its own: the order is that of every form
    parallel = np.interp(np.arange(steps) / max(1, steps - 1), times, shares)
    return [int(rng.random() >= share) for share in parallel for _ in range(size)]
