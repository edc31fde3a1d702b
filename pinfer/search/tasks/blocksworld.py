"""Blocksworld: move one clear block at a time until the goal holds. A thought is a move:
`move A from B to table`.

A problem is written as stacks, bottom first, with | between them: `A B | C -> C B A`.
"""

import random
import re
from collections import deque
from collections.abc import Sequence

from pbranch.errors import RequestError
from pinfer.search.tasks.task import Task, TaskPage

Stacks = tuple[tuple[str, ...], ...]  # sorted; each from the bottom up
TABLE = "table"
PAGE = TaskPage(
    prompt="""Blocks stand in stacks on a table, written from the bottom up. A move takes the top \
block of a stack and puts it on the table or on the top of another stack. Reach the goal, one move \
a line; when it is reached, say done.

Problem: A B | C -> C B A
Move: move B from A to C (now: A | C B)
Move: move A from table to B (now: C B A) done

Problem: {problem}
""",
    thought="Move:",
    thought_tokens=40,
    final=r"\bdone\b",
    value="How near is this to the goal, from 0 (far) to 10 (reached)? Rating:",
    value_tokens=4,
    judge="Is this move right? (yes or no):",
    vote="Which of these is nearest to the goal?\n{candidates}\nBest:",
    propose="{count} different next moves, one a line:\n",
)
_MOVE = re.compile(r"move (\w+) from (\w+) to (\w+)")


def read_problem(problem: str) -> tuple[Stacks, Stacks]:
    """The stacks of the beginning and of the goal. RequestError where it is none."""
    parts = problem.split("->")
    stacks = [_read_stacks(part) for part in parts]
    blocks = [sorted(block for stack in found for block in stack) for found in stacks]
    good = len(parts) == 2 and blocks[0] == blocks[-1] and len(set(blocks[0])) == len(blocks[0])
    if not good or not blocks[0]:
        raise RequestError(
            f"blocksworld: found {problem!r}, expected the same blocks twice, as in "
            "'A B | C -> C B A'"
        )
    return stacks[0], stacks[1]


def apply_move(stacks: Stacks, text: str) -> Stacks | None:
    """The stacks after a move; None where it cannot be made."""
    found = _MOVE.search(text)
    if found is None or found[1] == found[3]:
        return None
    block, source, target = found[1], found[2], found[3]
    tops = {stack[-1]: stack for stack in stacks}
    under = {b: stack[i - 1] if i else TABLE for stack in stacks for i, b in enumerate(stack)}
    if block not in tops or under[block] != source or target not in (TABLE, *tops):
        return None
    rest = [stack for stack in stacks if stack not in (tops[block], tops.get(target))]
    left = tops[block][:-1]
    put = (*tops.get(target, ()), block)
    return tuple(sorted(stack for stack in (*rest, left, put) if stack))


def moves(stacks: Stacks) -> list[str]:
    """All that can be made."""
    tops = [stack[-1] for stack in stacks]
    found = []
    for stack in stacks:
        source = stack[-2] if len(stack) > 1 else TABLE
        targets = [top for top in tops if top != stack[-1]] + [TABLE] * (len(stack) > 1)
        found += [f"move {stack[-1]} from {source} to {target}" for target in targets]
    return found


def check(problem: str, texts: Sequence[str]) -> bool:
    """Whether all moves can be made, one after the other, and the goal is reached in the end."""
    begin, goal = read_problem(problem)
    stacks: Stacks | None = begin
    for text in texts:
        if stacks is None:
            return False
        stacks = apply_move(stacks, text)
    return stacks == goal


def plan(begin: Stacks, goal: Stacks) -> list[str]:
    """The fewest moves, found breadth first."""
    seen, waiting = {begin}, deque([(begin, list[str]())])
    while waiting:
        stacks, made = waiting.popleft()
        if stacks == goal:
            return made
        for move in moves(stacks):
            after = apply_move(stacks, move)
            if after is not None and after not in seen:
                seen.add(after)
                waiting.append((after, [*made, move]))
    raise AssertionError("every goal can be reached by way of the table")


def generate(count: int, seed: int, blocks: int = 4) -> list[str]:
    """Problems of so many blocks, none of which is solved at the beginning."""
    draws, found = random.Random(seed), list[str]()
    while len(found) < count:
        begin, goal = (_draw_stacks(draws, blocks) for _ in range(2))
        if begin != goal:
            found.append(f"{_write_stacks(begin)} -> {_write_stacks(goal)}")
    return found


TASK = Task("blocksworld", PAGE, check)


def _read_stacks(text: str) -> Stacks:
    return tuple(sorted(tuple(part.split()) for part in text.split("|") if part.split()))


def _write_stacks(stacks: Stacks) -> str:
    return " | ".join(" ".join(stack) for stack in stacks)


def _draw_stacks(draws: random.Random, blocks: int) -> Stacks:
    names = [chr(ord("A") + i) for i in range(blocks)]
    draws.shuffle(names)
    stacks: list[list[str]] = []
    for name in names:
        if stacks and draws.random() < 0.6:
            draws.choice(stacks).append(name)
        else:
            stacks.append([name])
    return tuple(sorted(tuple(stack) for stack in stacks))
