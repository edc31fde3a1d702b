"""The tasks of arXiv 2503.20533 on a model of one's own: exact match, form, passes and CPU time.

    python benchmarks/paper_files.py resume_4.jsonl resume_10.jsonl --model MODEL \\
        [--adapter FOLDER --twin FOLDER] [--n 100] --out runs/paper/answers.jsonl

Arms: `twin` and `adapter` answer the bare prompt; `linear` and `marks` are the base without
training, asked for the marks of `dialect="paper"` and decoded in one line and in branches. Each
prompt goes through all arms in turn, one request at a time on one thread, greedy, without a
grammar. A line of --out is written after each answer, and what is there is not asked again. The
files are the paper's (its repository states no licence, so they are not shipped).
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

ARMS: dict[str, dict[str, Any]] = {
    "twin": {"mode": "linear"},
    "adapter": {"mode": "parallel"},
    "linear": {"mode": "linear", "dialect": "paper"},
    "marks": {"mode": "parallel", "dialect": "paper"},
}
PAIRS = (("twin", "adapter"), ("linear", "marks"))


def main() -> None:
    """Answer what is not answered yet, print a table a file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter")
    parser.add_argument("--twin")
    parser.add_argument("--n", type=int, default=100, help="tasks of a file")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--max-new-tokens", type=int, default=1024)
    parser.add_argument("--instruction", type=Path, help="what asks for the marks")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    answer_all(args)
    for file in args.files:
        print_table(file.name, [row for row in read(args.out) if row["file"] == file.name])


def answer_all(args: argparse.Namespace) -> None:
    """Append a line for each arm and task that has none."""
    import torch

    from pbranch.console import progress
    from pinfer import Engine
    from pinfer.evaluation.paper_tasks import read_tasks

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    names = ["linear", "marks"] if not args.adapter else list(ARMS)
    if bool(args.adapter) != bool(args.twin):
        sys.exit("--adapter goes with --twin")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    done = {(row["file"], row["task"], row["arm"]) for row in read(args.out)}
    jobs = []
    for file in args.files:
        tasks, aside = read_tasks(file)
        print("\n".join(aside), end="\n" if aside else "", file=sys.stderr)
        jobs += [(file.name, task, arm) for task in tasks[: args.n] for arm in names]
    jobs = [job for job in jobs if (job[0], job[1].id, job[2]) not in done]
    engines: dict[str, Any] = {}
    instruction = args.instruction.read_text(encoding="utf-8") if args.instruction else None
    with args.out.open("a", encoding="utf-8") as out, progress("answering", len(jobs)) as step:
        for file, task, arm in jobs:
            adapter = getattr(args, arm, None) or "none"
            if adapter not in engines:
                engines[adapter] = Engine.from_pretrained(args.model, adapter, dtype=args.dtype)
            row = {"file": file, "task": task.id, "arm": arm, "model": args.model}
            row |= answer(engines[adapter], task, arm, args.max_new_tokens, instruction)
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            out.flush()
            step()


def answer(engine: Any, task: Any, arm: str, tokens: int, instruction: str | None) -> dict:
    """One answer, graded."""
    from pinfer import SamplingParams
    from pinfer.evaluation.paper_tasks import grade

    grammar = "on" if "dialect" in ARMS[arm] else "off"
    params = SamplingParams(max_new_tokens=tokens, grammar=grammar, **ARMS[arm])
    began = time.process_time()
    (found,) = engine.generate([task.prompt], params, instruction=instruction)
    took = time.process_time() - began
    engine.reset()
    graded, stats = grade(task, found.text), found.stats
    return {
        "exact": graded.exact, "score": graded.score, "why": graded.why,
        "stopped": found.finish_reason == "stop", "forked": stats.blocks > 0,
        "formed": not stats.grammar_interventions and not found.limits,
        "fallback": found.fallback, "passes": stats.passes, "tokens": stats.generated_tokens,
        "branches": stats.branches, "cpu_seconds": round(took, 3), "text": found.text,
    }  # fmt: skip


def read(path: Path) -> list[dict[str, Any]]:
    """The lines that are there."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines]


def print_table(name: str, rows: Sequence[dict[str, Any]]) -> None:
    """An arm a line, and of each pair what branches save: totals over the prompts that both have
    answered, and McNemar's exact p of the answers that only one of them has right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{name}, greedy, one request at a time")
    table.add_column("arm")
    for column in ("n", "exact", "forked", "form kept", "tokens", "passes", "CPU s"):
        table.add_column(column, justify="right")
    by_arm = {arm: {r["task"]: r for r in rows if r["arm"] == arm} for arm in ARMS}
    for arm, mine in by_arm.items():
        if some := list(mine.values()):
            shares = [f"{fmean(r[key] for r in some):.3f}" for key in ("exact", "forked", "formed")]
            means = [
                f"{fmean(r[k] for r in some):.1f}" for k in ("tokens", "passes", "cpu_seconds")
            ]
            table.add_row(arm, str(len(some)), *shares, *means)
    Console(width=110).print(table)
    for one, other in PAIRS:
        if both := by_arm[one].keys() & by_arm[other].keys():
            times, passes = (
                sum(by_arm[one][task][key] for task in both)
                / sum(by_arm[other][task][key] for task in both)
                for key in ("cpu_seconds", "passes")
            )
            right = [(by_arm[one][task]["exact"], by_arm[other][task]["exact"]) for task in both]
            lost, won = right.count((True, False)), right.count((False, True))
            print(
                f"{other} against {one}, {len(both)} prompts: {times:.2f} times less CPU time, "
                f"{passes:.2f} times fewer passes; right alone {won} and {lost} times, "
                f"p = {mcnemar(won, lost):.2f}"
            )


def mcnemar(won: int, lost: int) -> float:
    """Two-sided p of so uneven a split of won + lost tosses of a fair coin."""
    n, k = won + lost, min(won, lost)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


if __name__ == "__main__":
    main()
