"""Two tasks that a bounded cache can fail, and traces for a small model to learn both.

    python benchmarks/kv_tasks.py train --out runs/kv/traces.jsonl.gz
    ptrain sft recipes/kv_tasks.yaml
    python benchmarks/kv_tasks.py milestone --out runs/kv/milestone.jsonl
    python benchmarks/kv_tasks.py recall --out runs/kv/recall.jsonl
    python benchmarks/kv.py accuracy --problems runs/kv/milestone.jsonl --model runs/kv/model …

`milestone`: four registers are written down, read for 25 lines, and replaced by what others hold
and one more, three times over; the answer is what they hold at last. Neither the prompt nor a line
says what a register holds, so a cache that loses one while it is read loses the answer. `recall`:
four digits of the prompt are asked for after a long count. So a cache must keep what is old and in
use, and what is in the prompt. Counts begin anywhere: what a number is tells its neighbour alone.
"""

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from pdata.record import Record, write_jsonl

NAMES = "ABCD"
BLOCKS, LINES = 3, 25
# the register that a line reads, by the last two digits of its number: the same in every trace
READ = random.Random(25).choices(range(len(NAMES)), k=100)
SHORTEST, LONGEST = 80, 120  # counts of `recall`
HELD_OUT = 1000
Digits = tuple[int, ...]


def all_digits() -> tuple[list[Digits], list[Digits]]:
    """Four digits to train on, and those held out, of both tasks."""
    found = list(product(range(10), repeat=len(NAMES)))
    random.Random(25).shuffle(found)
    return found[HELD_OUT:], found[:HELD_OUT]


def replace_registers(held: Sequence[int]) -> Digits:
    """Each holds what the next one held, and one more, without its tens."""
    return tuple((held[(i + 1) % len(held)] + 1) % 10 for i in range(len(held)))


def write_registers(held: Sequence[int]) -> str:
    """As a line of the trace."""
    return " ".join(f"{name}{digit}" for name, digit in zip(NAMES, held, strict=True))


def make_milestone(digits: Digits, rng: random.Random) -> tuple[str, str, str]:
    """Prompt, trace, answer. A line is a number, a register, and the sum of what that holds and of
    the number, without its tens."""
    held, lines = digits, []
    first = LINES * rng.randrange(100 // LINES, 900 // LINES)
    last = first + BLOCKS * LINES - 1
    for number in range(first, last + 1):
        if number % LINES == 0:
            held = replace_registers(held)
            lines.append(write_registers(held))
        register = READ[number % 100]
        lines.append(f"{number} {NAMES[register].lower()}{(held[register] + number) % 10}")
    answer = "".join(map(str, replace_registers(held)))
    prompt = f"Registers {write_registers(digits)} from {first} to {last}"
    return prompt, "\n".join((*lines, f"#### {answer}")), answer


def make_recall(digits: Digits, rng: random.Random) -> tuple[str, str, str]:
    """Prompt, trace, answer."""
    answer, first = "".join(map(str, digits)), rng.randrange(100, 800)
    last = first + rng.randint(SHORTEST, LONGEST)
    count = " ".join(map(str, range(first, last + 1)))
    prompt = f"Keep {answer} and count from {first} to {last}"
    return prompt, f"{count}\n#### {answer}", answer


TASKS = {"milestone": make_milestone, "recall": make_recall}


def make_records(count: int, seed: int) -> Iterator[Record]:
    """Traces to train on, of both tasks in turn."""
    digits, rng = all_digits()[0], random.Random(seed)
    for i in range(count):
        task = list(TASKS)[i % len(TASKS)]
        prompt, trace, _ = TASKS[task](rng.choice(digits), rng)
        yield Record(f"{task}-{i}", ({"role": "user", "content": prompt},), trace, source=task)


def make_problems(task: str, count: int, seed: int) -> Iterator[dict[str, str]]:
    """Rows of `prompt` and `answer`, of digits that are held out."""
    rng = random.Random(seed)
    for digits in rng.sample(all_digits()[1], count):
        prompt, _, answer = TASKS[task](digits, rng)
        yield {"prompt": prompt, "answer": answer}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["train", *TASKS])
    parser.add_argument("--n", type=int, help="traces (40,000) or problems (100)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.what == "train":
        write_jsonl(args.out, make_records(args.n or 40_000, args.seed))
    else:
        rows = make_problems(args.what, args.n or 100, args.seed)
        args.out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
