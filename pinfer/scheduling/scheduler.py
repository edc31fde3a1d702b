"""Decides which tokens the next pass feeds, and gives sampled tokens back to their lanes.

Requests wait until they fit, then share passes in order of arrival; one for which a pass had no
room goes first in the next. Knows no tensors: a `Batch` is tokens, and which of them are sampled.
What fails in one request ends that request alone.
"""

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from pbranch.errors import RequestError
from pinfer.drafting.draft import DraftSource
from pinfer.model_spec import ModelSpec
from pinfer.params import EngineLimits, SamplingParams
from pinfer.request.controller import LaneController
from pinfer.request.limits import fork_limit
from pinfer.request.marker_controller import MARKERS
from pinfer.request.state import QueuedToken, Request, Status
from pinfer.request.stop_strings import StopMatcher
from pinfer.request.transitions import accept, close, finish, open_request, stop
from pinfer.scheduling.admission import admit, check_servable
from pinfer.scheduling.batch import Batch, Choice
from pinfer.scheduling.drafts import NO_GUESSES, Drafter, Guesses, add_guesses
from pinfer.scheduling.guard import RequestGuard
from pinfer.scheduling.kv_bound import KVBound, keep_all
from pinfer.scheduling.prefix_cache import PrefixCache, shareable
from pinfer.scheduling.token_cache import NoCache, TokenCache, follow
from pinfer.scheduling.token_queue import apply_effects, drop_drafts, take_tokens

log = logging.getLogger("pinfer")


