"""How well a run learns the markers: each by name over the steps, of one run or several.

    pdata build gsm8k/train.jsonl --out runs/gsm8k.jsonl
    python benchmarks/markers.py mix runs/gsm8k.jsonl:1200 data/samples/branches.jsonl.gz:800 \\
        --out runs/markers.jsonl
    accelerate launch -m ptrain recipes/sft.yaml model=FOLDER data=runs/markers.jsonl \\
        out=runs/markers train.eval_steps=25
    python benchmarks/markers.py table runs/markers [RUN …] [--svg docs/curves/NAME.svg]

`mix` takes so many traces of each file, at random, of those that fork. `table` reads the
evaluations in the runs' train_report.json: right are the markers that a held-out trace's own text
leads to, forked the held-out prompts that the model answers with branches.
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

from pbranch.files.jsonl import read_lines
from pbranch.format.markers import MARKERS, Role

SHOWN = ("fork", "topic", "spawn", "end")
COLORS = ("#c1121f", "#669bbc", "#f4a261", "#2a9d8f")
WIDTH, HEIGHT, EDGE = 640, 280, 40


def mix(parts: Sequence[str], out: Path, seed: int) -> int:
    """Write the traces of `FILE:N …` to `out`; returns their number."""
    rng, chosen = random.Random(seed), []
    for part in parts:
        name, _, count = part.rpartition(":")
        forked = [x.text for x in read_lines(Path(name)) if MARKERS[Role.FORK] in x.text]
        if len(forked) < int(count):
            raise SystemExit(f"{name}: {len(forked)} traces fork, expected {count}")
        chosen += rng.sample(forked, int(count))
    rng.shuffle(chosen)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(f"{line}\n" for line in chosen), encoding="utf-8")
    return len(chosen)


def read_run(folder: Path) -> list[dict[str, float]]:
    """The evaluations of a run, by step."""
    return json.loads((folder / "train_report.json").read_text())["evaluations"]


def draw_table(runs: Sequence[Path]) -> str:
    """A line for each evaluation of each run."""
    lines = ["| run | step | held-out loss | fork | topic | spawn | end | forked | format kept |"]
    lines.append("|---" * 9 + "|")
    for run in runs:
        for x in read_run(run):
            right = " | ".join(f"{x[f'eval_accuracy_{name}']:.2f}" for name in SHOWN)
            rates = [x.get(f"eval_{name}_rate") for name in ("fork", "format")]
            found = " | ".join("–" if rate is None else f"{rate:.2f}" for rate in rates)
            lines.append(f"| {run.name} | {x['step']} | {x['eval_loss']:.3f} | {right} | {found} |")
    return "\n".join(lines)


def draw_curves(run: Path) -> str:
    """An SVG of one run: a curve for each marker."""
    found = read_run(run)
    last = max(x["step"] for x in found)

    def point(step: float, value: float) -> str:
        x = EDGE + (WIDTH - 3 * EDGE) * step / last
        return f"{x:.0f},{HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * value:.0f}"

    body = []
    for value in (0, 0.5, 1):
        (left, y), (right, _) = (point(s, value).split(",") for s in (0, last))
        body.append(f'<path d="M{left},{y}H{right}" stroke="#ddd"/>')
        body.append(f'<text x="8" y="{int(y) + 4}">{value}</text>')
    for step in sorted({x["step"] for x in found}):
        x = point(step, 0).split(",")[0]
        body.append(f'<text x="{x}" y="{HEIGHT - 14}" text-anchor="middle">{step}</text>')
    ends = sorted((found[-1][f"eval_accuracy_{name}"], i) for i, name in enumerate(SHOWN))
    for place, (_, i) in enumerate(ends):
        name, color = SHOWN[i], COLORS[i]
        points = " ".join(point(x["step"], x[f"eval_accuracy_{name}"]) for x in found)
        body.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        y = EDGE + 16 * (len(ends) - place)
        body.append(f'<text x="{WIDTH - 2 * EDGE + 8}" y="{y}" fill="{color}">{name}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12">{"".join(body)}</svg>\n'
    )


def main() -> None:
    """One of the two commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    mixing = commands.add_parser("mix")
    mixing.add_argument("parts", nargs="+", metavar="FILE:N")
    mixing.add_argument("--out", type=Path, required=True)
    mixing.add_argument("--seed", type=int, default=0)
    table = commands.add_parser("table")
    table.add_argument("runs", nargs="+", type=Path)
    table.add_argument("--svg", type=Path, help="write curves of the first run")
    args = parser.parse_args()
    if args.command == "mix":
        print(f"{mix(args.parts, args.out, args.seed)} traces → {args.out}")
        return
    print(draw_table(args.runs))
    if args.svg:
        args.svg.write_text(draw_curves(args.runs[0]), encoding="utf-8")


if __name__ == "__main__":
    main()
