"""The main job, end to end, on what the repository ships: linear traces in, an adapter out,
held-out prompts decoded with branches side by side. `make demo` runs it; it writes report.json.

    python benchmarks/demo.py [--out runs/demo] [--prompts 240] [--traces 4000] [--steps N]
    python benchmarks/demo.py --adapter data/tiny/adapter      only the last part, on that adapter
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from evaluate import (
    LONG,
    PARALLEL_TASKS,
    TASKS,
    Answer,
    decode,
    forking,
    held_out,
    marked_passes,
    ratios,
    share,
    slower,
    summary,
)

from pbranch import console

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "recipes" / "sft.yaml"
LEGEND = """\
linear: the base without an adapter; serial, parallel: the adapter, branches one by one or together
marks only: the base in both modes, asked for the paper's marks
acc: share of right answers; passes: mean of a prompt
ratio: linear / parallel passes of prompts that parallelise; ideal: of their reference traces
efficiency: ratio / ideal; slower: share of prompts with more passes in parallel than linear
forked: share of prompts, in the last two rows of those that parallelise
"""


def main() -> None:
    """Build, train, decode, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    parser.add_argument("--prompts", type=int, default=240, help="held-out prompts, all tasks")
    parser.add_argument("--traces", type=int, default=4000, help="linear traces to build from")
    parser.add_argument("--steps", type=int, help="training steps; default: the recipe's")
    parser.add_argument("--adapter", help="decode with this one; build no data and train none")
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    adapter = args.adapter or str(args.out / "adapter")
    report: dict[str, Any] = {"adapter": adapter}
    if not args.adapter:
        report["data"] = build_data(args.out, args.traces)
        report["train"] = train_adapter(args.out, args.steps)
    report["eval"] = compare(adapter, args.prompts)
    path = args.out / "report.json"
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_table(report)
    print(f"\nreport: {path}   adapter: {adapter}")


