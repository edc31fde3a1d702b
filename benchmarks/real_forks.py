"""Forks of the rules on real text, against verdicts of those who have read them.

    python benchmarks/real_forks.py draw FOLDER --out sample.jsonl [--seed 0] [--forks 160]
    python benchmarks/real_forks.py score FOLDER LABELS.jsonl

FOLDER holds trace files. `draw` takes forks of all depths, and traces that stay linear although
they look like a list, as many of each file as of the others; its lines hold what a reader needs. A
line of LABELS refers to file and line and holds no text: a block's `start`, `cuts` between branches
and `end` (in characters that are no blanks, which the rules leave as they are), a `verdict` and a
`reason`. Verdicts are `right` and `wrong` of a block (`kind`: a branch is `dependent`, or the block
is `cut` in the wrong place), `miss` and `linear` of a trace without one. `score` says what the
rules of today make of them.
"""

import argparse
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from pdata.build.process_line import LineOptions, Rewritten, rewrite_line
from pdata.rules.rewriter import rewrite
from pdata.sources.reader import list_files, look_at_files

from pbranch.format.tree import Fork, Segment, Trace, plain_text

_ITEM = re.compile(
    r"\s*(?:[-*•+]\s|#{1,6}\s|\*\*\S|\(?(?:\d{1,2}|[A-Za-z]|[IVX]+|[一二三四五六七八九十]+)[.)）、．]"
    r"|(?:Step|Case|Option|Part|Method|Approach)\s+\w+|(?:First|Second|Third)(?:ly)?\b|首先|其次|最后)"
)


@dataclass(frozen=True, slots=True)
class Block:
    """Where a fork stands; texts of its branches."""

    start: int
    cuts: tuple[int, ...]
    end: int
    branches: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Built:
    """A line of a file as the rules have built it."""

    file: str
    line: int
    prompt: str
    text: str
    reason: str
    blocks: tuple[Block, ...]


def build(folder: str, lines: Container[tuple[str, int]] | None = None) -> Iterator[Built]:
    """Every line of every file that can be read, or those of `lines`: file and number."""
    for file in look_at_files(list_files(folder), {}):
        options = LineOptions(file.schemas, rewrite)
        for line in file.read():
            if lines is not None and (line.file, line.number) not in lines:
                continue
            done = rewrite_line(options, line)
            if isinstance(done, Rewritten):
                trace = done.rewrite.trace
                reason = f"{done.rewrite.reason} {done.rewrite.detail}".strip()
                blocks = tuple(find_blocks(trace))
                where = line.file, line.number
                yield Built(*where, done.source.prompt, plain_text(trace), reason, blocks)


def find_blocks(trace: Trace, start: int = 0) -> Iterator[Block]:
    """The forks of a trace, a fork before those inside its branches."""
    for part in trace.parts:
        if isinstance(part, Segment):
            start += count(part.text)
            continue
        branches = tuple(map(plain_text, part.branches))
        *cuts, end = list(accumulate(map(count, branches), initial=start))[1:]
        yield Block(start, tuple(cuts), end, branches)
        yield from _inner(part, start)
        start = end


def _inner(fork: Fork, start: int) -> Iterator[Block]:
    for branch in fork.branches:
        yield from find_blocks(branch, start)
        start += count(plain_text(branch))


def count(text: str) -> int:
    """Characters that are no blanks."""
    return len("".join(text.split()))


def looks_like_a_list(text: str) -> bool:
    """Whether at least three lines begin as items of one do."""
    return sum(bool(_ITEM.match(line)) for line in text.splitlines()) >= 3


def draw(folder: str, seed: int, forks: int, linear: int) -> Iterator[dict[str, Any]]:
    """Blocks, and then traces without one."""
    rng = random.Random(seed)
    by_file: dict[str, list[tuple[Built, Block]]] = defaultdict(list)
    lists: dict[str, list[Built]] = defaultdict(list)
    for built in build(folder):
        by_file[built.file] += [(built, block) for block in built.blocks]
        if not built.blocks and looks_like_a_list(built.text):
            lists[built.file].append(built)
    for built, block in _spread(rng, by_file, forks):
        yield asdict(built) | {"blocks": None} | asdict(block)
    for built in _spread(rng, lists, linear):
        yield asdict(built) | {"blocks": None}


def _spread(rng: random.Random, by_file: dict[str, list[Any]], wanted: int) -> list[Any]:
    """`wanted` of all, one of each file in turn."""
    for found in by_file.values():
        rng.shuffle(found)
    queues = [list(found) for _, found in sorted(by_file.items())]
    chosen: list[Any] = []
    while len(chosen) < wanted and any(queues):
        for queue in filter(None, queues):
            chosen.append(queue.pop())
    return chosen[:wanted]


def score(folder: str, labels: Sequence[dict[str, Any]]) -> str:
    """What the rules make of labelled blocks and traces, a line a file and one for all."""
    lines = {(label["file"], label["line"]) for label in labels}
    built = {(b.file, b.line): b for b in build(folder, lines)}
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for label in labels:
        now = built[label["file"], label["line"]]
        for name in (label["file"], "all"):
            found[name][f"{label['verdict']}, {_fate(label, now)}"] += 1
    kinds = [f"{v}, {fate}" for v in ("right", "wrong") for fate in ("kept", "cut anew", "gone")]
    kinds += [f"{v}, {fate}" for v in ("miss", "linear") for fate in ("forks", "stays linear")]
    lines = [f"| file | {' | '.join(kinds)} |", "|---" * (1 + len(kinds)) + "|"]
    for name, counts in found.items():
        lines.append(f"| {name} | {' | '.join(str(counts[kind]) for kind in kinds)} |")
    lines.append(lines.pop(lines.index(next(x for x in lines if x.startswith("| all ")))))
    return "\n".join(lines)


def _fate(label: dict[str, Any], now: Built) -> str:
    if "start" not in label:
        return "forks" if now.blocks else "stays linear"
    start, cuts, end = label["start"], tuple(label["cuts"]), label["end"]
    near = [b for b in now.blocks if b.start < end and start < b.end]
    if any((b.start, b.cuts, b.end) == (start, cuts, end) for b in near):
        return "kept"
    return "cut anew" if near else "gone"


def main() -> None:
    """One of the two commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw")
    drawing.add_argument("folder")
    drawing.add_argument("--out", type=Path, required=True)
    drawing.add_argument("--seed", type=int, default=0)
    drawing.add_argument("--forks", type=int, default=160)
    drawing.add_argument("--linear", type=int, default=100)
    scoring = commands.add_parser("score")
    scoring.add_argument("folder")
    scoring.add_argument("labels", type=Path)
    args = parser.parse_args()
    if args.command == "draw":
        with args.out.open("w", encoding="utf-8") as file:
            for row in draw(args.folder, args.seed, args.forks, args.linear):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        return
    labels = [json.loads(line) for line in args.labels.read_text().splitlines()]
    print(score(args.folder, labels))


if __name__ == "__main__":
    main()
