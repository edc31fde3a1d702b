"""Layouts -> the tensors of a batch. Knows neither model nor loss.

Shapes: B sequences, L tokens of the longest, D levels of nesting.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pbranch.format.layout import NO_TARGET, Kind, Layout, concatenate
from pbranch.format.visibility import layout_tensor
from ptrain.data.batching import sequence_lengths
from ptrain.data.dataset import Example


class BranchCollator:
    """Builds a batch from items {"sequence": number, "linear": 0 or 1}; a sequence is one trace or
    several, concatenated, laid out in the form that the item names."""

    def __init__(
        self, examples: Sequence[Example], sequences: Sequence[Sequence[int]], pad_id: int = 0
    ) -> None:
        self.examples, self.sequences, self.pad_id = examples, sequences, pad_id
        self.multiple, self.depth = 1, 0  # see `collate`

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence, in parallel form."""
        return max(sequence_lengths([len(x) for x in self.examples], self.sequences))

    def limit_shapes(self, multiple: int) -> None:
        """From now on as few shapes of batches as can be: for kernels compiled for each shape."""
        self.multiple = multiple
        self.depth = max(len(x.parallel.hidden) if x.parallel else 0 for x in self.examples)

    def __call__(self, items: Sequence[dict[str, int]]) -> dict[str, Tensor]:
        """See `collate`."""
        layouts = [self._lay_out(item["sequence"], bool(item["linear"])) for item in items]
        return collate(layouts, self.pad_id, self.multiple, self.depth)

    def _lay_out(self, sequence: int, linear: bool) -> Layout:
        layouts = [self.examples[i].layout(linear) for i in self.sequences[sequence]]
        return layouts[0] if len(layouts) == 1 else concatenate(layouts)


def collate(
    layouts: Sequence[Layout], pad_id: int = 0, multiple: int = 1, depth: int = 0
) -> dict[str, Tensor]:
    """One batch, padded on the right to a multiple of `multiple` tokens, D at least `depth`.

    input_ids, position_ids, shift_labels, kinds: (B, L); attention_mask: the layout tensor
    (B, 2 + 2 D, L). `labels` are the same as `shift_labels`: the trainer counts targets by them.
    """
    length = math.ceil(max(map(len, layouts)) / multiple) * multiple

    def padded(lists: list[list[int]], fill: int) -> Tensor:
        return torch.tensor([x + [fill] * (length - len(x)) for x in lists])

    targets = padded([x.targets for x in layouts], NO_TARGET)
    return {
        "input_ids": padded([x.token_ids for x in layouts], pad_id),
        "position_ids": padded([x.position_ids for x in layouts], 0),
        "attention_mask": layout_tensor(layouts, length, depth),
        "shift_labels": targets,
        "labels": targets,
        "kinds": padded([x.kinds for x in layouts], Kind.PROMPT),
    }
