"""Whether answers depend on the batch, with and without `--batch-invariant`, and what it costs.

    python benchmarks/batch_invariance.py FOLDER … [--adapter none] [--dtype bfloat16] [--rounds 5]

40 prompts, greedy and sampled in turn: each alone, then in batches of 2 to 16, in shuffled orders,
in passes of at most 1 to 512 tokens. Counted are answers whose tokens are those of the prompt
alone. Times are CPU time of one thread, the two engines in turn, medians of ratios.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from evaluate import held_out

from pinfer import Engine, EngineLimits, SamplingParams

PASSES = ((2, 512), (3, 1), (7, 5), (16, 64), (16, 512))  # prompts a batch, tokens a pass
WIDTHS = (1, 4, 16)


def tokens(engine: Engine, prompts: list[Any], seeds: Sequence[int], count: int) -> list[list[int]]:
    """Their answers as one batch, every second one sampled."""
    requests = [
        engine.add(prompt, SamplingParams(max_new_tokens=count, temperature=seed % 2, seed=seed))
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    found = {request.number: answer.token_ids for request, answer in engine.run()}
    return [found[request.number] for request in requests]


def equal(make: Any, prompts: list[Any], count: int) -> list[int]:
    """How many answers equal those of the prompts alone, for each of `PASSES`."""
    rng, engine = random.Random(0), make(512)
    alone = [tokens(engine, [prompt], [i], count)[0] for i, prompt in enumerate(prompts)]
    found = []
    for size, rows in PASSES:
        engine, order, same = make(rows), rng.sample(range(len(prompts)), len(prompts)), 0
        for begin in range(0, len(order), size):
            some = order[begin : begin + size]
            answers = tokens(engine, [prompts[i] for i in some], some, count)
            same += sum(a == alone[i] for a, i in zip(answers, some, strict=True))
        found.append(same)
    return found


def cost(engines: list[Engine], prompts: list[Any], count: int, rounds: int) -> dict[int, float]:
    """CPU time of the second engine over that of the first, by the prompts of a batch."""
    found = {}
    for width in WIDTHS:
        ratios = []
        for turn in range(rounds + 1):
            took = {}
            for engine in engines[:: 1 if turn % 2 else -1]:
                engine.reset()
                begin = time.process_time()
                tokens(engine, prompts[:width], range(len(prompts[:width])), count)
                took[id(engine)] = time.process_time() - begin
            if turn:  # the first warms up
                ratios.append(took[id(engines[1])] / took[id(engines[0])])
        found[width] = round(statistics.median(ratios), 3)
    return found


def main() -> None:
    """Print a JSON object a model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("models", nargs="+")
    parser.add_argument("--adapter", default="none")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    prompts = [task.messages for task in held_out(given.prompts, wording="natural")]
    for model in given.models:

        def make(rows: int, invariant: bool, model: str = model) -> Engine:
            return Engine.from_pretrained(
                model, given.adapter, dtype=given.dtype, batch_invariant=invariant,
                limits=EngineLimits(max_rows=rows, max_memory=2),
            )  # fmt: skip

        engines = [make(512, invariant) for invariant in (False, True)]
        row = {
            "model": model,
            "dtype": given.dtype,
            "prompts": len(prompts),
            "passes": PASSES,
            "equal": {
                name: equal(lambda rows, on=on: make(rows, on), prompts, given.tokens)
                for name, on in (("plain", False), ("batch_invariant", True))
            },
            "cost": cost(engines, prompts, given.tokens, given.rounds),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
