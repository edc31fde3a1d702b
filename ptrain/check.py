"""`ptrain check`: validates a recipe and its data, and shows one example as it will be trained.

Loads configuration and tokenizer of the model, never its weights.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from pbranch.format.layout import NO_TARGET, Kind, Layout
from pbranch.format.markers import MarkerIds
from pbranch.format.show import ROWS, draw_mask, find_runs, fold_runs
from pbranch.hf.load_model import context_length
from ptrain.config import Recipe, TrainOptions
from ptrain.data.batching import count_steps, make_sequences, sequence_lengths
from ptrain.data.dataset import Example, load_split
from ptrain.data.encoder import make_encoder
from ptrain.data.path_rows import measure_packing
from ptrain.model.defaults import fill_in
from ptrain.model.memory_estimate import build_empty, format_estimate
from ptrain.start import check_lora, find_start
from ptrain.trainer.micro_batches import fit_memory


def check(recipe: Recipe, home: Path | None = None) -> Iterator[str]:
    """What will be trained, as parts of a text: an example, what the data hold, the memory. Raises
    BranchError where the run would, after all that is known by then."""
    start = find_start(recipe)
    config, tokenizer, markers = start.config, start.tokenizer, start.markers
    recipe = fill_in(recipe, config, "cpu" if recipe.train.device == "cpu" else "auto")
    encode = make_encoder(recipe, tokenizer, markers, home)
    split = load_split(recipe, encode, home, context_length(config))
    example = min(split.train, key=lambda x: (not x.forked, len(x))).layout()  # the shortest fork
    yield draw_example(example, tokenizer, markers) + "\n"
    yield "\n".join([*start.describe(recipe), *split.describe()])
    yield "\n".join(count_tokens(split.train, recipe.train, recipe.seed))
    lengths = [len(x) for x in split.train]
    if start.adapter:
        check_lora(build_empty(recipe, config, tokenizer, markers), start.adapter)
    longest = max(sequence_lengths(lengths, make_sequences(lengths, recipe.train, recipe.seed)))
    fitted = fit_memory(recipe, lengths, start.measure)
    yield "\n".join(format_estimate(start.measure(fitted, longest), fitted))


def draw_example(layout: Layout, tokenizer: Any, markers: MarkerIds) -> str:
    """One line a token: number, position, token → target [kind of target], and what it sees. Long
    runs of a long example are folded: prompt, text, topics, branches."""
    labels = []
    for token, target, kind in zip(layout.token_ids, layout.targets, layout.kinds, strict=True):
        learned = ""
        if target != NO_TARGET:
            learned = f"→ {_spell(tokenizer, target)} [{Kind(kind).name.lower()}]"
        labels.append((_spell(tokenizer, token), learned))
    order = fold_runs(list(find_runs(layout, markers)), ROWS)
    width = max(len(labels[q][0]) for q in order if isinstance(q, int))
    return draw_mask(layout, [f"{t:<{width}} {x}" for t, x in labels], len(order), order)


def _spell(tokenizer: Any, token: int) -> str:
    return repr(tokenizer.decode([token]))[1:-1]


def count_tokens(traces: Sequence[Example], train: TrainOptions, seed: int) -> list[str]:
    """Lengths, targets by kind, sequences and steps, a line each."""
    layouts = [x.layout() for x in traces]
    lengths = [len(x) for x in layouts]
    kinds = [k for x in layouts for k, t in zip(x.kinds, x.targets, strict=True) if t != NO_TARGET]
    by_kind = (f"{kind.name.lower()} {kinds.count(kind)}" for kind in Kind if kind in kinds)
    packing, size = measure_packing(traces, train, seed), train.batch_rows
    steps, middle = count_steps(packing.sequences, train), median(lengths)
    return [
        f"tokens: {sum(lengths)}; of a trace {min(lengths)} to {max(lengths)}, median {middle:.0f}",
        f"targets: {len(kinds)} ({', '.join(by_kind)})",
        str(packing),
        f"steps: {steps} of {size} rows = {steps * size / packing.sequences:.2f} epochs",
    ]
