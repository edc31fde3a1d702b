"""The synthetic tasks in natural English, by name. Only the steps of `chain` are dependent."""

import random
from collections.abc import Callable

from pdata.synthetic.natural.tasks import cases, chain, records, resume, sums
from pdata.synthetic.problem import Problem

# make(rng, level = number of steps, split, easy) -> Problem
NaturalGenerator = Callable[[random.Random, int, str, bool], Problem]
NATURAL_TASKS: dict[str, NaturalGenerator] = {
    "records": records.make,
    "sums": sums.make,
    "cases": cases.make,
    "chain": chain.make,
    "resume": resume.make,
}
LEVELS = range(2, 13)
WEIGHTS = (5, 6, 6, 6, 6, 6, 5, 5, 4, 4, 4)  # a short one costs less to train on
EASY_LEVELS = (2, 3, 4)


def draw_level(rng: random.Random, easy: bool) -> int:
    """How many steps a problem has, where that is not given."""
    return rng.choice(EASY_LEVELS) if easy else rng.choices(LEVELS, WEIGHTS)[0]
