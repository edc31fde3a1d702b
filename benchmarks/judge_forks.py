"""What a causal LM can tell of forks with a verdict: areas under the ROC curve.

    python benchmarks/judge_forks.py FOLDER LABELS.jsonl … [--model tiny] [--blocks 160]

FOLDER and LABELS are those of `real_forks.py`. As many right blocks as wrong ones are scored in
five ways, each meant to be large where a branch needs a sibling: the mean of what a branch's tokens
gain from its siblings in sight (what `--judge-model` does), their sum, the largest of a token, the
mean less what the same tokens gain from another trace's branches in the siblings' place, and a
question put to the model, its two answers in both orders.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from pdata.judge.judge import Judge
from pdata.judge.rows import Span, make_scoring_rows, repeat_without_siblings

from pbranch.console import progress
from pbranch.format.tree import Fork, make_trace

sys.path.insert(0, str(Path(__file__).parent))
from real_forks import build

SCORES = ("mean", "sum", "largest token", "mean, less foreign siblings'", "asked")
QUESTION = """A problem, the beginning of its solution, and then parts of the solution:

<problem>
{prompt}
</problem>
<before>
{lead}
</before>
{parts}

Does any part need another part: its result, a name or a thing that it brings in, or the step that \
it takes?
A: {a}
B: {b}
Answer with A or B."""
SHOWN = 1200  # characters of a prompt and of a lead that the question shows


def find_blocks(
    folder: str, labels: Sequence[dict[str, Any]], seed: int, wanted: int
) -> list[tuple[dict[str, Any], str, str, list[str]]]:
    """(label, prompt, text before the block, its branches) of so many labelled blocks."""
    rng = random.Random(seed)
    kinds = [[x for x in labels if x["verdict"] == v] for v in ("wrong", "right")]
    for kind in kinds:
        rng.shuffle(kind)
    chosen = [x for pair in zip(*kinds, strict=False) for x in pair][:wanted]
    lines = {(x["file"], x["line"]) for x in chosen}
    texts = {(b.file, b.line): (b.prompt, b.text) for b in build(folder, lines)}
    found = []
    for label in chosen:
        prompt, text = texts[label["file"], label["line"]]
        places = [i for i, c in enumerate(text) if not c.isspace()] + [len(text)]
        edges = [places[n] for n in (label["start"], *label["cuts"], label["end"])]
        pieces = [text[a:b].rstrip() for a, b in pairwise(edges)]
        found.append((label, prompt, text[: edges[0]], pieces))
    return found


class Scorer:
    """The five scores of a block."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def score(
        self, prompt: str, lead: str, branches: Sequence[str], foreign: Sequence[str]
    ) -> tuple[float, ...]:
        """In the order of SCORES; foreign: branches of another trace, as many as there are."""
        told = self.judge.encode_prompt([{"role": "user", "content": prompt}])
        fork = Fork(("",) * len(branches), tuple(map(make_trace, branches)))
        rows = make_scoring_rows(told, make_trace(lead, fork), self.judge.codec)
        log_probs = self.judge.log_probs(rows.layout)
        gains = [log_probs[a] - log_probs[b] for a, b in rows.pairs[0]][1:]
        worst = max(range(len(gains)), key=lambda i: gains[i].mean())
        strangers = self._gain(told, lead, foreign[: worst + 1], branches[worst + 1])
        return (
            max(g.mean().item() for g in gains),
            max(g.sum().item() for g in gains),
            max(g.max().item() for g in gains),
            (gains[worst] - strangers).mean().item(),
            self._ask(prompt, lead, branches),
        )

    def _gain(
        self, told: list[int], lead: str, siblings: Sequence[str], branch: str
    ) -> torch.Tensor:
        encode = self.judge.codec.encode
        ids, spans = [*told, *encode(lead)], []
        for i, text in enumerate((*siblings, branch)):
            ids += encode("\n") if i else []
            start = len(ids)
            ids += encode(text)
            spans.append(Span(start, start + 1, len(ids)))
        rows = repeat_without_siblings(ids, [spans])
        log_probs = self.judge.log_probs(rows.layout)
        seen, hidden = rows.pairs[0][-1]
        return log_probs[seen] - log_probs[hidden]

    def _ask(self, prompt: str, lead: str, branches: Sequence[str]) -> float:
        parts = "\n".join(f"<part {i}>\n{b}\n</part>" for i, b in enumerate(branches, 1))
        shown = {"prompt": prompt[-SHOWN:], "lead": lead[-SHOWN:], "parts": parts}
        answers = [self.judge.codec.encode(x)[0] for x in "AB"]
        total = 0.0
        for sign, (a, b) in ((1, ("yes", "no")), (-1, ("no", "yes"))):
            text = QUESTION.format(**shown, a=a, b=b)
            ids = torch.tensor([self.judge.encode_prompt([{"role": "user", "content": text}])])
            with torch.inference_mode():
                out = self.judge.model(ids.to(self.judge.model.device), logits_to_keep=1)
            first, second = out.logits[0, -1, answers].tolist()
            total += sign * (first - second)
        return total


