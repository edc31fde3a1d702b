"""The oracle: transformers' own forward over every row so far, under one explicit mask.

Who sees whom is read off the rows' paths by the reference decoder. It is a runner, so an engine can
be compared with it pass by pass; and as an engine's runner it is the paper's way of decoding.
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
        self, tokens: Sequence[int], positions: Sequence[int], paths: Sequence[Path], needed: Tensor
    ) -> Tensor:
        """Logits (needed rows, vocabulary) of new rows, of those at the indices `needed`."""
        for path in paths:
            self._add_lane(path)
        new_lanes = np.array([self.paths.index(path) for path in paths])
        self.lanes = np.concatenate((self.lanes, new_lanes))
        count = len(new_lanes)
        visible = self.table[new_lanes][:, self.lanes]
        visible[:, -count:] &= np.tri(count, dtype=bool)
        mask = None if count == 1 and visible.all() else torch.from_numpy(visible)[None, None]
        return self.model(
            input_ids=torch.tensor([tokens]),
            position_ids=torch.tensor([positions]),
            attention_mask=mask,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=needed,
        ).logits[0]

    def first(self, count: int) -> "Record":
        """A record of the first rows, all of them a prompt's."""
        record = Record(self.model)
        record.cache = copy_cache(self.cache, count)
        record._add_lane(())
        record.lanes = np.zeros(count, dtype=np.int64)
        return record

    def _add_lane(self, path: Path) -> None:
        """Add a lane to the table of who sees whom."""
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
    short = copy.copy(cache)
    short.layers = [copy.copy(layer) for layer in cache.layers]
    if more := cache.get_seq_length() - count:
        short.crop(-more)
    return short


class MaskedRunner:
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
        by_request: dict[int, list[int]] = {}
        for i, token in enumerate(batch.tokens):
            by_request.setdefault(token.home.request.number, []).append(i)
        needed = set(batch.logits_indices)
        logits = [
            self.feed([batch.tokens[i] for i in indices], [i in needed for i in indices])
            for indices in by_request.values()
        ]
        return torch.cat(logits)

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
        record, none = Record(self.model), torch.zeros(0, dtype=torch.long)
        if shared:
            record.feed(request.prompt[:shared], range(shared), [()] * shared, none)
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

    def clear(self) -> None:
        """As `TokenCache`."""
        self.records.clear()

    def check(self) -> None:
        """As `TokenCache`: a record a request is always consistent."""


@dataclass(slots=True)
class CheckedRunner:
    """A runner that is compared, pass by pass, with the oracle; and its arena with the number of
    rows that it was fed. Requests outside `follow` (None: all) are not compared."""

    runner: Any
    oracle: MaskedRunner
    sampler: Sample
    follow: set[int] | None = None
    compared: int = 0  # sampled tokens
    different: int = 0  # greedy tokens
    largest_gap: float = 0.0  # of a logit
    largest_logit: float = 0.0
    fed: dict[int, int] = field(default_factory=dict)  # rows, by request
    most_rows: int = 0  # in use
    most_reserved: int = 0  # slots, those in use included
    wrong_passes: int = 0  # whose arena held other rows than were fed

    @property
    def cache(self) -> TokenCache:
        """Itself: what is dropped is dropped in both."""
        return self

    def run(self, batch: Batch) -> Tensor:
        """The runner's logits."""
        logits = self.runner.run(batch)
        for token in batch.tokens:
            number = token.home.request.number
            self.fed[number] = self.fed.get(number, 0) + 1
        arena = self.runner.arena
        self.wrong_passes += arena.rows != sum(self.fed.values())
        self.most_rows = max(self.most_rows, arena.rows)
        self.most_reserved = max(self.most_reserved, arena.reserved)
        followed, sites = self._followed(batch)
        if followed.tokens:
            self._compare(logits[sites], self.oracle.run(followed), followed.sites)
        return logits

    def _followed(self, batch: Batch) -> tuple[Batch, Tensor]:
        """The part of a pass that is compared; and a mask (sites,) of the sites in it."""
        followed, mask = Batch(), []
        sites = dict(zip(batch.logits_indices, batch.sites, strict=True))
        for i, token in enumerate(batch.tokens):
            kept = self.follow is None or token.home.request.number in self.follow
            if kept:
                followed.add(token, sites.get(i))
            if i in sites:
                mask.append(kept)
        return followed, torch.tensor(mask, dtype=torch.bool)

    def _compare(self, logits: Tensor, expected: Tensor, sites: Sequence[SampleSite]) -> None:
        if not sites:
            return
        self.compared += len(sites)
        gap = float((logits.float() - expected.float()).abs().max())
        self.largest_gap = gap if gap > self.largest_gap or gap != gap else self.largest_gap
        self.largest_logit = max(self.largest_logit, float(expected.abs().max()))
        ours, theirs = (self.sampler(x, sites) for x in (logits, expected))
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
        self.fed.pop(request.number, None)
        if keep_prompt is not None:
            self.fed[request.number] = keep_prompt - request.prefix.shared

    def clear(self) -> None:
        """As `TokenCache`."""
        self.runner.cache.clear()
        self.oracle.clear()
        self.fed.clear()

    def check(self) -> None:
        """As `TokenCache`."""
        self.runner.cache.check()

    def refusal(self, exact: bool) -> str | None:
        """Why no speed may be printed, if so."""
        allowed = EXACT if exact else COARSE * self.largest_logit
        if not self.compared:
            return "nothing was compared"
        if not self.largest_gap <= allowed:
            return (
                f"logits differ from the oracle's by {self.largest_gap:.1e}, expected {allowed:.0e}"
            )
        if exact and self.different:
            return f"{self.different} of {self.compared} greedy tokens differ from the oracle's"
        if self.wrong_passes:
            return f"in {self.wrong_passes} passes the cache held other rows than were fed"
        return None
