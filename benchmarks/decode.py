"""Every workload of `pinfer bench` on models of real shapes, with more peers: continuous batching
of transformers, and llama.cpp where it can be imported. Writes what it found as JSON.

    python benchmarks/decode.py [--shapes 0.5b,qwen3-0.6b] [--dtypes float32,bfloat16]
        [--workloads W1,W2,W3,W4,W5,W6] [--out runs/decode.json]
        [--peers all|none|"HF generate,llama.cpp"] [--quick]    short prompts, to try it
and the options of `pinfer bench` for lengths and rounds. W8 runs on the shape `host`, whatever the
shapes. All peers over nine rounds take hours: --rounds 3 --warmups 1 --tokens 20 is a run of one.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from batching import Batching
from llama import make_llamas

from pbranch import console
from pbranch.errors import RequestError
from pinfer.bench import report
from pinfer.bench.suite import Settings, Suite, check_names
from pinfer.bench.transformers_arms import Arm
from pinfer.commands.bench import numbers

QUICK: dict[str, Any] = {
    "prompt": 128,
    "long_prompt": 512,
    "branches": (2, 4),
    "lengths": (32, 24, 16, 8),
    "tokens": 24,
    "trunk": 20,
    "requests": 6,
    "warmups": 1,
}
SEVERAL = ("branches", "lengths")
NUMBERS = (
    *("prompt", "long_prompt", *SEVERAL, "tokens", "trunk", "requests"),
    *("rounds", "warmups", "minutes", "seed"),
)


def main() -> None:
    """Measure, print, write; exits with 1 if a speed was refused."""
    args = parse()
    names = args.workloads.split(",")
    check_names(names)
    console.quiet_libraries()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    runs = []
    given = QUICK if args.quick else {}
    given = given | {name: getattr(args, name) for name in NUMBERS if hasattr(args, name)}
    for dtype in args.dtypes.split(","):
        work = [(shape, names, given) for shape in args.shapes.split(",")]
        if not args.no_host:
            work.append(("host", ["W8"], given | {"prompt": 64, "peers": False}))
        for shape, some, settings in work:
            if not runs:
                print(report.LEGEND)
            runs.append(measure(Settings(shape=shape, dtype=dtype, **settings), some, args.peers))
            write(args.out, runs)
    refused = [f for run in runs for f in run["findings"] if f["check"]["refused"]]
    print(f"\n{args.out}: {len(runs)} runs, {len(refused)} speeds refused")
    sys.exit(bool(refused))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", default="0.5b,qwen3-0.6b")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--workloads", default="W1,W2,W3,W4,W5,W6")
    for name in NUMBERS:
        kind = str if name in SEVERAL else float if name == "minutes" else int
        parser.add_argument("--" + name.replace("_", "-"), type=kind, default=argparse.SUPPRESS)
    parser.add_argument("--peers", default="all")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--no-host", action="store_true", help="leave W8 out")
    parser.add_argument("--out", type=Path, default=Path("runs/decode.json"))
    args = parser.parse_args()
    for name in SEVERAL:
        if hasattr(args, name):
            setattr(args, name, numbers(f"--{name}", getattr(args, name)))
    return args


def measure(settings: Settings, names: list[str], peers: str = "all") -> dict[str, Any]:
    """One shape and dtype beside the peers named: its findings, printed as they come."""
    settings = replace(settings, peers=settings.peers and peers != "none")
    others = [Batching, *make_llamas(settings)] if settings.peers else []
    suite, found = Suite(settings, others), []
    if settings.peers and peers != "all":
        suite.peers = choose(suite.peers, peers.split(","))
    try:
        for name in names:
            for one in suite.run(name):
                found.append(one)
                print("\n" + "\n".join(report.lines(one)), flush=True)
    finally:
        for peer in suite.peers:
            if isinstance(peer, Batching):
                peer.stop()
    machine = suite.machine()
    print("\n" + report.head(machine), flush=True)
    return {"date": time.strftime("%Y-%m-%d"), "machine": machine, "findings": found}


def choose(peers: list[Arm], names: list[str]) -> list[Arm]:
    """Those of these names; RequestError at one that there is none of."""
    known = {peer.name: peer for peer in peers}
    if missing := [name for name in names if name not in known]:
        raise RequestError(f"--peers {missing[0]!r}: expected {', '.join(known)}, all or none")
    return [known[name] for name in names]


def write(path: Path, runs: list[dict[str, Any]]) -> None:
    """All so far: a long run that is stopped leaves what it has."""
    path.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    console.run(main)
