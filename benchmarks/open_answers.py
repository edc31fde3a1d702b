"""Open prompts, an adapter against its linear twin: judged blind by a third model, and timed.

    python benchmarks/open_prompts.py --n 60 --split heldout --seed 2 --out runs/open/heldout.jsonl
    python benchmarks/open_answers.py runs/open/heldout.jsonl --model smollm2 --adapter ADAPTER \\
        --twin TWIN --judge FOLDER --out runs/open/report.json

The judge reads a prompt and both answers, in both orders, without names; the more probable of the
words A and B is its choice. An answer wins if it is chosen in both orders, else it is a tie. Time
is CPU time of one thread, one prompt at a time, adapter and twin in turn.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
from pbranch.files.jsonl import read_objects
from pinfer import Engine, SamplingParams

QUESTION = """\
Here are a question and two answers.

Question: {prompt}

Answer A:
{a}

Answer B:
{b}

Which answer is better: more helpful, more correct, better written? Reply with the letter alone."""


def answer(engines: dict[str, Engine], prompts: list[str], tokens: int) -> list[dict[str, Any]]:
    """The answers of each prompt by arm, with the time that they took."""
    rows = []
    for i, prompt in enumerate(prompts):
        row: dict[str, Any] = {"prompt": prompt}
        for name in engines if i % 2 else reversed(engines):
            params = SamplingParams(
                max_new_tokens=tokens, mode="parallel" if name == "adapter" else "linear"
            )
            began = time.process_time()
            (found,) = engines[name].generate(prompt, params)
            row[name] = {
                "text": found.text,
                "blocks": found.stats.blocks,
                "passes": found.stats.passes,
                "tokens": len(found.token_ids),
                "cpu_seconds": time.process_time() - began,
            }
        rows.append(row)
    return rows


def prefers_first(judge: Engine, prompt: str, first: str, second: str) -> bool:
    """Whether the judge calls the first of two answers the better one."""
    text = QUESTION.format(prompt=prompt, a=first.strip(), b=second.strip())
    params = SamplingParams(max_new_tokens=1, mode="linear", logprobs=100)
    (found,) = judge.generate(text, params)
    (said,) = found.logprobs
    assert said is not None
    letters: dict[str, float] = {"A": -math.inf, "B": -math.inf}
    for token, logprob in said.top:
        letter = judge.codec.decode([token]).strip()
        if letter in letters:
            letters[letter] = max(letters[letter], logprob)
    return letters["A"] >= letters["B"]


def verdict(judge: Engine, row: dict[str, Any]) -> str:
    """win, tie or lose, of the adapter's answer."""
    ours, theirs = row["adapter"]["text"], row["twin"]["text"]
    forth = prefers_first(judge, row["prompt"], ours, theirs)
    back = not prefers_first(judge, row["prompt"], theirs, ours)
    return "tie" if forth != back else "win" if forth else "lose"


def summarise(rows: list[dict[str, Any]], parts: list[bool]) -> dict[str, Any]:
    """Counts of verdicts, rates of forks, and ratios of passes and time."""
    verdicts = [row["verdict"] for row in rows]
    n, score = len(rows), verdicts.count("win") + verdicts.count("tie") / 2
    half = 1.96 * math.sqrt(max(score / n * (1 - score / n), 1e-9) / n)
    forked = {asked: [bool(r["adapter"]["blocks"]) for r, p in zip(rows, parts, strict=True)
                      if p == asked] for asked in (True, False)}  # fmt: skip
    total = {
        (arm, key): sum(row[arm][key] for row in rows)
        for arm in ("adapter", "twin")
        for key in ("passes", "cpu_seconds", "tokens")
    }
    return {
        "prompts": n,
        **{name: verdicts.count(name) for name in ("win", "tie", "lose")},
        "score": score / n,
        "interval": [max(0.0, score / n - half), min(1.0, score / n + half)],
        "fork_rate": sum(forked[True]) / max(1, len(forked[True])),
        "no_fork_rate": 1 - sum(forked[False]) / max(1, len(forked[False])),
        "tokens": {arm: total[arm, "tokens"] / n for arm in ("adapter", "twin")},
        "passes_ratio": total["twin", "passes"] / total["adapter", "passes"],
        "cpu_ratio": total["twin", "cpu_seconds"] / total["adapter", "cpu_seconds"],
    }


def main() -> None:
    """Answer, judge, write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prompts", type=Path, help="of open_prompts.py")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--adapter", required=True)
    parser.add_argument("--twin", required=True)
    parser.add_argument("--judge", required=True, help="a model, bare")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--judge-dtype", default="bfloat16")
    parser.add_argument("--max-new-tokens", type=int, default=512)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    asked = list(read_objects(args.prompts))
    engines = {
        name: Engine.from_pretrained(args.model, adapter, device="cpu", dtype=args.dtype)
        for name, adapter in (("adapter", args.adapter), ("twin", args.twin))
    }
    rows = answer(engines, [row["prompt"] for row in asked], args.max_new_tokens)
    del engines
    judge = Engine.from_pretrained(args.judge, "none", device="cpu", dtype=args.judge_dtype)
    for row in rows:
        row["verdict"] = verdict(judge, row)
    settings = {key: str(value) for key, value in vars(args).items()}
    found = summarise(rows, [bool(row["parts"]) for row in asked])
    report = {"settings": settings, "date": time.strftime("%Y-%m-%d"), "eval": found, "rows": rows}
    args.out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))
    print(f"report: {args.out}")


if __name__ == "__main__":
    main()
