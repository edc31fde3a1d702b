"""Word problems in the manner of GSM8K: a thought is one step of the solution; the answer is the
number behind `####`.
"""

import random
from collections.abc import Sequence

from pinfer.search.tasks.task import Task, TaskPage

PAGE = TaskPage(
    prompt="""Solve the problem step by step, one short step a line. The last line holds nothing \
but #### and the number that is the answer.

Problem: A box holds 6 rows of 4 eggs. 5 eggs are broken. How many are whole?
Step: 6 rows of 4 eggs are 6 * 4 = 24 eggs.
Step: 24 - 5 = 19 eggs are whole.
Step: #### 19

Problem: {problem}
""",
    thought="Step:",
    thought_tokens=64,
    final=r"####\s*-?\$?[\d,.]+",
    value="How right is this solution so far, from 0 (wrong) to 10 (right)? Rating:",
    value_tokens=4,
    judge="Is the last step right? (yes or no):",
    vote="Which of these is the best solution?\n{candidates}\nBest:",
    propose="{count} different next steps, one a line:\n",
    answer="Step: ####",
    answer_tokens=12,
    answer_pattern=r"####\s*(-?\$?[\d,.]*\d)|(?m:^\s*(-?\$?[\d,.]*\d)\s*\Z)",
)
_NAMES = "Ada Ben Cleo Dan Eve Finn".split()
_THINGS = "apples books coins pens shells stamps".split()


def read_number(text: str) -> float | None:
    """A number as texts write it, with or without $ and commas."""
    try:
        return float(text.replace(",", "").replace("$", "").rstrip("."))
    except ValueError:
        return None


def check_against(gold: str) -> "Task":
    """The task, with the answer that is right: a number, as in GSM8K behind the last ####."""
    wanted = read_number(gold.rpartition("####")[2].strip())

    def check(problem: str, texts: Sequence[str]) -> bool:
        found = read_number(TASK.read_answer(texts))
        return found is not None and found == wanted

    return Task(TASK.name, PAGE, check)


def generate(count: int, seed: int) -> list[tuple[str, str]]:
    """Problems of two to four steps, and their answers."""
    draws, found = random.Random(seed), list[tuple[str, str]]()
    for _ in range(count):
        name, thing = draws.choice(_NAMES), draws.choice(_THINGS)
        boxes, each = draws.randint(2, 12), draws.randint(3, 15)
        total, said = boxes * each, [f"{name} has {boxes} boxes of {each} {thing}."]
        for _ in range(draws.randint(1, 3)):
            more = draws.randint(1, 30)
            if draws.random() < 0.5 and more < total:
                total, text = total - more, f"{name} gives {more} {thing} away."
            else:
                total, text = total + more, f"{name} finds {more} {thing}."
            said.append(text)
        said.append(f"How many {thing} does {name} have now?")
        found.append((" ".join(said), str(total)))
    return found


TASK = Task("arithmetic", PAGE)
