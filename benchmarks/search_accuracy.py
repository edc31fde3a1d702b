"""Word problems by tree search, by one greedy chain, and by a vote of sampled chains.

    python benchmarks/search_accuracy.py --model DIR --problems gsm8k.jsonl --n 40 --out FILE.jsonl

The vote (self-consistency, arXiv 2203.11171) has as many chains as take the tokens that the search
of the same problem has sampled; of answers with equally many votes the first counts. A problem is a
row of FILE; the same command goes on behind the last one.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pbranch.files.jsonl import read_objects
from pinfer import Engine, SamplingParams
from pinfer.search.run import run_search
from pinfer.search.tasks import arithmetic
from pinfer.search.tasks.task import Task
from pinfer.search.tree.settings import SearchSettings

ARMS = ("search", "greedy", "vote")
CHAIN = 256  # tokens of a chain at most


def solve(
    engine: Engine, problem: str, gold: str, settings: SearchSettings, params: SamplingParams
) -> dict[str, Any]:
    """A row: of each arm the answer, whether it is right, sampled tokens and CPU seconds."""
    task = arithmetic.check_against(gold)

    def search() -> dict[str, Any]:
        found = run_search(engine, task, problem, settings, params)
        return {"answer": found.answer, "tokens": found.stats["sampled"]}

    def chains(count: int, temperature: float) -> dict[str, Any]:
        own = SamplingParams(
            max_new_tokens=CHAIN, mode="linear", temperature=temperature, seed=params.seed
        )
        said = engine.generate(task.prompt(problem), own, n=count)
        answer = elect([task.read_answer(x.text.strip().splitlines()) for x in said])
        return {"answer": answer, "tokens": sum(len(x.token_ids) for x in said), "chains": count}

    row: dict[str, Any] = {"search": timed(search, task, problem)}
    row["greedy"] = timed(lambda: chains(1, 0.0), task, problem)
    count = max(1, round(row["search"]["tokens"] / row["greedy"]["tokens"]))
    row["vote"] = timed(lambda: chains(count, params.temperature), task, problem)
    return row


def elect(answers: list[str]) -> str:
    """The number that most answers come to, as the first of them writes it; "" where none has
    one."""
    numbers = [arithmetic.read_number(answer) for answer in answers]
    votes = Counter(number for number in numbers if number is not None)
    if not votes:
        return ""
    return answers[numbers.index(votes.most_common(1)[0][0])]


def timed(run: Callable[[], dict[str, Any]], task: Task, problem: str) -> dict[str, Any]:
    """An arm's figures of a problem."""
    began = time.process_time()
    found = run()
    right = bool(task.check and task.check(problem, [found["answer"]]))
    return found | {"right": right, "cpu_seconds": round(time.process_time() - began, 2)}


def main() -> None:
    """Solve what is not in the file yet, and print the table of all that is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--problems", type=Path, required=True, help="JSONL: question, answer")
    parser.add_argument("--n", type=int, default=40, help="the last ones of the file")
    parser.add_argument("--width", type=int, default=5)
    parser.add_argument("--keep", type=int, default=2)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    asked = {key: str(value) for key, value in vars(args).items() if key != "out"}
    problems = list(read_objects(args.problems))[-args.n :]
    rows = list(read_objects(args.out)) if args.out.exists() else []
    if other := [row["asked"] for row in rows if row["asked"] != asked]:
        raise SystemExit(f"{args.out}: has rows of {other[0]}; expected {asked}")
    engine = Engine.from_pretrained(args.model, "none", device="cpu", dtype=args.dtype)
    settings = SearchSettings(width=args.width, keep=args.keep, depth=args.depth)
    params = SamplingParams(temperature=args.temperature, seed=args.seed, mode="linear")
    for number, problem in enumerate(problems[len(rows) :], len(rows) + 1):
        row = solve(engine, problem["question"], str(problem["answer"]), settings, params)
        rows.append(row | {"asked": asked})
        with args.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        print(number, *(f"{arm} {row[arm]['right']}" for arm in ARMS), flush=True)
    print("| arm | right | tokens a problem | CPU seconds |\n|---|---|---|---|")
    for arm in ARMS:
        right, tokens, seconds = (
            sum(row[arm][key] for row in rows) for key in ("right", "tokens", "cpu_seconds")
        )
        print(f"| {arm} | {right} of {len(rows)} | {tokens / len(rows):.0f} "
              f"| {seconds / len(rows):.1f} |")  # fmt: skip


if __name__ == "__main__":
    main()