def area(scores: Sequence[float], wrong: Sequence[bool]) -> float:
    """Probability that a wrong block scores above a right one, ties halved."""
    above = [s for s, w in zip(scores, wrong, strict=True) if w]
    below = [s for s, w in zip(scores, wrong, strict=True) if not w]
    pairs = [(a > b) + 0.5 * (a == b) for a in above for b in below]
    return sum(pairs) / len(pairs) if pairs else float("nan")


def measure(
    judge: Judge, blocks: Sequence[tuple[dict[str, Any], str, str, list[str]]], longest: int
) -> Iterator[dict[str, Any]]:
    """A row a block: its label and its scores; longer ones than `longest` are left out."""
    scorer = Scorer(judge)
    with progress("scoring", len(blocks)) as advance:
        for i, (label, prompt, lead, branches) in enumerate(blocks):
            others = [b for *_, more in (*blocks[i + 1 :], *blocks[:i]) for b in more]
            size = len(judge.codec.encode(prompt + lead + "".join(branches)))
            if size <= min(longest, judge.context // 2):
                yield label | {"scores": scorer.score(prompt, lead, branches, others)}
            advance()


def format_table(rows: Sequence[dict[str, Any]], seconds: float) -> str:
    """Areas, over all wrong blocks and over those where a branch needs a sibling."""
    wrong = [r["verdict"] == "wrong" for r in rows]
    keep = [r["verdict"] == "right" or r.get("kind") == "dependent" for r in rows]
    lines = ["| score | all | dependent |", "|---|---|---|"]
    for k, name in enumerate(SCORES):
        scores = [r["scores"][k] for r in rows]
        some = [[x for x, kept in zip(xs, keep, strict=True) if kept] for xs in (scores, wrong)]
        lines.append(f"| {name} | {area(scores, wrong):.2f} | {area(*some):.2f} |")
    dependent = sum(r.get("kind") == "dependent" for r in rows)
    speed = f"{60 * len(rows) / seconds:.0f} a minute with all five scores"
    lines.append(f"{len(rows)} blocks, {sum(wrong)} wrong ({dependent} dependent); {speed}")
    return "\n".join(lines)


def main() -> None:
    """The table of one model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("labels", type=Path, nargs="+")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--blocks", type=int, default=160)
    parser.add_argument("--longest", type=int, default=1000, help="tokens of prompt and trace")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float32", help="bfloat16 scores larger models sooner")
    args = parser.parse_args()
    labels = [json.loads(x) for path in args.labels for x in path.read_text().splitlines()]
    blocks = find_blocks(args.folder, labels, args.seed, args.blocks)
    judge = Judge(args.model)
    judge.model.to(getattr(torch, args.dtype))
    start = time.perf_counter()
    rows = list(measure(judge, blocks, args.longest))
    print(format_table(rows, time.perf_counter() - start))


if __name__ == "__main__":
    main()