def build_data(out: Path, traces: int) -> dict[str, int]:
    """Linear traces of every task, rewritten by rules into branch-tagged ones."""
    from pdata.build.pipeline import build
    from pdata.synthetic.generator import synthesise

    say(f"1/3 data: {traces} linear traces → {out / 'branches.jsonl'}")
    linear = out / "linear"
    linear.mkdir()
    for i, task in enumerate(TASKS):
        synthesise(task, traces // len(TASKS), 7 + i, linear / f"{task}.jsonl", workers=2)
    counts = build(str(linear), out / "branches.jsonl", workers=2).total
    return {
        "traces_in": counts["in"],
        "traces_out": counts["out"],
        "rejected": counts["rejected"],
        "forked": counts["branches"],
    }


def train_adapter(out: Path, steps: int | None) -> dict[str, Any]:
    """LoRA on the shipped base, by the shipped recipe."""
    from pbranch.files.recipe import load_recipe
    from ptrain.artifacts.artifact import REPORT
    from ptrain.config import Recipe
    from ptrain.train import train

    recipe = load_recipe(Recipe, RECIPE)
    options = replace(recipe.train, steps=steps or recipe.train.steps)
    data = [str(out / "branches.jsonl")]
    recipe = replace(recipe, data=data, out=str(out / "adapter"), train=options)
    say(f"2/3 training: {options.steps} steps on {recipe.model} → {recipe.out}")
    train(recipe)
    stored = json.loads((out / "adapter" / REPORT).read_text(encoding="utf-8"))
    keys = ("steps", "seconds", "loss_first", "loss_last", "trainable_params")
    return {key: stored[key] for key in keys}


def compare(adapter: str, prompts: int) -> dict[str, Any]:
    """The base in one line, then the adapter one branch at a time and side by side; and the base
    asked for the marks of `dialect="paper"`, in one line and side by side."""
    from pinfer import Engine

    say(f"3/3 decoding {prompts} held-out prompts")
    records = held_out(prompts)
    base = Engine.from_pretrained("tiny", "none", device="cpu")
    linear, linear_seconds = decode(base, records, "linear")
    tuned = Engine.from_pretrained("tiny", adapter, device="cpu")
    serial, serial_seconds = decode(tuned, records, "serial", grammar="off")
    parallel, parallel_seconds = decode(tuned, records, "parallel", grammar="off")
    return {
        "n": len(records),
        "linear": summary(linear, linear_seconds),
        "serial": summary(serial, serial_seconds),
        "parallel": summary(parallel, parallel_seconds) | forking(parallel),
        **ratios(linear, parallel, base),
        "long": ratios(linear, parallel, base, least=LONG),
        "slower_share": slower(linear, parallel),
        "by_task": {t: by_task(t, linear, serial, parallel, base) for t in TASKS},
        "marks": by_marks(base, records),
    }


def by_marks(base: Any, records: Sequence[Any]) -> dict[str, Any]:
    """What can be had without an adapter; linear decoding gets the same prompt."""
    linear, linear_seconds = decode(base, records, "linear", dialect="paper")
    parallel, parallel_seconds = decode(base, records, "parallel", dialect="paper")
    return {
        "linear": summary(linear, linear_seconds),
        "parallel": summary(parallel, parallel_seconds) | forking(parallel),
        **ratios(linear, parallel, base, ideal_passes=marked_passes),
        "long": ratios(linear, parallel, base, LONG, marked_passes),
        "slower_share": slower(linear, parallel),
    }


def by_task(
    task: str,
    linear: Sequence[Answer],
    serial: Sequence[Answer],
    parallel: Sequence[Answer],
    engine: Any,
) -> dict[str, Any]:
    """A row of the table."""
    mine = [[a for a in x if a.record.meta["task"] == task] for x in (linear, serial, parallel)]
    row: dict[str, Any] = {
        "n": len(mine[0]),
        **{
            mode: {"accuracy": share(a.right for a in x), "passes": mean_passes(x)}
            for mode, x in zip(("linear", "serial", "parallel"), mine, strict=True)
        },
        "forked": share(a.forked for a in mine[2]),
        "slower_share": slower(mine[0], mine[2]),
    }
    return row | (ratios(mine[0], mine[2], engine) if task in PARALLEL_TASKS else {})


def mean_passes(answers: Sequence[Answer]) -> float:
    """Mean decoding passes of a prompt."""
    return sum(a.passes for a in answers) / max(1, len(answers))


def print_table(report: dict[str, Any]) -> None:
    """What was measured, for a terminal."""
    from rich.console import Console
    from rich.table import Table

    found = report["eval"]
    table = Table(title=f"{found['n']} held-out prompts, greedy, grammar mask off for the adapter")
    table.add_column("task")
    for name in ("linear acc", "serial acc", "parallel acc", "linear passes", "parallel passes"):
        table.add_column(name, justify="right")
    for name in ("ratio", "ideal", "efficiency", "forked", "slower"):
        table.add_column(name, justify="right")
    for task, row in found["by_task"].items():
        table.add_row(task, *cells(row), f"{row['forked']:.0%}", f"{row['slower_share']:.0%}")
    for name, row in (("all", found), ("marks only", found["marks"])):
        rate = row["parallel"]["fork_rate"]
        table.add_row(name, *cells(row), f"{rate:.0%}", f"{row['slower_share']:.0%}")
    Console(width=130).print(table)
    print(LEGEND)
    parallel, long, marks = found["parallel"], found["long"], found["marks"]["long"]
    print(
        f"format kept {parallel['format_rate']:.1%} · forked {parallel['fork_rate']:.1%} of "
        f"prompts that parallelise · left {parallel['no_fork_rate']:.1%} of the others linear · "
        f"{parallel['mean_branches']:.1f} branches\n"
        f"prompts of {LONG} steps and more: {long['passes_ratio']:.2f} times fewer passes "
        f"(ideal {long['ideal_ratio']:.2f}); marks only, without the adapter: "
        f"{marks['passes_ratio']:.2f} (ideal {marks['ideal_ratio']:.2f})\n"
        f"seconds: linear {found['linear']['seconds']}, serial {found['serial']['seconds']}, "
        f"parallel {found['parallel']['seconds']}. With a model this small they measure the cost "
        "of calling kernels, not the method; passes are what carries over."
    )


def cells(row: dict[str, Any]) -> list[str]:
    """Accuracies, passes and ratios of a row; a dash where there is none."""
    modes = ("linear", "serial", "parallel")
    numbers = [f"{row[mode]['accuracy']:.3f}" if mode in row else "–" for mode in modes]
    numbers += [f"{row[mode]['passes']:.0f}" for mode in ("linear", "parallel")]
    keys = ("passes_ratio", "ideal_ratio", "efficiency")
    return numbers + [f"{row[k]:.2f}" if k in row else "–" for k in keys]


def say(line: str) -> None:
    """A line of progress."""
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    console.run(main)
