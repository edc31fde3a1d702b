"""A hash of what a run trains on, so that a resumed run can tell whether it is still the same."""

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import fields
from itertools import chain
from typing import Any

from ptrain.data.dataset import Example


def digest(examples: Sequence[Example]) -> str:
    """Of all tokens, positions, targets and masks, in order: other text gives another hash, as
    does another tokenizer or chat template; other paths of equal files do not."""
    found = hashlib.sha256()
    for example in examples:
        for layout in (example.parallel, example.linear):
            names = [] if layout is None else [field.name for field in fields(layout)]
            for name in names:
                found.update(_encode(getattr(layout, name)))
            found.update(b"end")
    return found.hexdigest()[:16]


def _encode(values: list[Any]) -> bytes:
    """Numbers, or a list of pairs a level, with their count."""
    if values and not isinstance(values[0], int):
        values = [number for level in values for number in chain(*level)]
    return b"%d:" % len(values) + array("q", values).tobytes()
