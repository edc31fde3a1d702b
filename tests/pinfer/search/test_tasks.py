"""The shipped tasks: checkers against brute force, pages against their own examples; and what is
said of a page that is wrong."""

import itertools
import random
import re
from fractions import Fraction

import pytest

from pbranch.errors import RecipeError, RequestError
from pinfer.search.tasks import arithmetic, blocksworld, game24
from pinfer.search.tasks.catalogue import TASKS, find_task
from pinfer.search.tasks.task import Task, TaskPage, load_page


def expressions(numbers):
    """All values that four numbers can make, by another way than `solve`: over all orders and all
    ways to put brackets."""
    if len(numbers) == 1:
        return {numbers[0]}
    found = set()
    for cut in range(1, len(numbers)):
        for a in expressions(numbers[:cut]):
            for b in expressions(numbers[cut:]):
                found |= {a + b, a - b, a * b} | ({a / b} if b else set())
    return found


def test_what_can_be_solved_is_what_brackets_and_orders_can_make():
    draws = random.Random(1)
    for _ in range(25):
        numbers = [Fraction(draws.randint(1, 13)) for _ in range(4)]
        possible = any(24 in expressions(list(p)) for p in set(itertools.permutations(numbers)))
        steps = game24.solve(numbers)
        assert (steps is not None) == possible
        if steps:
            assert game24.check(" ".join(map(str, numbers)), steps)
            assert game24.TASK.is_final(steps[-1]) and not game24.TASK.is_final(steps[0])


@pytest.mark.parametrize(
    "step, left",
    [
        ("4 + 8 = 12 (left: 6 6 12)", "6 6 12"),
        ("6 / 4 = 3/2 (left: 3/2, 6, 8)", "3/2 6 8"),
        ("4 - 6 = -2 (left: -2 6 8)", "-2 6 8"),
        ("4 + 8 = 13 (left: 6 6 13)", None),
        ("4 + 9 = 13 (left: 6 6 13)", None),
        ("4 + 8 = 12 (left: 6 12)", None),
        ("4 + 4 = 8 (left: 6 6 8)", None),
        ("6 / 0 = 0 (left: 0)", None),
        ("4 + 8 = 12", None),
        ("", None),
    ],
)
def test_a_step_leaves_what_it_says_or_is_wrong(step, left):
    found = game24.apply_step([Fraction(x) for x in (4, 6, 6, 8)], step)
    assert (None if found is None else " ".join(map(str, found))) == left


def test_states_of_the_game_are_what_is_left():
    assert game24.state(["4 + 8 = 12 (left: 6 6 12)"]) == game24.state(
        ["12 = (", "1 + 11 = 12 (left: 12 6 6)"]
    )
    assert game24.state(["what now"]) == "what now"


def test_generated_games_can_be_solved_and_differ():
    games = game24.generate(8, seed=3)
    assert len(set(games)) == 8 and games == game24.generate(8, seed=3)
    assert all(game24.solve(game24.read_problem(game)) for game in games)
    with pytest.raises(RequestError, match="game24: found 'four fours', expected numbers"):
        game24.read_problem("four fours")


def test_plans_are_valid_and_wrong_moves_are_not():
    for problem in blocksworld.generate(15, seed=2):
        begin, goal = blocksworld.read_problem(problem)
        made = blocksworld.plan(begin, goal)
        assert made and blocksworld.check(problem, made)
        assert not blocksworld.check(problem, made[:-1])
        assert not blocksworld.check(problem, [*made, "move A from Z to table"])
    stacks = blocksworld.read_problem("A B | C -> C B A")[0]
    for move in ("move A from table to C", "move B from table to C", "move B from A to B", "wait"):
        assert blocksworld.apply_move(stacks, move) is None
    assert blocksworld.apply_move(stacks, "move B from A to table") == (("A",), ("B",), ("C",))
    for wrong in ("A B", "A -> B", "A A -> A A", " -> "):
        with pytest.raises(RequestError, match="expected the same blocks twice"):
            blocksworld.read_problem(wrong)


def test_every_move_can_be_undone_and_made():
    """The moves that are listed are those that are valid, of all that can be written."""
    for problem in blocksworld.generate(5, seed=4):
        stacks, _ = blocksworld.read_problem(problem)
        words = ["A", "B", "C", "D", "table"]
        written = [f"move {a} from {b} to {c}" for a, b, c in itertools.product(words, repeat=3)]
        valid = {m for m in written if blocksworld.apply_move(stacks, m) not in (None, stacks)}
        assert valid == set(blocksworld.moves(stacks))


