"""What it takes to load a model and draw one token, next to transformers: CPU time and peak memory.

    python benchmarks/loading.py FOLDER … [--dtypes float32,bfloat16] [--rounds 3]

Every figure is of a process of its own, the arms in turn, medians over rounds. Times are CPU time
of one thread, from when the libraries are imported; peaks are of the resident memory. The token is
drawn because weights that are mapped from a file are read when they are first used.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ARMS = ("ours", "transformers")
PROMPT = "What is the capital of France?"


def load_ours(folder: str, dtype: str) -> None:
    """As `pinfer generate --adapter none` does it."""
    from pinfer import Engine, SamplingParams

    engine = Engine.from_pretrained(folder, "none", dtype=dtype, device="cpu")
    engine.generate(PROMPT, SamplingParams(max_new_tokens=1), raw=True)


def load_transformers(folder: str, dtype: str) -> None:
    """As the documentation of transformers does it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=False)
    given = tokenizer(PROMPT, return_tensors="pt")
    model.generate(**given, max_new_tokens=1, do_sample=False)


def run_arm(arm: str, folder: str, dtype: str) -> None:
    """Load in this process; print its CPU seconds and its peak in bytes."""
    import torch
    import transformers  # noqa: F401

    import pinfer.engine  # noqa: F401

    torch.set_num_threads(1)
    began = time.process_time()
    {"ours": load_ours, "transformers": load_transformers}[arm](folder, dtype)
    seconds = time.process_time() - began
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    print(json.dumps([seconds, int(found[1]) * 1024 if found else 0]))


def measure(folder: str, dtype: str, rounds: int) -> dict[str, Any]:
    """Medians of both arms, and the ratios of ours to those of transformers."""
    found: dict[str, list[list[float]]] = {arm: [] for arm in ARMS}
    for turn in range(rounds):
        for arm in ARMS[:: 1 if turn % 2 else -1]:
            command = [sys.executable, __file__, folder, "--dtypes", dtype, "--arm", arm]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[arm].append(json.loads(done.stdout.splitlines()[-1]))
    row: dict[str, Any] = {"model": folder, "dtype": dtype}
    for i, name in enumerate(("seconds", "peak_bytes")):
        ours, theirs = (statistics.median(x[i] for x in found[arm]) for arm in ARMS)
        row[name] = {"ours": ours, "transformers": theirs, "ratio": ours / theirs}
    return row


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", help="folders or Hub ids")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.arm:
        run_arm(args.arm, args.folders[0], args.dtypes)
        return
    for folder in args.folders:
        for dtype in args.dtypes.split(","):
            row = measure(folder, dtype, args.rounds)
            if args.json:
                print(json.dumps(row), flush=True)
                continue
            time_, peak = row["seconds"], row["peak_bytes"]
            print(
                f"{Path(folder).name:12} {dtype:9} {time_['ours']:5.2f} s, {time_['ratio']:.2f} of "
                f"transformers'; peak {peak['ours'] / 1e9:.2f} GB, {peak['ratio']:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