class Scheduler:
    """Queues of one engine. cache: where tokens are kept; bound: what a request may need of it;
    source: guesses what lanes say next."""

    def __init__(
        self,
        spec: ModelSpec,
        limits: EngineLimits,
        cache: TokenCache | None = None,
        bound: KVBound = keep_all,
        source: DraftSource | None = None,
    ) -> None:
        self.spec, self.limits = replace(spec, cost=limits.cost), limits
        self.bound, self.drafter = bound, Drafter(source, self.spec, limits, bound)
        self.cache = follow(cache or NoCache(), self.drafter.followers)
        self.queued: deque[Request] = deque()
        self.running: list[Request] = []
        self.prefixes = PrefixCache(limits.max_prefix_rows, self.cache)
        self.count, self._scheduled = 0, 0.0  # requests so far, which are numbered in order

    def add(
        self,
        prompt: list[int],
        params: SamplingParams,
        stops: StopMatcher | None = None,
        controller: LaneController | None = None,
    ) -> Request:
        """Queue a prompt; stops: looks for its stop strings; controller: of its trunk, where a
        dialect stands in for the markers. RequestError where it can never be served."""
        check_servable(prompt, params, self.spec)
        request = open_request(self.count, prompt, params, self.spec, controller or MARKERS, stops)
        most, new = self._most_kv(request), request.params.max_new_tokens
        if self.limits.max_kv_rows is not None and most > self.limits.max_kv_rows:
            raise RequestError(
                f"a prompt of {len(prompt)} tokens and {new} new ones may "
                f"need {most} cached rows; there is memory for {self.limits.max_kv_rows}"
            )
        apply_effects(request, self.cache)
        self.count += 1
        self.queued.append(request)
        return request

    def drop(self, first: int) -> None:
        """Forget the requests from number `first` on that still wait."""
        self.queued = deque(r for r in self.queued if r.number < first)

    def abort(self, request: Request) -> None:
        """End a request now, wherever it stands. One that has ended stays as it is."""
        if request.finish_reason is None:
            with self._guarding(request):
                stop(request, "error", "aborted", self.spec)
        if request in self.queued:
            self.queued.remove(request)
        if request in self.running:
            self.running.remove(request)
            self._end(request)

    def reset(self) -> None:
        """Abort all requests and forget all prompts. Nothing is undone step by step: whatever an
        exception has interrupted, queues and cache are new."""
        requests, self.queued, self.running = [*self.queued, *self.running], deque(), []
        self.prefixes = PrefixCache(self.limits.max_prefix_rows, self.cache)
        self.cache.clear()
        for request in requests:
            with self._guarding(request):
                if request.finish_reason is None:
                    stop(request, "error", "aborted", self.spec)
            with self._guarding(request):
                self._settle(request)

    @property
    def busy(self) -> bool:
        """Whether any request is unfinished."""
        return bool(self.queued or self.running)

    def schedule(self) -> Batch:
        """The next pass: each running request's tokens in order, up to `max_rows` in all.

        Where that cuts, nobody starves: in the next pass those come first that got no token in,
        then the one of which some did not fit (but a prompt that is cut goes on with what others
        leave). So a request waits for fewer passes than there are requests running.
        """
        self._stop_late()
        self._start_queued()
        taken: list[tuple[Request, list[QueuedToken]]] = []
        room = self.limits.max_rows
        unserved: list[Request] = []
        cut: list[Request] = []
        for request in self.running:
            if not request.queue or request.finish_reason is not None:
                continue
            if not room:
                unserved.append(request)
                continue
            if not request.prefix.cached and not self.prefixes.begin(request):
                continue
            tokens = take_tokens(request, room, self.bound)
            room -= len(tokens)
            taken.append((request, tokens))
            if request.queue and request.prefix.cached >= len(request.prompt):
                cut.append(request)
        if first := [*unserved, *cut]:
            self.running = [*first, *(r for r in self.running if r not in first)]
        return self._assemble(taken, min(room, self.limits.max_draft_rows))

    def _assemble(self, taken: list[tuple[Request, list[QueuedToken]]], rows: int) -> Batch:
        """A pass of tokens, and of guesses behind them in what `rows` are left."""
        batch, guesses = Batch(), self._guess([t for _, tokens in taken for t in tokens], rows)
        for request, tokens in taken:
            stats, begin = request.stats, len(batch.tokens)
            for token in tokens:
                for fed, site in add_guesses(token, guesses.get(token, NO_GUESSES), self.spec):
                    batch.add(fed, site)
            stats.widest = max(stats.widest, request.live)
            stats.drafted += (drafted := len(batch.tokens) - begin - len(tokens))
            stats.fed += drafted
            if request.prefix.cached < len(request.prompt):
                batch.prefill.append((request, len(tokens)))
            else:
                stats.passes += 1
                stats.fed += len(tokens)
        batch = self.drafter.complete(batch, rows)
        self._scheduled = time.monotonic()
        return batch

    def _guess(self, tokens: list[QueuedToken], rows: int) -> dict[QueuedToken, Guesses]:
        """What the source guesses behind tokens; where it fails, those that asked end."""
        try:
            return self.drafter.guess(tokens, rows)
        except Exception as error:
            for request in dict.fromkeys(token.lane.request for token in tokens):
                if request.params.draft_tokens:
                    self.fail(request, error)
            return {}

    def commit(self, batch: Batch, choices: Sequence[Choice | Exception]) -> None:
        """Hand tokens to their lanes. An exception in the place of a choice ends its request."""
        now = time.monotonic()
        self.drafter.note(len(batch.tokens), now - self._scheduled)
        for request, fed in batch.prefill:
            request.prefix.cached += fed
        for token, drafts, chosen in batch.by_lane(choices):
            request = token.lane.request
            gone = token.lane.status is Status.CLOSED  # pruned by what another lane has sampled
            if request.finish_reason is not None or gone:
                continue
            with self._guarding(request):
                request.stats.first_token = request.stats.first_token or now
                self._commit_lane(token, drafts, chosen)
        live = sum(request.live for request in self.running)
        for request in self.running:  # in the order of the next pass
            others = live - request.live
            with self._guarding(request):
                admit(request, self.spec, others)
                apply_effects(request, self.cache)
            live = others + request.live

    def _commit_lane(
        self, token: QueuedToken, drafts: deque[QueuedToken], chosen: Sequence[Choice | Exception]
    ) -> None:
        """What was sampled after a lane's token, and after each guess as long as those hold."""
        lane, request = token.lane, token.lane.request
        for choice in chosen:
            if isinstance(choice, Exception):
                raise choice
            if token.given is not None:
                assert choice.logprob is not None, "what is given is scored"
                lane.logprobs[token.given.index] = choice.logprob
                return
            request.stats.interventions += not choice.legal
            if limit := fork_limit(lane, choice.wanted, self.spec):
                request.note(limit)
            if not choice.legal and request.params.grammar == "off":
                stop(request, "error", "grammar", self.spec)
            else:
                accept(lane, choice.token, self.spec, choice.logprob)
            expected = drafts[0] if drafts else None
            apply_effects(request, self.cache, drafts)
            alive = request.finish_reason is None and lane.status is Status.LIVE
            if expected is None or lane.newest is not expected or not alive:
                break
        drop_drafts(request, self.cache, drafts)

    def fail(self, request: Request, error: Exception) -> None:
        """End a request in which something went wrong; what it has written stays where it can."""
        request.error = error
        try:
            close(request.trunk, self.spec)
        except Exception:
            log.exception("request %d cannot be closed: its text is lost", request.number)
            request.trunk.items.clear()
            request.trunk.logprobs.clear()
        finish(request, "error")

    def _guarding(self, request: Request) -> RequestGuard:
        """What fails in here ends the request, and nothing else."""
        return RequestGuard(request, self.fail)

    def take_finished(self) -> list[Request]:
        """The requests that have ended since the last call; what they hold is given back."""
        done = [r for r in self.running if r.finish_reason is not None]
        if done:
            self.running = [r for r in self.running if r.finish_reason is None]
        for request in done:
            self._end(request)
        self._evict()
        return done

    def _end(self, request: Request) -> None:
        self._settle(request)
        self.prefixes.release(request)

    def _settle(self, request: Request) -> None:
        request.queue.clear()
        request.effects.clear()
        request.stats.finished = time.monotonic()
        self.drafter.forget(request)

    def _evict(self) -> None:
        """Give back kept prompts whose room those that run or wait need."""
        most = self.limits.max_kv_rows
        if most is None or not self.prefixes.kept:
            self.prefixes.evict()
            return
        needed = sum(map(self._most_kv, self.running))
        if self.queued:
            _, matched = self.prefixes.match(self.queued[0], self.running)
            needed += self._most_kv(self.queued[0]) - matched
        self.prefixes.evict(most - needed)

    def _stop_late(self) -> None:
        now = time.monotonic()
        for request in self.running:
            limit = request.params.timeout_s
            if limit is not None and now - request.stats.started > limit:
                with self._guarding(request):
                    stop(request, "timeout", "timeout", self.spec)

    def _start_queued(self) -> None:
        if not self.queued:
            return
        held = self.prefixes.tokens + sum(map(self._most_kv, self.running))
        while self.queued and len(self.running) < self.limits.max_requests:
            request = self.queued[0]
            source, matched = self.prefixes.match(request, self.running)
            most = self._most_kv(request) - matched
            if self.limits.max_kv_rows is not None and held + most > self.limits.max_kv_rows:
                break
            held += most
            self.prefixes.acquire(request, source, matched)
            request.stats.started = time.monotonic()
            self.running.append(self.queued.popleft())

    def _most_kv(self, request: Request) -> int:
        """Slots that a request may still come to hold of its own."""
        per_token = request.trunk.controller.kv_per_token(request.params)
        return self.bound(len(request.prompt), request.params, per_token) - shareable(request)
