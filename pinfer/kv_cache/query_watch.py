"""Keeps the queries of a pass, layer by layer, until they are asked for."""

from typing import TypeVar

import torch
from torch import Tensor

from pbranch.errors import ModelError
from pinfer.eviction.scores import stack_heads

View = TypeVar("View")


class QueryWatch:
    """A `KVPolicy` that hides nothing: which pages the tokens used is found after the pass, for all
    layers at once. rows: the tokens to watch, None for all of the pass."""

    def __init__(self) -> None:
        self.rows: Tensor | None = None
        self._queries: dict[int, Tensor] = {}

    def look(self, layer: int, query: Tensor, view: View) -> View:
        """As `KVPolicy`."""
        if self.rows is None or len(self.rows):
            self._queries[layer] = query if self.rows is None else query[self.rows]
        return view

    def take(self) -> Tensor | None:
        """The queries (layers, R, H, D) since the last call, times D ** -0.5, half precision
        widened; None where there are none. ModelError where layers have more heads than others."""
        queries, self._queries = self._queries, {}
        if not queries:
            return None
        if len({q.shape[1] for q in queries.values()}) > 1:
            raise ModelError("kv: layers have different numbers of heads, expected all alike")
        return stack_heads([_scale(queries[layer]) for layer in sorted(queries)])


def _scale(query: Tensor) -> Tensor:
    half = query.dtype in (torch.float16, torch.bfloat16)
    return (query.float() if half else query) * query.shape[-1] ** -0.5
