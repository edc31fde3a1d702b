"""Bounded caches: accuracy against budget, and time and memory against length.

python benchmarks/kv.py length [--model DIR | --shape 896,14,2,64,24] [--budget 1024]
python benchmarks/kv.py accuracy --problems FILE.jsonl --out RUN.jsonl [--model DIR --adapter none]
    [--policies raas,random,value,sink] [--budgets 50%,25%,12.5%] [--page 16] [--ratio 0.5]
python benchmarks/kv.py table RUN.jsonl [--json FILE]

A problem is a line with `prompt` or `messages`, and `answer`. Budgets are shares of the mean answer
of full attention, the prompt on top. `accuracy` goes on where an earlier run has stopped.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from pdata.grading.closing_form import grade

from pbranch.files.jsonl import read_objects
from pinfer import Engine, EngineLimits, KVOptions, SamplingParams
from pinfer.attention.backend import get_backend
from pinfer.core import Core
from pinfer.execution.runner import Runner
from pinfer.model_spec import ModelSpec
from pinfer.models.fast import FastModel
from pinfer.request.marker_controller import MARKERS
from pinfer.request.state import QueuedToken
from pinfer.request.transitions import open_request
from pinfer.scheduling.batch import Batch

FULL = "full"


@dataclass(frozen=True, slots=True)
class Arm:
    """A policy and its share of the mean answer; `full`: nothing is evicted."""

    policy: str
    share: float = 1.0

    @property
    def name(self) -> str:
        """As the table says it."""
        return self.policy if self.policy == FULL else f"{self.policy} {100 * self.share:g}%"

    def options(self, mean_answer: float, page: int, ratio: float) -> KVOptions | None:
        """Of the engine; two pages at least, as a budget needs."""
        if self.policy == FULL:
            return None
        budget = max(2 * page, round(self.share * mean_answer))
        return KVOptions(self.policy, budget, page, ratio, on_top=True)


def bounded(core: Core, kv: KVOptions | None) -> Core:
    """The same model with an empty cache, bounded or not."""
    runner, scheduler = core.runner, core.scheduler
    assert isinstance(runner, Runner)
    return Core.build(
        runner.model, runner.backend, scheduler.spec, core.sampler, scheduler.limits, kv=kv
    )


def decode_arm(engine: Engine, arm: Arm, args: argparse.Namespace) -> None:
    """The answers of an arm that are not there yet, a line each."""
    problems = list(read_objects(args.problems))[: args.n]
    done = {row["problem"] for row in rows_of(args.out) if row["arm"] == arm.name}
    full = [row for row in rows_of(args.out) if row["arm"] == FULL]
    kv = arm.options(mean(row["tokens"] for row in full) if full else 0, args.page, args.ratio)
    engine.core = bounded(engine.core, kv)
    left = [i for i in range(len(problems)) if i not in done]
    params = SamplingParams(max_new_tokens=args.max_new_tokens, mode=args.mode)
    for begin in range(0, len(left), args.batch):
        some = left[begin : begin + args.batch]
        prompts = [problems[i].get("messages") or problems[i]["prompt"] for i in some]
        start = time.perf_counter()
        answers = engine.generate(prompts, params)
        seconds = (time.perf_counter() - start) / len(some)
        with args.out.open("a", encoding="utf-8") as out:
            for i, answer in zip(some, answers, strict=True):
                stats = answer.stats
                row = {
                    "arm": arm.name,
                    "problem": i,
                    "right": grade(answer.text, str(problems[i]["answer"])),
                    "tokens": stats.generated_tokens,
                    "prompt_tokens": stats.prompt_tokens,
                    "finish_reason": answer.finish_reason,
                    "kv_rows": stats.kv_rows,
                    "evictions": sum(stats.kv["evictions"]) if stats.kv else 0,
                    "seconds": seconds,
                    "text": answer.text,
                }
                out.write(json.dumps(row) + "\n")
        print(f"{arm.name}: {begin + len(some)} of {len(left)}", flush=True)


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """What a run has written."""
    return iter(read_objects(path)) if path.exists() else iter(())


def interval(right: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z, p = 1.96, right / n
    centre, scale = p + z * z / (2 * n), 1 + z * z / n
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (centre - half) / scale, (centre + half) / scale


def paired_test(lost: int, won: int) -> float:
    """Two-sided p of McNemar's exact test: of the problems that one arm solves and the other does
    not, are as many lost as won?"""
    n = lost + won
    tail = sum(math.comb(n, k) for k in range(min(lost, won) + 1)) / 2**n
    return min(1.0, 2 * tail)


def compare(path: Path) -> list[dict[str, Any]]:
    """Every arm against full attention, on the problems that both have answered."""
    arms: dict[str, dict[int, dict[str, Any]]] = {}
    for row in rows_of(path):
        arms.setdefault(row["arm"], {})[row["problem"]] = row
    full, found = arms.get(FULL, {}), []
    for name, rows in arms.items():
        right, n = sum(r["right"] for r in rows.values()), len(rows)
        both = [(full[i]["right"], r["right"]) for i, r in rows.items() if i in full]
        lost, won = sum(a and not b for a, b in both), sum(b and not a for a, b in both)
        row = {"arm": name, "n": n, "right": right / n, "interval": interval(right, n)}
        row |= {"lost": lost, "won": won, "p": paired_test(lost, won)}
        keys = ("tokens", "kv_rows", "evictions", "seconds")
        found.append(row | {key: mean(r[key] for r in rows.values()) for key in keys})
    return found


def print_table(rows: list[dict[str, Any]]) -> None:
    """What `compare` has found, in Markdown."""
    print("| arm | n | right | 95 % | lost, won | p | tokens | kept | evicted pages | s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        low, high = row["interval"]
        print(
            f"| {row['arm']} | {row['n']} | {row['right']:.3f} | {low:.2f} to {high:.2f} | "
            f"{row['lost']}, {row['won']} | {row['p']:.3f} | {row['tokens']:.0f} | "
            f"{row['kv_rows']:.0f} | {row['evictions']:.0f} | {row['seconds']:.2f} |"
        )


def measure_accuracy(args: argparse.Namespace) -> None:
    """All arms, full attention first: the budgets are shares of its answers."""
    limits = EngineLimits(max_requests=args.batch)
    engine = Engine.from_pretrained(args.model, args.adapter, dtype=args.dtype, limits=limits)
    shares = [float(x.removesuffix("%")) / 100 for x in args.budgets.split(",")]
    arms = [Arm(p, share) for share in shares for p in args.policies.split(",")]
    for arm in (Arm(FULL), *arms):
        decode_arm(engine, arm, args)
    print_table(compare(args.out))


def shaped_model(shape: str) -> Any:
    """Random weights: hidden size, heads, KV heads, head dim, layers, as Qwen2 has them."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    hidden, heads, kv_heads, dim, layers = map(int, shape.split(","))
    config = Qwen2Config(
        vocab_size=1024, hidden_size=hidden, intermediate_size=hidden * 38 // 7,
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads,
        head_dim=dim, max_position_embeddings=2**17,
    )  # fmt: skip
    torch.manual_seed(0)
    return Qwen2ForCausalLM(config).eval()


