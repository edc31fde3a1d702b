"""The oracle: transformers' own forward over every row so far, under one explicit mask.

Who sees whom is read off the rows' paths by the reference decoder. It is a runner, so an engine can
be held against it pass by pass; and as an engine's runner it is the paper's way of decoding.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from pbranch.errors import ModelError
from pinfer.core import Sample
from pinfer.reference import sees
from pinfer.request.state import Lane, Path, QueuedToken, Request
from pinfer.scheduling.batch import Batch, SampleSite
from pinfer.scheduling.token_cache import TokenCache

EXACT = 1e-4  # largest difference of a float32 logit
COARSE = 0.15  # of the largest logit, in bfloat16, as the probe allows


class Record:
    """One request's rows in order of feeding: cached keys and values, and their lanes."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.cache = DynamicCache(config=model.config)
        self.paths: list[Path] = []
        self.table = np.zeros((0, 0), dtype=bool)  # lane sees lane
        self.lanes = np.zeros(0, dtype=np.int64)  # of each row

    def feed(
        self, tokens: Sequence[int], positions: Sequence[int], paths: Sequence[Path], drawn: Tensor
    ) -> Tensor:
        """Logits (drawn rows, vocabulary) of new rows, of which those at `drawn` are asked for."""
        for path in paths:
            self._meet(path)
        mine = np.array([self.paths.index(path) for path in paths])
        self.lanes = np.concatenate((self.lanes, mine))
        count = len(mine)
        seen = self.table[mine][:, self.lanes]
        seen[:, -count:] &= np.tri(count, dtype=bool)
        mask = None if count == 1 and seen.all() else torch.from_numpy(seen)[None, None]
        return self.model(
            input_ids=torch.tensor([tokens]),
            position_ids=torch.tensor([positions]),
            attention_mask=mask,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=drawn,
        ).logits[0]

    def first(self, count: int) -> "Record":
        """A record of the first rows, all of them a prompt's."""
        record = Record(self.model)
        record.cache = copy_cache(self.cache, count)
        record._meet(())
        record.lanes = np.zeros(count, dtype=np.int64)
        return record

    def _meet(self, path: Path) -> None:
        """A lane more in the table of who sees whom."""
        if path in self.paths:
            return
        self.paths.append(path)
        count = len(self.paths)
        table = np.ones((count, count), dtype=bool)
        table[:-1, :-1] = self.table
        table[-1] = [sees(path, other) for other in self.paths]
        table[:, -1] = [sees(other, path) for other in self.paths]
        self.table = table


def copy_cache(cache: DynamicCache, count: int) -> DynamicCache:
    """The first `count` rows of a cache. Its tensors are never written into, so none is copied."""
    found = copy.copy(cache)
    found.layers = [copy.copy(layer) for layer in cache.layers]
    if more := cache.get_seq_length() - count:
        found.crop(-more)
    return found


class Masked:
    """A runner over a plain transformers model, with a `Record` for each request."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.records: dict[int, Record] = {}

    @property
    def cache(self) -> TokenCache:
        """Itself: a record a request."""
        return self

    @torch.inference_mode()
    def run(self, batch: Batch) -> Tensor:
        """Logits (sites, vocabulary), in the batch's order."""
        of: dict[int, list[int]] = {}
        for i, token in enumerate(batch.tokens):
            of.setdefault(token.home.request.number, []).append(i)
        needed = set(batch.logits_indices)
        found = [
            self.feed([batch.tokens[i] for i in m], [i in needed for i in m]) for m in of.values()
        ]
        return torch.cat(found)

    def feed(self, tokens: Sequence[QueuedToken], needed: Sequence[bool]) -> Tensor:
        """Logits of one request's tokens, of those that are needed."""
        request = tokens[0].home.request
        record = self.records.get(request.number)
        if record is None:
            record = self.records[request.number] = self._begin(request)
        return record.feed(
            [token.token_id for token in tokens],
            [token.position for token in tokens],
            [token.home.path for token in tokens],
            torch.tensor(needed).nonzero().flatten(),
        )

    def _begin(self, request: Request) -> Record:
        """A record that holds what the request need not feed."""
        shared, source = request.prefix.shared, request.prefix.source
        if source is not None and source.number in self.records:
            return self.records[source.number].first(shared)
        record, nobody = Record(self.model), torch.zeros(0, dtype=torch.long)
        if shared:
            record.feed(request.prompt[:shared], range(shared), [()] * shared, nobody)
        return record

    def share(self, lane: Lane, source: Lane, tokens: int) -> None:
        """As `TokenCache`: `_begin` looks for the source."""

    def truncate(self, lane: Lane, drop: int) -> int:
        """As `TokenCache`, but ModelError: a record only grows."""
        raise ModelError("the oracle cannot drop tokens; expected a join that keeps them")

    def discard(self, lane: Lane) -> int:
        """As `truncate`."""
        return self.truncate(lane, 0)

    def release(self, request: Request, keep_prompt: int | None = None) -> None:
        """As `TokenCache`."""
        record = self.records.pop(request.number, None)
        if record is not None and keep_prompt is not None:
            self.records[request.number] = record.first(keep_prompt)


