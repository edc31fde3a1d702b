"""`ptrain check`: validates a recipe and its data, and shows one example as it will be trained.

Loads configuration and tokenizer of the model, never its weights.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from pbranch.format.layout import NO_TARGET, Kind, Layout
from pbranch.format.show import draw_mask
from pbranch.hf.base_models import locate
from pbranch.hf.load_model import load_config
from ptrain.config import Recipe
from ptrain.data.batching import count_steps, longest_row
from ptrain.data.dataset import Encoder, Example, count, load_split
from ptrain.data.path_rows import count_rows
from ptrain.model.base import load_marked_tokenizer
from ptrain.model.memory_estimate import describe, estimate

ROWS_SHOWN = 120


def check(recipe: Recipe, home: Path | None = None) -> str:
    """What will be trained, as text. Raises BranchError where the run would."""
    path = locate(recipe.model)
    config = load_config(path, recipe.trust_remote_code)
    tokenizer, markers = load_marked_tokenizer(path, recipe.trust_remote_code)
    encode = Encoder(tokenizer, markers, recipe.branches.layout, recipe.switch)
    traces, held_out, left_out = load_split(recipe, encode, home)
    longest = longest_row([len(x) for x in traces], recipe)
    layouts = [x.layout() for x in traces]
    example = min(layouts, key=lambda x: (not x.hidden, len(x)))  # the shortest with a fork
    return "\n".join(
        [
            draw_example(example, tokenizer),
            "",
            f"{len(traces)} traces, {len(held_out)} held out, {count(left_out)}",
            *count_tokens(traces, recipe),
            *describe(estimate(recipe, config, tokenizer, markers, longest), recipe),
        ]
    )


def draw_example(layout: Layout, tokenizer: Any) -> str:
    """One line a row: number, position, token → target [kind of target], and what the row sees."""
    tokens = [_spell(tokenizer, t) for t in layout.token_ids[:ROWS_SHOWN]]
    targets = [
        "" if t == NO_TARGET else f"→ {_spell(tokenizer, t)} [{Kind(k).name.lower()}]"
        for t, k in zip(layout.targets, layout.kinds, strict=True)
    ]
    width = max(map(len, tokens))
    labels = [f"{t:<{width}} {target}" for t, target in zip(tokens, targets, strict=False)]
    return draw_mask(layout, labels, ROWS_SHOWN)


def _spell(tokenizer: Any, token: int) -> str:
    return repr(tokenizer.decode([token]))[1:-1]


def count_tokens(traces: Sequence[Example], recipe: Recipe) -> list[str]:
    """Lengths, targets by kind, rows and steps, a line each."""
    layouts = [x.layout() for x in traces]
    lengths = [len(x) for x in layouts]
    kinds = [k for x in layouts for k, t in zip(x.kinds, x.targets, strict=True) if t != NO_TARGET]
    by_kind = (f"{kind.name.lower()} {kinds.count(kind)}" for kind in Kind if kind in kinds)
    counted, size = count_rows(traces, recipe), recipe.train.batch_rows
    steps, middle = count_steps(counted.rows, recipe), median(lengths)
    return [
        f"tokens: {sum(lengths)}; of a trace {min(lengths)} to {max(lengths)}, median {middle:.0f}",
        f"targets: {len(kinds)} ({', '.join(by_kind)})",
        str(counted),
        f"steps: {steps} of {size} rows = {steps * size / counted.rows:.2f} epochs",
    ]
