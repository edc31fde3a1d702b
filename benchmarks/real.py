"""A real small model, its adapter against its linear twin: accuracy, format, passes and CPU time.

    python benchmarks/real.py                          60 prompts, in minutes: `make demo-real`
    python benchmarks/real.py --prompts 300 --timed 32 --dtype bfloat16 \\
        --out benchmarks/results/smollm2.json

The twin is the same base, tuned on the same traces in the same number of steps, with no markers in
them. Prompts are held out: no name and no wording of theirs is in data/smollm2. Accuracy and passes
are those of all prompts, decoded in batches. Time is CPU time of `--timed` of them, one request at
a time on one thread, adapter and twin in turn; and then of batches of eight.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))
from evaluate import (
    LONG,
    NATURAL_TASKS,
    Answer,
    decode,
    forking,
    held_out,
    ratios,
    share,
    slower,
    summary,
)

from pbranch import console

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "data" / "smollm2"
BATCH = 8  # requests of a timed batch
LEGEND = """\
linear: the twin; parallel, serial: the adapter, branches side by side or one by one; grammar off
acc: share of right answers, with its 95 % interval; passes: mean of a prompt
ratio: linear / parallel passes of prompts that parallelise; ideal: of their reference traces
cpu: linear / parallel CPU time of an answer, one request at a time; forked: share of prompts
"""


def main() -> None:
    """Decode, compare, write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--adapter", default=str(SHIPPED / "adapter"))
    parser.add_argument("--twin", default=str(SHIPPED / "twin"))
    parser.add_argument("--prompts", type=int, default=60, help="held out, of all tasks in turn")
    parser.add_argument(
        "--timed", type=int, default=10, help="of them, one at a time, on the CPU's clock"
    )
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--max-new-tokens", type=int, default=1536)
    parser.add_argument("--out", type=Path, default=Path("runs/demo-real/report.json"))
    parser.add_argument("--answers", type=Path, help="JSONL: what each arm wrote, to read")
    args = parser.parse_args()
    report = measure(args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_table(report["eval"])
    print(f"\nreport: {args.out}")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The report: what ran on what, and `eval`."""
    import torch

    from pinfer import Engine

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    records = held_out(args.prompts, wording="natural")
    twin, engine = (
        Engine.from_pretrained(args.model, adapter, device="cpu", dtype=args.dtype)
        for adapter in (args.twin, args.adapter)
    )
    show_branches(engine, records[0])
    options = {"grammar": "off", "max_new_tokens": args.max_new_tokens}
    arms: dict[str, Arm] = {
        "linear": lambda some: decode(twin, some, "linear", **options),
        "serial": lambda some: decode(engine, some, "serial", **options),
        "parallel": lambda some: decode(engine, some, "parallel", **options),
    }
    found: dict[str, Any] = {"n": len(records)}
    answers: dict[str, list[Answer]] = {}
    for name, arm in arms.items():
        began = time.process_time()
        answers[name], seconds = arm(records)
        found[name] = summary(answers[name], seconds)
        found[name]["cpu_seconds"] = round(time.process_time() - began, 2)
        found[name]["interval"] = interval(answers[name])
    if args.answers:
        write_answers(args.answers, answers)
    linear, parallel = answers["linear"], answers["parallel"]
    found["parallel"] |= forking(parallel)
    found |= ratios(linear, parallel, engine)
    found["long"] = ratios(linear, parallel, engine, least=LONG)
    found["slower_share"] = slower(linear, parallel)
    found["by_task"] = {task: by_task(task, answers, engine) for task in NATURAL_TASKS}
    pair = {name: arms[name] for name in ("linear", "parallel")}
    found["one_at_a_time"] = time_arms(pair, [[record] for record in records[: args.timed]])
    batches = [records[i : i + BATCH] for i in range(0, args.timed - BATCH + 1, BATCH)]
    found[f"batches_of_{BATCH}"] = time_arms(pair, batches)
    return {
        "model": args.model,
        "adapter": os.path.relpath(args.adapter, ROOT),
        "twin": os.path.relpath(args.twin, ROOT),
        "dtype": args.dtype,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "eval": found,
    }


Arm = Callable[[Sequence[Any]], tuple[list[Answer], float]]


def time_arms(arms: dict[str, Arm], batches: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """CPU seconds of each arm over all batches, taken in turn; their ratio over what parallelises,
    and over all."""
    totals = dict.fromkeys(arms, 0.0)
    forking_only = dict(totals)
    for i, batch in enumerate(batches):
        for name in arms if i % 2 else reversed(arms):
            began = time.process_time()
            answers, _ = arms[name](batch)
            took = time.process_time() - began
            totals[name] += took
            forking_only[name] += took if all(a.to_fork for a in answers) else 0.0
    found: dict[str, Any] = {"prompts": sum(map(len, batches))}
    found |= {f"{name}_cpu_seconds": round(took, 2) for name, took in totals.items()}
    for name, took in (("cpu_ratio", totals), ("cpu_ratio_to_fork", forking_only)):
        if took["parallel"]:
            found[name] = took["linear"] / took["parallel"]
    return found


def write_answers(path: Path, answers: dict[str, list[Answer]]) -> None:
    """A line for each prompt: its task, what is right, and of each arm text and verdict."""
    with path.open("w", encoding="utf-8") as file:
        for some in zip(*answers.values(), strict=True):
            record = some[0].record
            row = {"task": record.meta["task"], "prompt": record.prompt, "answer": record.answer}
            for name, a in zip(answers, some, strict=True):
                row[name] = {"right": a.right, "text": a.generation.tagged_text}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def by_task(task: str, answers: dict[str, list[Answer]], engine: Any) -> dict[str, Any]:
    """A row of the table."""
    mine = {name: [a for a in x if a.record.meta["task"] == task] for name, x in answers.items()}
    row: dict[str, Any] = {"n": len(mine["linear"])}
    for name, some in mine.items():
        passes = sum(a.passes for a in some) / max(1, len(some))
        row[name] = {"accuracy": share(a.right for a in some), "passes": passes}
        row[name]["interval"] = interval(some)
    row["forked"] = share(a.forked for a in mine["parallel"])
    row["format_rate"] = share(a.well_formed for a in mine["parallel"])
    if task != "chain" and mine["linear"]:
        row |= ratios(mine["linear"], mine["parallel"], engine)
    return row


def interval(answers: Sequence[Answer]) -> tuple[float, float]:
    """Wilson's 95 % interval of the share of right answers."""
    n, z = max(1, len(answers)), 1.96
    p = share(a.right for a in answers)
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def show_branches(engine: Any, record: Any) -> None:
    """One prompt and its answer as it is written: a line for each branch, all growing at once."""
    from rich.console import Console
    from rich.live import Live

    from pinfer import SamplingParams
    from pinfer.commands.live_view import BranchView

    console, view = Console(), BranchView()
    console.print(record.messages[-1]["content"], markup=False, highlight=False)
    with Live(view, console=console, refresh_per_second=8):
        for event in engine.stream(record.messages, SamplingParams(max_new_tokens=1024)):
            view.feed(event)


def print_table(found: dict[str, Any]) -> None:
    """What was measured, for a terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{found['n']} held-out prompts, greedy")
    table.add_column("task")
    for name in ("linear acc", "parallel acc", "linear passes", "parallel passes"):
        table.add_column(name, justify="right")
    for name in ("ratio", "ideal", "forked", "format"):
        table.add_column(name, justify="right")
    rates = {"forked": found["parallel"]["fork_rate"], **found["parallel"]}
    for task, row in [*found["by_task"].items(), ("all", found | rates)]:
        cells = []
        for mode in ("linear", "parallel"):
            low, high = row[mode]["interval"]
            cells.append(f"{row[mode]['accuracy']:.3f} ({low:.2f}–{high:.2f})")
        cells += [f"{row[mode]['passes']:.0f}" for mode in ("linear", "parallel")]
        cells += [f"{row[k]:.2f}" if k in row else "–" for k in ("passes_ratio", "ideal_ratio")]
        table.add_row(task, *cells, f"{row['forked']:.0%}", f"{row['format_rate']:.0%}")
    Console(width=130).print(table)
    print(LEGEND)
    for name in ("one_at_a_time", f"batches_of_{BATCH}"):
        if "cpu_ratio" in found[name]:
            took = found[name]
            print(
                f"{name.replace('_', ' ')}, {took['prompts']} prompts: linear "
                f"{took['linear_cpu_seconds']} s, parallel {took['parallel_cpu_seconds']} s of CPU "
                f"time, {took['cpu_ratio']:.2f} times less"
            )
    long, parallel = found["long"], found["parallel"]
    print(
        f"prompts of {LONG} steps and more: {long['passes_ratio']:.2f} times fewer passes (ideal "
        f"{long['ideal_ratio']:.2f})\nformat kept {parallel['format_rate']:.1%} · forked "
        f"{parallel['fork_rate']:.1%} of prompts that parallelise · left "
        f"{parallel['no_fork_rate']:.1%} of the others linear"
    )


if __name__ == "__main__":
    console.run(main)
