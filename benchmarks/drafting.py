"""Passes and CPU seconds with and without drafts, by source, length and live branches, on held-out
prompts of the shipped model or on a folder's own.

python benchmarks/drafting.py [--model DIR --adapter none --prompts FILE.jsonl] [--n 16]
    [--sources ngram,lookahead:FOLDER]
"""

import argparse
import json
import time
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import Any

import torch
from evaluate import held_out

from pinfer import Engine, EngineLimits, Generation, SamplingParams
from pinfer.drafting.draft import DraftSource
from pinfer.models.load import load
from pinfer.models.load_draft import open_source
from pinfer.scheduling.drafts import Drafter


@dataclass
class Arm:
    """A source with a length and a width, and what its rounds took."""

    source: str
    length: int
    mode: str
    width: int | None
    seconds: list[float] = field(default_factory=list)
    answers: list[Generation] = field(default_factory=list)

    def run(
        self, engine: Engine, source: DraftSource | None, prompts: list[Any], tokens: int
    ) -> None:
        """One round, a prompt at a time."""
        engine.reset()
        scheduler = engine.core.scheduler
        scheduler.drafter = Drafter(source, scheduler.spec, scheduler.limits)
        params = SamplingParams(
            max_new_tokens=tokens, mode=self.mode, max_width=self.width, draft_tokens=self.length  # type: ignore[arg-type]
        )  # fmt: skip
        begin = time.process_time()
        self.answers = [engine.generate([prompt], params)[0] for prompt in prompts]
        self.seconds.append(time.process_time() - begin)

    def row(self) -> str:
        """Of the table."""
        stats = [a.stats for a in self.answers]
        passes, drafted = sum(s.passes for s in stats), sum(s.drafted for s in stats)
        accepted = sum(s.accepted for s in stats)
        tokens, rate = sum(s.generated_tokens for s in stats), accepted / max(1, drafted)
        width = "any" if self.width is None else str(self.width)
        places = [
            sum(at) for at in zip_longest(*(s.accepted_by_position for s in stats), fillvalue=0)
        ]
        return (
            f"| {self.mode} | {width} | {self.source} | {self.length} | {passes} | "
            f"{tokens / passes:.2f} | {drafted} | {rate:.2f} | "
            f"{' '.join(map(str, places))} | {median(self.seconds):.2f} |"
        )


def main() -> None:
    """All arms, interleaved; the answers of an arm are compared with those without drafts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--adapter")
    parser.add_argument("--prompts", help="JSONL of prompts; default: held-out ones")
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--modes", default="linear,parallel")
    parser.add_argument("--widths", default="0,2,4", help="branches at once; 0: all")
    parser.add_argument("--lengths", default="2,4,8")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--sources", default="ngram,auto", help="as --draft of pinfer takes them")
    args = parser.parse_args()
    torch.set_num_threads(1)
    limits = EngineLimits(max_draft_rows=args.rows)
    loaded, names = load(args.model, args.adapter), args.sources.split(",")
    sources = {name: open_source(name, loaded) for name in ["none", *names]}
    engine = Engine(loaded, limits=limits, owned=True)
    if args.prompts:
        lines = Path(args.prompts).read_text(encoding="utf-8").splitlines()
        prompts: list[Any] = [json.loads(line)["prompt"] for line in lines][: args.n]
    else:
        prompts = [record.messages for record in held_out(args.n)]
    arms = []
    for mode in args.modes.split(","):
        widths = [int(w) or None for w in args.widths.split(",")] if mode == "parallel" else [None]
        for width in widths:
            arms.append(Arm("none", 0, mode, width))
            lengths = list(map(int, args.lengths.split(",")))
            arms += [Arm(name, n, mode, width) for name in names for n in lengths]
    for _ in range(args.rounds):
        for arm in arms:
            arm.run(engine, sources[arm.source], prompts, args.tokens)
    print(
        "| mode | live branches | source | L | passes | tokens a pass | drafted | right | "
        "by place | CPU s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for arm in arms:
        plain = next(
            a for a in arms if (a.mode, a.width, a.source) == (arm.mode, arm.width, "none")
        )
        same = [a.token_ids for a in arm.answers] == [a.token_ids for a in plain.answers]
        print(arm.row() + ("" if same else " other answers (rounding)"))


if __name__ == "__main__":
    main()
