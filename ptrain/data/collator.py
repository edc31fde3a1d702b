"""Layouts -> the tensors of a batch. Knows neither model nor loss.

Shapes: B rows, L tokens of the longest row, D levels of nesting.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pbranch.format.layout import NO_TARGET, Kind, Layout, concatenate
from pbranch.format.visibility import layout_tensor
from ptrain.data.dataset import Example


class BranchCollator:
    """Builds a batch from items {"row": index, "linear": 0 or 1}; a row is one trace or several,
    concatenated, laid out in the form that the item names."""

    def __init__(self, examples: Sequence[Example], rows: Sequence[Sequence[int]], pad_id: int = 0):
        self.examples, self.rows, self.pad_id = examples, rows, pad_id
        self.multiple, self.depth = 1, 0  # see `collate`

    @property
    def longest(self) -> int:
        """Tokens of the longest row, in parallel form."""
        return max(sum(len(self.examples[i]) for i in row) for row in self.rows)

    def limit_shapes(self, multiple: int) -> None:
        """From now on as few shapes of batches as can be: for kernels compiled for each shape."""
        self.multiple = multiple
        self.depth = max(len(x.parallel.hidden) if x.parallel else 0 for x in self.examples)

    def __call__(self, items: Sequence[dict[str, int]]) -> dict[str, Tensor]:
        """See `collate`."""
        packed = [
            [self.examples[i].layout(bool(item["linear"])) for i in self.rows[item["row"]]]
            for item in items
        ]
        rows = [r[0] if len(r) == 1 else concatenate(r) for r in packed]
        return collate(rows, self.pad_id, self.multiple, self.depth)


def collate(
    rows: Sequence[Layout], pad_id: int = 0, multiple: int = 1, depth: int = 0
) -> dict[str, Tensor]:
    """One batch, padded on the right to a multiple of `multiple` tokens, D at least `depth`.

    input_ids, position_ids, shift_labels, kinds: (B, L); attention_mask: the layout tensor
    (B, 2 + 2 D, L). `labels` are the same as `shift_labels`: the trainer counts targets by them.
    """
    length = math.ceil(max(map(len, rows)) / multiple) * multiple

    def padded(lists: list[list[int]], fill: int) -> Tensor:
        return torch.tensor([x + [fill] * (length - len(x)) for x in lists])

    targets = padded([r.targets for r in rows], NO_TARGET)
    return {
        "input_ids": padded([r.token_ids for r in rows], pad_id),
        "position_ids": padded([r.position_ids for r in rows], 0),
        "attention_mask": layout_tensor(rows, length, depth),
        "shift_labels": targets,
        "labels": targets,
        "kinds": padded([r.kinds for r in rows], Kind.PROMPT),
    }
