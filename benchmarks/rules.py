"""How fast the rules of `pdata build` are, and whether their memory grows with the input.

    python benchmarks/rules.py TRACES.jsonl [--workers 2]

Builds TRACES as they are, then 10,000 and 300,000 lines made of them; peak memory is the builder's,
of the worker processes the largest. Prints a line each.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pbranch.files.jsonl import read_lines

RUN = """
import resource, sys
from pathlib import Path
from pdata.build.pipeline import build
if __name__ == "__main__":
    build(sys.argv[1], Path(sys.argv[2]), workers=int(sys.argv[3]))
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        print(resource.getrusage(who).ru_maxrss // 1024)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    rows = [line.parse() for line in read_lines(args.traces)]
    with tempfile.TemporaryDirectory() as folder:
        measure(args.traces, len(rows), Path(folder), args.workers)
        for n in (10_000, 300_000):
            source = Path(folder) / f"{n}.jsonl"
            with source.open("w", encoding="utf-8") as file:
                for i, row in enumerate(itertools.islice(itertools.cycle(rows), n)):
                    file.write(json.dumps({**row, "id": str(i)}) + "\n")
            measure(source, n, Path(folder), args.workers)


def measure(source: Path, n: int, folder: Path, workers: int) -> None:
    """One build in a process of its own."""
    script = folder / "run.py"
    script.write_text(RUN, encoding="utf-8")
    command = [sys.executable, script, source, folder / "out.jsonl", str(workers)]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.monotonic() - began
    builder, largest = done.stdout.split()
    print(
        f"{n:>7,} traces  {seconds:6.1f} s  {n / seconds:6,.0f} traces/s  "
        f"peak {builder} MB, largest worker {largest} MB",
        flush=True,
    )


if __name__ == "__main__":
    main()
