"""Game of 24, end to end: a small model learns steps and ratings, and is asked by tree search.

    python benchmarks/game24.py data --out runs/game24/traces.jsonl.gz
    ptrain sft recipes/game24.yaml
    python benchmarks/game24.py solve --model runs/game24/model --out runs/game24/report.json

The 1,362 sets of four numbers up to 13 that can be solved are split: 100 are held out. A trace is a
way to 24, or some right steps and whether what they leave can still make 24. `solve` compares, on
the held-out sets: one greedy chain; as many sampled chains as take the tokens of a search (the mean
share of right ones, and how often any is); search.
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

from pdata.record import Record, write_jsonl

from pinfer.search.tasks import game24

HELD_OUT, LARGEST = 100, 13
PAGE = replace(
    game24.PAGE,
    prompt="Make 24 of these numbers: {problem}",
    value="Can it be done?",
    value_tokens=8,
    value_words={"sure": 1.0, "impossible": 0.0},
    highest=1.0,
    judge="Can it be done?",
    expected=" sure",
)
TASK = replace(game24.TASK, page=PAGE)
Numbers = tuple[Fraction, ...]


@cache
def solvable(numbers: Numbers) -> bool:
    """Whether numbers, sorted, can make 24."""
    if len(numbers) == 1:
        return numbers[0] == game24.GOAL
    return any(solvable(tuple(left)) for _, left in game24.next_steps(numbers))


def puzzles() -> tuple[list[Numbers], list[Numbers]]:
    """Those to train on, and those held out."""
    every = combinations_with_replacement(map(Fraction, range(1, LARGEST + 1)), 4)
    found = [numbers for numbers in every if solvable(numbers)]
    random.Random(24).shuffle(found)
    return found[HELD_OUT:], found[:HELD_OUT]


def make_trace(number: int, numbers: Numbers, rng: random.Random) -> Record:
    """One of four is a way to 24; the others end with a rating."""
    rates, left, lines = rng.random() < 0.75, numbers, []
    for step in range(1, 1 + (rng.choice((1, 2, 2, 3)) if rates else 3)):
        options = list(game24.next_steps(left))
        # a fraction or a number below zero only where nothing else leads to 24
        whole = [x for x in options if all(n.denominator == 1 and n >= 0 for n in x[1])]
        if whole and (rates or any(solvable(tuple(x[1])) for x in whole)):
            options = whole
        good = [option for option in options if solvable(tuple(option[1]))]
        if good and (not rates or rng.random() < 0.6):
            options = good
        said, after = rng.choice(options)
        left = tuple(after)
        lines.append(f"Step {step}: {said}\n")
    if rates:
        lines.append(f"{PAGE.value} {'sure' if solvable(left) else 'impossible'}")
    shown = rng.sample(numbers, 4)
    messages = ({"role": "user", "content": TASK.prompt(spell(shown))},)
    return Record(f"game24-{number}", messages, "".join(lines), source="game24")


def spell(numbers: Sequence[Fraction]) -> str:
    """As the task reads them."""
    return " ".join(map(str, numbers))


def write_traces(args: argparse.Namespace) -> None:
    """`data`."""
    train, _ = puzzles()
    rng = random.Random(args.seed)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_jsonl(args.out, (make_trace(i, rng.choice(train), rng) for i in range(args.n)))
    print(f"{args.n} traces of {len(train)} puzzles: {args.out}")


def solve(args: argparse.Namespace) -> None:
    """`solve`."""
    import torch

    from pinfer import Engine, SamplingParams
    from pinfer.search.run import run_search
    from pinfer.search.tree.settings import SearchSettings

    torch.set_num_threads(1)
    engine = Engine.from_pretrained(args.model, "none", device="cpu")
    train, held_out = puzzles()
    split = train if args.split == "train" else held_out
    problems = [spell(numbers) for numbers in split[: args.n]]
    # how probable "sure" is ranks thoughts; a sampled word would say no more than yes or no
    settings = SearchSettings(width=args.width, keep=args.keep, depth=3, evaluate=args.evaluate)
    found: dict[str, Any] = {"search": arm(problems, args.rounds, lambda problem, seed: _search(
        run_search(
            engine, TASK, problem, settings, SamplingParams(temperature=args.temperature, seed=seed)
        )
    ))}  # fmt: skip

    def chains(problem: str, seed: int, count: int, temperature: float) -> tuple[float, int]:
        params = SamplingParams(
            max_new_tokens=128, mode="linear", temperature=temperature, seed=seed
        )
        answers = engine.generate(TASK.prompt(problem), params, n=count)
        right = [game24.check(problem, x.text.strip().splitlines()) for x in answers]
        return sum(right) / count, sum(len(x.token_ids) for x in answers)

    found["greedy"] = arm(problems, 1, lambda p, seed: chains(p, seed, 1, 0.0))
    count = round(found["search"]["tokens"] / found["greedy"]["tokens"])
    found["sampled"] = arm(problems, 1, lambda p, seed: chains(p, seed, count, args.temperature))
    found["sampled"]["chains"] = count
    asked = {k: str(v) for k, v in vars(args).items() if k != "run"}
    report = {"settings": asked, "problems": len(problems), **found}
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


def _search(result: Any) -> tuple[float, int]:
    return float(bool(result.solved)), result.stats["sampled"]


def arm(
    problems: Sequence[str], rounds: int, run: Callable[[str, int], tuple[float, int]]
) -> dict[str, Any]:
    """The mean share of right answers, how often any is right, sampled tokens and CPU seconds of a
    problem."""
    began = time.process_time()
    outcomes = [run(problem, seed) for problem in problems for seed in range(rounds)]
    right, tokens = (sum(column) / len(outcomes) for column in zip(*outcomes, strict=True))
    found = sum(share > 0 for share, _ in outcomes) / len(outcomes)
    seconds = (time.process_time() - began) / len(outcomes)
    return {"solved": right, "any": found, "tokens": tokens, "cpu_seconds": seconds}


def main() -> None:
    """Run a verb."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True)
    data = verbs.add_parser("data", help="traces to train on")
    data.add_argument("--n", type=int, default=80_000)
    data.add_argument("--seed", type=int, default=1)
    data.add_argument("--out", type=Path, required=True)
    data.set_defaults(run=write_traces)
    ask = verbs.add_parser("solve", help="puzzles by search and by chains")
    ask.add_argument("--model", required=True)
    ask.add_argument("--n", type=int, default=HELD_OUT)
    ask.add_argument("--split", default="held-out", choices=["held-out", "train"])
    ask.add_argument("--rounds", type=int, default=3, help="searches of a puzzle, other seeds")
    ask.add_argument("--width", type=int, default=10)
    ask.add_argument("--keep", type=int, default=5)
    ask.add_argument("--temperature", type=float, default=0.5)
    ask.add_argument("--evaluate", default="logprob", choices=["logprob", "value"])
    ask.add_argument("--out", type=Path)
    ask.set_defaults(run=solve)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
