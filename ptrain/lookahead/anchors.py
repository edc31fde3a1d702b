"""Which rows of a sequence look ahead, and what their look-ahead rows have to say.

[LA]_k of an anchor at row a stands at its position + k and predicts the token behind that: the
lane's own text, as the anchor's lane goes on in the layout. Knows layouts, no model.

Shapes: B sequences, T tokens, G anchors of each, L look-ahead rows an anchor (anchor by anchor).
"""

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pbranch.format.layout import NO_TARGET, Layout
from ptrain.data.collator import collate
from ptrain.data.dataset import Example


def count_ahead(layout: Layout) -> list[int]:
    """For each row, how many rows behind it go on in its lane, each with a target: so many
    look-ahead rows of an anchor there have something to learn."""
    n = len(layout)
    found = [0] * n
    for i in range(n - 2, -1, -1):
        follows = (
            layout.targets[i] != NO_TARGET
            and layout.targets[i + 1] != NO_TARGET
            and layout.targets[i] == layout.token_ids[i + 1]
            and layout.position_ids[i] + 1 == layout.position_ids[i + 1]
            and layout.doc[i] == layout.doc[i + 1]
        )
        found[i] = 1 + found[i + 1] if follows else 0
    return found


class LookaheadCollator:
    """Builds a batch from items {"sequence": number, "draw": number}; the second one says which
    anchors are drawn, whatever was drawn before."""

    def __init__(
        self, examples: Sequence[Example], tokens: int, anchors: int, seed: int, pad_id: int = 0
    ) -> None:
        self.examples, self.tokens, self.most = examples, tokens, anchors
        self.seed, self.pad_id = seed, pad_id

    def __call__(self, items: Sequence[dict[str, int]]) -> dict[str, Tensor]:
        """What `collate` makes, and `anchors` (B, G), rows; `labels` (B, G L), NO_TARGET where a
        look-ahead row has none. `shift_labels` are the same: the trainer counts labels by them."""
        layouts = [self.examples[item["sequence"]].layout() for item in items]
        drawn = [
            self._draw(layout, item["draw"]) for layout, item in zip(layouts, items, strict=True)
        ]
        groups = max(1, *map(len, drawn))
        batch: dict[str, Any] = collate(layouts, self.pad_id)
        anchors = torch.zeros(len(items), groups, dtype=torch.long)
        labels = torch.full((len(items), groups, self.tokens), NO_TARGET)
        for b, (layout, chosen) in enumerate(zip(layouts, drawn, strict=True)):
            for g, (anchor, reach) in enumerate(chosen):
                anchors[b, g] = anchor
                last = min(reach, self.tokens)
                ahead = layout.targets[anchor + 1 : anchor + 1 + last]
                labels[b, g, :last] = torch.tensor(ahead)
        kept = {k: batch[k] for k in ("input_ids", "position_ids", "attention_mask")}
        labels = labels.flatten(1)
        return {**kept, "anchors": anchors, "labels": labels, "shift_labels": labels}

    def _draw(self, layout: Layout, number: int) -> list[tuple[int, int]]:
        """Anchors in order, each with what `count_ahead` says of it."""
        able = [(i, reach) for i, reach in enumerate(count_ahead(layout)) if reach]
        if len(able) > self.most:
            able = sorted(random.Random(f"{self.seed} {number}").sample(able, self.most))
        return able


def rows_ahead(batch: dict[str, Tensor], tokens: int) -> tuple[Tensor, Tensor]:
    """For each look-ahead row (B, G L), the row of the text at its position, whose own prediction
    it is to give, and its position. Rows without a label get some row."""
    steps = torch.arange(1, tokens + 1, device=batch["anchors"].device)
    rows = (batch["anchors"][..., None] + steps).flatten(1)
    at_anchor = batch["position_ids"].gather(1, batch["anchors"])
    positions = (at_anchor[..., None] + steps).flatten(1)
    return rows.clamp(max=batch["input_ids"].shape[1] - 1), positions
