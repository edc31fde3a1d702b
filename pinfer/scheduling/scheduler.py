"""Decides which rows the next pass feeds, and gives drawn tokens back to their lanes.

Requests wait until they fit, then share passes in order of arrival; whom a pass had no room for
goes first in the next. Knows no tensors: a `Batch` is rows, and which of them are drawn from.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from pbranch.errors import RequestError
from pinfer.dialects.paper_controller import TrunkScript
from pinfer.model_spec import Rules
from pinfer.params import EngineLimits, SamplingParams
from pinfer.request.limits import name_fork_limit
from pinfer.request.state import Request
from pinfer.request.stop_strings import StopWatch
from pinfer.request.transitions import accept, open_request, stop
from pinfer.scheduling.admission import admit
from pinfer.scheduling.batch import Batch, Choice
from pinfer.scheduling.kv_bound import _most_rows
from pinfer.scheduling.prefix_cache import PrefixCache


class Scheduler:
    """Queues of one engine."""

    def __init__(self, rules: Rules, limits: EngineLimits) -> None:
        self.rules, self.limits = replace(rules, cost=limits.cost), limits
        self.queued: deque[Request] = deque()
        self.running: list[Request] = []
        self.prefixes = PrefixCache(limits.max_prefix_rows)
        self._count = 0

    def add(
        self,
        prompt: list[int],
        params: SamplingParams,
        watch: StopWatch | None = None,
        script: TrunkScript | None = None,
    ) -> Request:
        """Queue a prompt; `watch` looks for its stop strings, `script` reads its dialect.
        RequestError where it can never be served."""
        if not prompt:
            raise RequestError("the prompt is empty; an answer needs at least one token before it")
        if len(prompt) >= self.rules.context:
            raise RequestError(
                f"the prompt has {len(prompt)} tokens; the model's context holds "
                f"{self.rules.context}, and an answer needs room"
            )
        if params.forks and self.rules.markers is None:
            raise RequestError(
                f"mode {params.mode} needs an adapter that knows the markers; use mode linear, or "
                "dialect paper"
            )
        request = open_request(self._count, prompt, params, self.rules, watch, script)
        if script is not None:
            request.rows_per_token = script.paper.rows_per_token
        if self.limits.max_kv_rows is not None:
            most = _most_rows(request)
            if most > self.limits.max_kv_rows:
                raise RequestError(
                    f"a prompt of {len(prompt)} tokens and {params.max_new_tokens} new ones may "
                    f"need {most} cached rows; there is memory for {self.limits.max_kv_rows}"
                )
        self._count += 1
        request.started = time.monotonic()
        self.queued.append(request)
        return request

    def drop(self, requests: Sequence[Request]) -> None:
        """Forget requests that still wait."""
        self.queued = deque(r for r in self.queued if r not in requests)

    def abort(self, request: Request) -> None:
        """End a request now, wherever it stands. One that has ended stays as it is."""
        if request.finish_reason is None:
            stop(request, "error", "aborted", self.rules)
            request.finished = time.monotonic()
        self.drop([request])
        if request in self.running:
            self.running.remove(request)
            self.prefixes.end(request)

    @property
    def busy(self) -> bool:
        """Whether any request is unfinished."""
        return bool(self.queued or self.running)

    def schedule(self) -> Batch:
        """The next pass: each running request's rows in order, up to `max_rows` in all.

        Where that cuts, nobody starves: in the next pass those come first that got no row, then the
        one of which some did not fit (but a prompt that is cut goes on with what others leave). So
        a request waits for fewer passes than there are requests running.
        """
        self._stop_late()
        self._start_queued()
        batch = Batch([], [])
        prompts: list[tuple[Request, int]] = []
        unserved: list[Request] = []
        cut: list[Request] = []
        for request in self.running:
            room = self.limits.max_rows - len(batch.rows)
            if not request.queue:
                continue
            if not room:
                unserved.append(request)
                continue
            if not request.prefilled and not self.prefixes.attach(request):
                continue
            take = min(len(request.queue), room)
            request.widest = max(request.widest, request.live)
            if request.prefilled == len(request.prompt):
                request.passes += 1
                request.rows += take
                if take < len(request.queue):
                    cut.append(request)
            else:
                prompts.append((request, take))
            batch.take(request, take)
        for request, fed in prompts:  # only now: rows of this pass cannot be shared in it
            request.prefilled += fed
        if first := [*unserved, *cut]:
            self.running = [*first, *(r for r in self.running if r not in first)]
        return batch

    def commit(self, batch: Batch, choices: Sequence[Choice]) -> list[Request]:
        """Hand tokens to their lanes; returns the requests that this has finished."""
        now = time.monotonic()
        for lane, choice in zip(batch.lanes, choices, strict=True):
            request = lane.request
            if request.finish_reason is not None:
                continue
            request.first_token = request.first_token or now
            request.interventions += not choice.legal
            name_fork_limit(lane, choice.wanted, self.rules)
            if not choice.legal and request.params.grammar == "off":
                stop(request, "error", "grammar", self.rules)
            else:
                accept(lane, choice.token, self.rules, choice.logprob)
        self._admit()
        return self._take_finished()

    def _admit(self) -> None:
        """Start waiting branches of all requests, in the order of the next pass."""
        live = sum(request.live for request in self.running)
        for request in self.running:
            others = live - request.live
            admit(request, self.rules, others)
            live = others + request.live

    def _take_finished(self) -> list[Request]:
        done = [r for r in self.running if r.finish_reason is not None]
        if done:
            self.running = [r for r in self.running if r.finish_reason is None]
        for request in done:
            request.finished = time.monotonic()
            self.prefixes.end(request)
        return done

    def keeps(self, request: Request) -> bool:
        """Whether the prompt rows of a finished request stay, for prompts that begin alike."""
        return request in self.prefixes.kept

    def evict(self) -> list[Request]:
        """Finished requests whose prompt rows must go: those that run or wait need the room."""
        most = self.limits.max_kv_rows
        if most is None or not self.prefixes.kept:
            return self.prefixes.evict()
        needed = sum(map(_most_rows, self.running))
        if self.queued:
            _, shared = self.prefixes.find(self.queued[0].prompt, self.running)
            needed += _most_rows(self.queued[0]) - shared
        return self.prefixes.evict(most - needed)

    def _stop_late(self) -> None:
        now = time.monotonic()
        for request in (*self.running, *self.queued):
            limit = request.params.timeout_s
            if limit is not None and now - request.started > limit:
                stop(request, "timeout", "timeout", self.rules)

    def _start_queued(self) -> None:
        if not self.queued:
            return
        held = self.prefixes.rows + sum(map(_most_rows, self.running))
        for request in [r for r in self.queued if r.finish_reason is not None]:
            self.queued.remove(request)  # too late; it takes no place
            self.running.append(request)
        while self.queued and len(self.running) < self.limits.max_requests:
            request = self.queued[0]
            source, shared = self.prefixes.find(request.prompt, self.running)
            most = _most_rows(request) - shared
            if self.limits.max_kv_rows is not None and held + most > self.limits.max_kv_rows:
                break
            held += most
            self.prefixes.use(request, source, shared)
            self.running.append(self.queued.popleft())