def measure_length(args: argparse.Namespace) -> None:
    """Step time and bytes of the cache at growing lengths, full attention beside a bounded one.
    Between the lengths a pass feeds a page of tokens."""
    if args.model is None:
        model = FastModel(shaped_model(args.shape))
    else:
        from pinfer.models.load import load

        model = FastModel(load(args.model, "none", args.dtype).model)
    spec = ModelSpec(None, frozenset(), 2**20)
    page = args.page
    arms = {FULL: None} | {p: KVOptions(p, args.budget, page) for p in args.policies.split(",")}
    found: dict[str, list[float]] = {}
    lengths = [int(x) for x in args.lengths.split(",")]
    print("| arm | tokens | step, ms | slots in use | cache, MiB |\n|---|---|---|---|---|")
    for name, kv in arms.items():
        core = Core.build(model, get_backend("auto"), spec, lambda *_: [], kv=kv)
        params = SamplingParams(max_new_tokens=2**19, mode="linear")
        request = open_request(0, [1] * 64, params, spec, MARKERS)
        prompt = [e for e in request.effects if isinstance(e, QueuedToken)]
        run = core.runner.run
        run(Batch(tokens=prompt))
        at = len(prompt)
        for length in lengths:
            while (left := length - args.steps - at) > 0:
                some = min(page, left, core.scheduler.bound.room(request.trunk))
                run(Batch(tokens=feed(request, at, some)))
                at += some
            seconds = []
            for _ in range(args.steps):
                start = time.perf_counter()
                run(Batch(tokens=feed(request, at, 1), logits_indices=[0]))
                seconds.append(time.perf_counter() - start)
                at += 1
            arena = core.runner.cache.arena  # type: ignore[attr-defined]
            pools = [p for p in (*arena.keys, *arena.values) if p is not None]
            size = sum(p.numel() * p.element_size() for p in pools) / 2**20
            found.setdefault(name, []).append(1000 * median(seconds))
            print(
                f"| {name} | {at} | {found[name][-1]:.1f} | {arena.rows} | {size:.0f} |", flush=True
            )
    for name in found.keys() - {FULL}:
        wins = [a < b for a, b in zip(found[name], found[FULL], strict=True)]
        since = next((n for i, n in enumerate(lengths) if all(wins[i:])), "no")
        print(f"{name}: below full attention from {since} tokens on")


def feed(request: Any, at: int, count: int) -> list[QueuedToken]:
    """Tokens of the trunk from position `at` on."""
    trunk = request.trunk
    return [QueuedToken(trunk, trunk, i * 7919 % 1000, i) for i in range(at, at + count)]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    verbs = parser.add_subparsers(dest="verb", required=True)
    length, accuracy = verbs.add_parser("length"), verbs.add_parser("accuracy")
    table = verbs.add_parser("table")
    table.add_argument("out", type=Path)
    table.add_argument("--json", type=Path, help="write the figures there, too")
    for verb in (length, accuracy):
        verb.add_argument("--model")
        verb.add_argument("--dtype")
        verb.add_argument("--page", type=int, default=16)
    length.add_argument("--shape", default="896,14,2,64,24", help="default: Qwen2.5-0.5B")
    length.add_argument("--budget", type=int, default=1024)
    length.add_argument("--lengths", default="1024,2048,4096,8192,16384")
    length.add_argument("--policies", default="raas")
    length.add_argument("--steps", type=int, default=32)
    accuracy.add_argument("--adapter", default="none")
    accuracy.add_argument("--problems", type=Path, required=True)
    accuracy.add_argument("--out", type=Path, required=True)
    accuracy.add_argument("--n", type=int)
    accuracy.add_argument("--batch", type=int, default=8)
    accuracy.add_argument("--mode", default="linear")
    accuracy.add_argument("--ratio", type=float, default=0.5, help="as --kv-ratio")
    accuracy.add_argument("--max-new-tokens", type=int, default=1024)
    accuracy.add_argument("--policies", default="raas,random,value,sink")
    accuracy.add_argument("--budgets", default="50%,25%,12.5%")
    args = parser.parse_args()
    if args.verb == "table":
        print_table(found := compare(args.out))
        if args.json is not None:
            args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    else:
        {"length": measure_length, "accuracy": measure_accuracy}[args.verb](args)


if __name__ == "__main__":
    main()
