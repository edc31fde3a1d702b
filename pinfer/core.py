"""The step loop: schedule, run, sample, commit. Everything that decodes is driven by it.

What fails in one request's sampling or transitions ends that request; a forward pass that fails
ends the requests in it; all others go on. Knows no tokenizer and no text.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from pbranch.errors import RequestError
from pinfer.attention.view import Backend
from pinfer.drafting.draft import DraftSource
from pinfer.eviction.options import KVOptions
from pinfer.execution.forward import Forward
from pinfer.execution.runner import Runner
from pinfer.kv_cache.arena import Arena
from pinfer.kv_cache.lanes import LaneCache
from pinfer.kv_cache.paged_lanes import PagedLaneCache
from pinfer.model_spec import ModelSpec
from pinfer.params import EngineLimits
from pinfer.request.state import Request
from pinfer.scheduling.batch import Batch, Choice, SampleSite
from pinfer.scheduling.kv_bound import PagedBound, keep_all
from pinfer.scheduling.scheduler import Scheduler
from pinfer.scheduling.token_cache import TokenCache

log = logging.getLogger("pinfer")
Sample = Callable[[Tensor, Sequence[SampleSite]], list[Choice]]


class PassRunner(Protocol):
    """What feeds a pass: `Runner`, or a benchmark's or a test's in its place."""

    @property
    def cache(self) -> TokenCache:
        """Where it keeps what it was fed."""

    def run(self, batch: Batch) -> Tensor:
        """Feed a batch; logits (sites, vocabulary)."""


class OneThread:
    """Entered by one thread at a time, which may enter again; RequestError for every other."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise RequestError(
                "the engine is in use by another thread; an EngineLoop serves one to many"
            )

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Core:
    """A scheduler, a runner and a sampler that work together."""

    def __init__(self, scheduler: Scheduler, runner: PassRunner, sampler: Sample) -> None:
        """The scheduler must have been given the runner's cache."""
        self.scheduler, self.runner, self.sampler = scheduler, runner, sampler
        self.one_thread = OneThread()

    @classmethod
    def build(
        cls,
        model: Forward,
        backend: Backend,
        spec: ModelSpec,
        sampler: Sample,
        limits: EngineLimits | None = None,
        *,
        kv: KVOptions | None = None,
        source: DraftSource | None = None,
        cache_dtype: torch.dtype | None = None,
    ) -> "Core":
        """Over a model. kv: how many tokens a lane keeps in the cache, and which; None: all.
        source: guesses what lanes say next; cache_dtype: of keys, values and attention; None: the
        model's."""
        limits, bound, watch = limits or EngineLimits(), keep_all, None
        arena = Arena(
            model.layers, model.device, limit=limits.max_kv_rows, layered=kv is not None,
            dtype=cache_dtype,
        )  # fmt: skip
        cache = LaneCache(arena)
        if kv is not None:
            cache = PagedLaneCache(arena, kv)
            bound, watch = PagedBound(cache, limits, spec.layout), cache.watch
        runner = Runner(model, backend, policy=watch, cache=cache)
        scheduler = Scheduler(spec, limits, runner.cache, bound, source)
        return cls(scheduler, runner, sampler)

    def over(
        self, runner: PassRunner, sampler: Sample, limits: EngineLimits | None = None
    ) -> "Core":
        """Another core for the same model, with a queue of its own. limits: None for the same."""
        scheduler = self.scheduler
        limits = limits or scheduler.limits
        return Core(Scheduler(scheduler.spec, limits, runner.cache), runner, sampler)

    def step(self) -> list[Request]:
        """One pass; returns the requests that it has finished. Raises what was raised in a request
        where that has broken what others stand on."""
        batch = self.scheduler.schedule()
        if batch.tokens:
            try:
                logits = self.runner.run(batch)
            except Exception as error:
                for request in batch.requests:
                    self.scheduler.fail(request, error)
            else:
                self.scheduler.commit(batch, self._sample(logits, batch))
        finished = self.scheduler.take_finished()
        failed = [request.error for request in finished if request.error is not None]
        if failed:
            try:
                self.scheduler.cache.check()
            except AssertionError as broken:
                log.error("what failed has broken the cache: %s", broken)
                raise failed[0] from broken
        return finished

    @contextmanager
    def adding(self) -> Iterator[int]:
        """Of requests that are added in here, the first of which gets the number that is given,
        none is left where one is refused, or something else goes wrong."""
        with self.one_thread:
            first = self.scheduler.count
            try:
                yield first
            except BaseException:
                self.scheduler.drop(first)
                raise

    @contextmanager
    def changing(self) -> Iterator[None]:
        """What is interrupted in here may be half-done: everything is aborted and begins anew."""
        with self.one_thread:
            try:
                yield
            except BaseException:
                self.scheduler.reset()
                raise

    def _sample(self, logits: Tensor, batch: Batch) -> Sequence[Choice | Exception]:
        """A choice a site; where sampling fails, the error for the sites of the request it fails
        in."""
        sites = batch.sites
        try:
            return self.sampler(logits, sites)
        except Exception as error:  # whose it is shows when each request is sampled by itself
            log.warning("sampling a pass failed; its requests are sampled one by one: %r", error)
            found: dict[int, Choice | Exception] = {}
            for number in dict.fromkeys(site.request for site in sites):
                mine = [i for i, site in enumerate(sites) if site.request == number]
                found |= zip(mine, self._sample_request(logits[mine], sites, mine), strict=True)
            return [found[i] for i in range(len(sites))]

    def _sample_request(
        self, logits: Tensor, sites: Sequence[SampleSite], mine: Sequence[int]
    ) -> Sequence[Choice | Exception]:
        try:
            return self.sampler(logits, [sites[i] for i in mine])
        except Exception as error:
            return [error] * len(mine)

    @property
    def busy(self) -> bool:
        """Whether any request is unfinished."""
        return self.scheduler.busy
