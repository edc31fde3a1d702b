"""Scores a base model: linear accuracy on held-out prompts of each synthetic task.

python benchmarks/score_base.py runs/tiny_base --n 400 --out runs/tiny_base/scores.json
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from evaluate import TASKS, decode, held_out, share

from pinfer import Engine


def main() -> None:
    """Decode, print a line a task, write the scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    engine = Engine.from_pretrained(args.model, "none", dtype=args.dtype)
    answers, seconds = decode(engine, held_out(args.n), "linear")
    scores = {
        task: share(a.right for a in answers if a.record.meta["task"] == task) for task in TASKS
    }
    for task, score in scores.items():
        print(f"{task:<8} {score:.3f}")
    print(f"{args.n} prompts in {seconds:.0f} s")
    for a in [a for a in answers if not a.right][:4]:
        print("wrong:", a.record.id, a.record.answer, repr(a.generation.text), file=sys.stderr)
    if args.out:
        table = {task: {"linear accuracy": round(score, 4)} for task, score in scores.items()}
        args.out.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
