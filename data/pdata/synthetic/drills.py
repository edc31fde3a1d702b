"""Exercises for a base model: more of what is hard for a small one than its traces hold.

Sums of one operation, and lists to copy and to look things up in. Not tasks: they have no answer.
"""

import random

from pdata.synthetic.tasks.sums import LIMIT, STEPS, apply, draw_operation
from pdata.synthetic.wording import draw_labels, draw_names, write_list

SUMS = ("Write down {n} sums.", "Give me {n} sums with their results.")
LISTED_SUMS = ("Work out {l}.", "What do these come to: {l}?", "Do these sums.\n{l}")
HEADS = ("Day", "Step", "Case", "No", "Box", "Round")
COPIES = ("Copy this list.\n{l}", "{l}\nWrite the same list once more.")
LOOKUPS = ("{l}\nLook up {a}.", "What belongs to {a}?\n{l}")


def drill_sums(rng: random.Random, n: int, listed: bool) -> tuple[str, str]:
    """A prompt that asks for `n` sums of one operation, and an answer. `listed`: it says which."""
    template = rng.choice(STEPS)[1]
    lines, asked = [], []
    for _ in range(n):
        a = rng.randint(2, LIMIT)
        kind = rng.random()
        if kind < 0.15:  # a product, as `sums` and `chain` have them
            a = rng.randint(2, LIMIT // 2)
            sign, b = "*", rng.randint(2, min(6, LIMIT // a))
        elif kind < 0.3:  # a running total
            a = rng.randint(2, LIMIT - 2)
            sign, b = "+", rng.randint(2, LIMIT - a)
        else:
            sign, b = draw_operation(rng, a)
        lines.append(template.format(a=a, s=sign, b=b, c=apply(a, sign, b)))
        asked.append(f"{a} {sign} {b}")
    prompt = rng.choice(LISTED_SUMS if listed else SUMS).format(n=n, l="; ".join(asked))
    return prompt, rng.choice((", ", "; ", "\n")).join(lines)


def drill_copies(rng: random.Random, n: int, split: str) -> tuple[str, str]:
    """A prompt that asks to copy a list of `n` items, or to look up its labels or their bodies in
    another order, and the answer, of which nothing is left to chance."""
    labels = draw_names(rng, n, split) if rng.random() < 0.75 else draw_labels(rng, n)
    if rng.random() < 0.4:
        labels = [f"{rng.choice(HEADS)} {label}" for label in labels]
    kind = rng.randrange(3)
    bodies: dict[str, None] = {}
    while len(bodies) < n:
        bodies[_draw_body(rng, kind)] = None
    pairs = list(zip(labels, bodies, strict=True))
    listing = write_list(rng, labels, list(bodies))
    asked = rng.randrange(3)
    if asked == 0:
        prompt = rng.choice(COPIES).format(l=listing)
    else:
        if asked == 1:
            pairs = [(body, label) for label, body in pairs]
        rng.shuffle(pairs)
        prompt = rng.choice(LOOKUPS).format(l=listing, a="; ".join(key for key, _ in pairs))
    return prompt, "\n".join(f"{key}: {value}" for key, value in pairs)


def _draw_body(rng: random.Random, kind: int) -> str:
    if kind == 0:
        return f"{rng.uniform(1, 10):.2f}"
    numbers = [str(rng.randint(2, LIMIT)) for _ in range(rng.randint(1, 3))]
    return ", ".join(numbers) if kind == 1 else f" {rng.choice('+-')} ".join(numbers)
