"""Game of 24: join four numbers by + - * / to 24. A thought joins two and says which are left:
`4 + 8 = 12 (left: 6 6 12)`.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations

from pbranch.errors import RequestError
from pinfer.search.tasks.task import Task, TaskPage

GOAL = 24
PAGE = TaskPage(
    prompt="""Use each number once, and + - * /, to make 24. In each step join two numbers, and \
say which numbers are left.

Numbers: 2 9 10 12
Step 1: 12 * 2 = 24 (left: 9 10 24)
Step 2: 10 - 9 = 1 (left: 1 24)
Step 3: 24 * 1 = 24 (left: 24)

Numbers: 1 4 8 8
Step 1: 8 / 4 = 2 (left: 1 2 8)
Step 2: 1 + 2 = 3 (left: 3 8)
Step 3: 3 * 8 = 24 (left: 24)

Numbers: {problem}
""",
    thought="Step {step}:",
    thought_tokens=32,
    final=r"\(left: *-?\d+(?:/\d+)?\)",
    value="Can the numbers that are left make 24? (sure, likely or impossible):",
    value_tokens=6,
    value_words={"sure": 20.0, "likely": 1.0, "impossible": 0.0},
    highest=20.0,
    judge="Can the numbers that are left make 24? (yes or no):",
    propose="{count} different next steps, one a line:\n",
    vote="Which of these is nearest to 24?\n{candidates}\nBest:",
)
_STEP = re.compile(
    r"(-?\d+(?:/\d+)?) *([-+*/]) *(-?\d+(?:/\d+)?) *= *(-?\d+(?:/\d+)?) *\(left: *([^)]*)\)"
)


def read_problem(problem: str) -> list[Fraction]:
    """The numbers of a problem, such as `4 6 6 8`. RequestError where it has none."""
    words = problem.replace(",", " ").split()
    if not words or not all(re.fullmatch(r"\d+", word) for word in words):
        raise RequestError(f"game24: found {problem!r}, expected numbers such as '4 6 6 8'")
    return [Fraction(word) for word in words]


def apply_step(numbers: Sequence[Fraction], text: str) -> list[Fraction] | None:
    """The numbers that a step leaves; None where it is wrong: another result, numbers that are not
    there, or others left than it says."""
    found = _STEP.search(text)
    if found is None:
        return None
    a, b, result = (_number(found[i]) for i in (1, 3, 4))
    if a is None or b is None or result is None:
        return None
    left = Counter(numbers)
    left.subtract([a, b])
    if min(left.values()) < 0 or _combine(a, found[2], b) != result:
        return None
    left[result] += 1
    said = [_number(word) for word in found[5].replace(",", " ").split()]
    return sorted(left.elements()) if Counter(said) == +left else None


def check(problem: str, texts: Sequence[str]) -> bool:
    """Whether the steps are right, one after the other, and leave 24."""
    numbers: list[Fraction] | None = read_problem(problem)
    for text in texts:
        if numbers is None or len(numbers) < 2:
            break
        numbers = apply_step(numbers, text)
    return numbers == [GOAL]


def state(texts: Sequence[str]) -> str:
    """What is left, in order; the whole path where it does not say."""
    found = _STEP.search(texts[-1]) if texts else None
    return " ".join(sorted(found[5].split())) if found else " ".join(texts)


def next_steps(numbers: Sequence[Fraction]) -> Iterator[tuple[str, list[Fraction]]]:
    """Every step from here: its text, and what it leaves."""
    for i, j in combinations(range(len(numbers)), 2):
        rest = [x for k, x in enumerate(numbers) if k not in (i, j)]
        for a, b in ((numbers[i], numbers[j]), (numbers[j], numbers[i])):
            for operator in "+-*/" if a >= b else "-/":
                result = _combine(a, operator, b)
                if result is not None:
                    left = sorted([*rest, result])
                    said = f"{a} {operator} {b} = {result} (left: {' '.join(map(str, left))})"
                    yield said, left


def solve(numbers: Sequence[Fraction]) -> list[str] | None:
    """Steps that lead to 24, None where there are none."""
    if len(numbers) == 1:
        return [] if numbers[0] == GOAL else None
    for said, left in next_steps(numbers):
        rest = solve(left)
        if rest is not None:
            return [said, *rest]
    return None


def generate(count: int, seed: int, largest: int = 13) -> list[str]:
    """Different problems of four numbers that can be solved."""
    draws, found = random.Random(seed), dict[str, None]()
    while len(found) < count:
        numbers = sorted(draws.randint(1, largest) for _ in range(4))
        if solve([Fraction(x) for x in numbers]) is not None:
            found[" ".join(map(str, numbers))] = None
    return list(found)


TASK = Task("game24", PAGE, check, state)


def _number(text: str) -> Fraction | None:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


def _combine(a: Fraction, operator: str, b: Fraction) -> Fraction | None:
    if operator == "/":
        return a / b if b else None
    return {"+": a + b, "-": a - b, "*": a * b}[operator]