@dataclass(slots=True)
class Checked:
    """A runner that is compared, pass by pass, with the oracle; and its arena with the number of
    rows that it was fed. Requests outside `follow` (None: all) are not compared."""

    runner: Any
    oracle: Masked
    sampler: Sample
    follow: set[int] | None = None
    draws: int = 0
    different: int = 0  # greedy tokens
    gap: float = 0.0  # largest difference of a logit
    scale: float = 0.0  # largest logit
    held: dict[int, int] = field(default_factory=dict)
    most: int = 0  # rows in use
    reserved: int = 0  # slots, those in use included
    lost: int = 0  # passes whose arena held other than the rows fed

    @property
    def cache(self) -> TokenCache:
        """Itself: what is dropped is dropped in both."""
        return self

    def run(self, batch: Batch) -> Tensor:
        """The runner's logits."""
        logits = self.runner.run(batch)
        for token in batch.tokens:
            number = token.home.request.number
            self.held[number] = self.held.get(number, 0) + 1
        arena = self.runner.arena
        self.lost += arena.rows != sum(self.held.values())
        self.most = max(self.most, arena.rows)
        self.reserved = max(self.reserved, arena.reserved)
        followed, mine = self._followed(batch)
        if followed.tokens:
            self._compare(logits[mine], self.oracle.run(followed), followed.sites)
        return logits

    def _followed(self, batch: Batch) -> tuple[Batch, Tensor]:
        """What is left of a pass where some requests are left out, and which of its sites."""
        followed, mine = Batch(), []
        sites = dict(zip(batch.logits_indices, batch.sites, strict=True))
        for i, token in enumerate(batch.tokens):
            kept = self.follow is None or token.home.request.number in self.follow
            if kept:
                followed.add(token, sites.get(i))
            if i in sites:
                mine.append(kept)
        return followed, torch.tensor(mine, dtype=torch.bool)

    def _compare(self, found: Tensor, expected: Tensor, sites: Sequence[SampleSite]) -> None:
        if not sites:
            return
        self.draws += len(sites)
        gap = float((found.float() - expected.float()).abs().max())
        self.gap = gap if gap > self.gap or gap != gap else self.gap
        self.scale = max(self.scale, float(expected.abs().max()))
        ours, theirs = (self.sampler(x, sites) for x in (found, expected))
        self.different += sum(a.token != b.token for a, b in zip(ours, theirs, strict=True))

    def share(self, lane: Lane, source: Lane, tokens: int) -> None:
        """As `TokenCache`."""
        self.runner.cache.share(lane, source, tokens)

    def truncate(self, lane: Lane, drop: int) -> int:
        """As `TokenCache`, but ModelError."""
        return self.oracle.truncate(lane, drop)

    def discard(self, lane: Lane) -> int:
        """As `TokenCache`, but ModelError."""
        return self.oracle.discard(lane)

    def release(self, request: Request, keep_prompt: int | None = None) -> None:
        """As `TokenCache`."""
        self.runner.cache.release(request, keep_prompt)
        self.oracle.release(request, keep_prompt)
        self.held.pop(request.number, None)
        if keep_prompt is not None:
            self.held[request.number] = keep_prompt - request.prefix.shared

    def refusal(self, exact: bool) -> str | None:
        """Why no speed may be printed, if so."""
        allowed = EXACT if exact else COARSE * self.scale
        if not self.draws:
            return "nothing was compared"
        if not self.gap <= allowed:
            return f"logits differ from the oracle's by {self.gap:.1e}, expected {allowed:.0e}"
        if exact and self.different:
            return f"{self.different} of {self.draws} greedy tokens differ from the oracle's"
        if self.lost:
            return f"in {self.lost} passes the cache held other rows than were fed"
        return None
