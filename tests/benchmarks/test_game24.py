"""Game of 24: what the model is taught is right, and nothing of it is held out."""

import random

import pytest

from benchmarks import game24
from pinfer.search.tasks.game24 import apply_step, solve


@pytest.fixture(scope="module", autouse=True)
def small_numbers() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(game24, "LARGEST", 6)
        patch.setattr(game24, "HELD_OUT", 10)
        yield


def test_steps_and_ratings_are_right() -> None:
    train, held_out = game24.puzzles()
    assert len(held_out) == 10 and not set(train) & set(held_out)
    rng, ways, ratings = random.Random(0), 0, set()
    for number in range(300):
        numbers = rng.choice(train)
        trace = game24.make_trace(number, numbers, rng)
        said, left = trace.completion.splitlines(), list(numbers)
        assert sorted(map(int, trace.prompt.split(": ")[1].split())) == left
        rating = said.pop() if not said[-1].startswith("Step") else None
        for step, line in enumerate(said, 1):
            assert line.startswith(game24.TASK.thought_header(step))
            left = apply_step(left, line)
            assert left is not None, line
        if rating is None:
            assert left == [24] and game24.TASK.is_final(said[-1])
            ways += 1
        else:
            word = "impossible" if solve(left) is None else "sure"
            assert rating == f"{game24.PAGE.value} {word}"
            ratings.add((len(left), word))
    assert 55 < ways < 95  # a quarter of 300
    assert ratings == {(n, word) for n in (1, 2, 3) for word in ("sure", "impossible")}


def test_an_arm_is_the_mean_over_problems_and_rounds() -> None:
    found = game24.arm(["a", "b"], 2, lambda problem, seed: (0.3 * (problem == "a"), 10 + seed))
    assert (found["solved"], found["any"], found["tokens"]) == (0.15, 0.5, 10.5)
