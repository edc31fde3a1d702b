"""Layouts -> the tensors of a batch. Knows neither model nor loss.

Shapes: B rows, L tokens of the longest row, D levels of nesting.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pbranch.layout import NO_TARGET, Kind, Layout, concatenate
from pbranch.visibility import layout_tensor
from ptrain.dataset import Example


class BranchCollator:
    """Builds a batch from items {"row": index, "linear": 0 or 1}; a row is one trace or several,
    concatenated, laid out in the form that the item names."""

    def __init__(self, examples: Sequence[Example], rows: Sequence[Sequence[int]], pad_id: int = 0):
        self.examples, self.rows, self.pad_id = examples, rows, pad_id

    def __call__(self, items: Sequence[dict[str, int]]) -> dict[str, Tensor]:
        """See `collate`."""
        rows = [
            [self.examples[i].layout(bool(item["linear"])) for i in self.rows[item["row"]]]
            for item in items
        ]
        return collate([r[0] if len(r) == 1 else concatenate(r) for r in rows], self.pad_id)


def collate(rows: Sequence[Layout], pad_id: int = 0) -> dict[str, Tensor]:
    """One batch, padded on the right.

    input_ids, position_ids, shift_labels, kinds: (B, L); attention_mask: the layout tensor
    (B, 2 + 2 D, L). `labels` are the same as `shift_labels`: the trainer counts targets by them.
    """
    length = max(map(len, rows))

    def padded(lists: list[list[int]], fill: int) -> Tensor:
        return torch.tensor([x + [fill] * (length - len(x)) for x in lists])

    targets = padded([r.targets for r in rows], NO_TARGET)
    return {
        "input_ids": padded([r.token_ids for r in rows], pad_id),
        "position_ids": padded([r.position_ids for r in rows], 0),
        "attention_mask": layout_tensor(rows, length),
        "shift_labels": targets,
        "labels": targets,
        "kinds": padded([r.kinds for r in rows], Kind.PROMPT),
    }