def test_numbers_of_word_problems():
    task = arithmetic.check_against("He has 3 * 4 = <<3*4=12>>12.\n#### 1,200")
    assert task.check("", ["so", "#### $1,200."]) and task.check("", ["1200 it is", " 1200"])
    assert not task.check("", ["#### 120"]) and not task.check("", ["no number"])
    assert task.read_answer(["#### 5", "#### 7 apples"]) == "7"
    for text, answer in arithmetic.generate(20, seed=1):
        boxes, each = map(int, re.findall(r"has (\d+) boxes of (\d+)", text)[0])
        total = boxes * each
        for verb, sign in (("gives", -1), ("finds", 1)):
            total += sign * sum(map(int, re.findall(rf"{verb} (\d+)", text)))
        assert total == int(answer)


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_examples_in_the_prompts_are_right(task):
    """Each example of a page is one that its own parsers and checker accept."""
    examples = re.split(r"\n\n", task.prompt("PROBLEM"))[1:-1]
    assert examples
    for example in examples:
        problem, *steps = example.splitlines()
        problem = problem.partition(": ")[2]
        begins = [task.thought_header(i) for i in range(1, len(steps) + 1)]
        assert all(step.startswith(b) for step, b in zip(steps, begins, strict=True))
        thoughts = [step[len(b) :] for step, b in zip(steps, begins, strict=True)]
        assert [task.is_final(x) for x in thoughts] == [False] * (len(steps) - 1) + [True]
        assert task.check is None or task.check(problem, thoughts)


def test_ratings_and_votes_are_read():
    task = Task("toy", TaskPage("{problem}", "so", value="v", vote="{candidates}"))
    read = [task.read_value(x) for x in ("8", " about 7.5/10", "-1", "11", "ten", "")]
    assert read == [8.0, 7.5, None, None, None, None]
    assert game24.TASK.read_value(" Likely, or sure") == 1.0 and game24.TASK.read_value("7") is None
    assert [task.read_vote(x, 3) for x in (" 2.", "number 3", "4", "0", "none")] == [1, 2] + [
        None
    ] * 3
    assert task.vote_header([["a ", "b"], ["c\n"]]) == "1. a b\n2. c"


PAGE = """\
prompt: 'Plan a trip to {problem}.'
thought: 'Day {step}:'
thought_tokens: 48
value: 'Rating (0 to 10):'
"""


def test_a_users_page(tmp_path):
    path = tmp_path / "trip.yaml"
    path.write_text(PAGE)
    task = find_task(str(path))
    assert (task.name, task.prompt("Rome")) == ("trip", "Plan a trip to Rome.")
    assert task.thought_header(2) == "Day 2:" and task.page.stop == ("\n",)


@pytest.mark.parametrize(
    "text, message",
    [
        (PAGE.replace("prompt", "promt"), r"trip.yaml: unknown key promt; did you mean prompt\?"),
        (PAGE.partition("\n")[2], "trip.yaml: missing key prompt"),
        (PAGE.replace("{problem}", "Rome"), r"trip.yaml: prompt: expected \{problem\} in it"),
        (PAGE + "final: '('\n", "trip.yaml: final: not a regular expression"),
        (PAGE + "value_tokens: 0\n", "trip.yaml: value_tokens 0: expected 1 or more"),
        (PAGE + "vote: best?\n", r"trip.yaml: vote: expected \{candidates\} in it"),
        (PAGE + "lowest: 10\n", "trip.yaml: highest 10.0: expected more than lowest"),
        (PAGE.replace("'Day {step}:'", "''"), "trip.yaml: thought: expected a text"),
        ("- a\n", "trip.yaml: expected a mapping"),
        ("a: [", "trip.yaml:.*not YAML"),
    ],
)
def test_a_page_that_is_wrong_is_named_in_one_line(tmp_path, text, message):
    path = tmp_path / "trip.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message) as error:
        load_page(path)
    assert "\n" not in str(error.value)


def test_a_task_that_is_not_there():
    with pytest.raises(RequestError, match=r"task 'game25'.*did you mean game24"):
        find_task("game25")
    with pytest.raises(RecipeError, match="cannot read recipe"):
        find_task("nothing.yaml")
