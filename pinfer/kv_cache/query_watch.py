"""Keeps the queries of a pass, layer by layer, until they are asked for."""

from typing import TypeVar

import torch
from torch import Tensor

from pbranch.errors import ModelError

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
        """The queries (layers, R, H, D) since the last call; None where there are none. ModelError
        where the layers' heads differ: they could not be kept apart in one table of pages."""
        queries, self._queries = self._queries, {}
        if not queries:
            return None
        shapes = {q.shape for q in queries.values()}
        if len(shapes) > 1:
            first, second = [tuple(s[1:]) for s in shapes][:2]
            raise ModelError(f"kv: layers have heads {first} and {second}, expected all alike")
        return torch.stack([queries[layer] for layer in sorted(queries)])
