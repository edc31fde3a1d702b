"""Records which branches each pass of an engine serves. Stands in for the engine's runner, which it
calls: nothing that is decoded changes."""

import time
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from pinfer.core import PassRunner
from pinfer.request.state import Lane
from pinfer.scheduling.batch import Batch
from pinfer.scheduling.token_cache import TokenCache
from pinfer.search.lanes import LaneBranches
from pinfer.search.timeline import Span, Timeline
from pinfer.search.tree.branch import Branch


class PassRecorder:
    """A runner that writes a timeline. clock: seconds."""

    def __init__(
        self,
        runner: PassRunner,
        branches: LaneBranches,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.runner, self.branches, self.clock = runner, branches, clock
        self.timeline, self.passes = Timeline(), 0
        self._start = clock()
        self._since: dict[Branch, float] = {}  # when each could be served, from now on
        self._last: list[tuple[Span, Lane, int]] = []  # of the newest pass, with tokens sampled
        branches.opened = self._note_opened

    @property
    def cache(self) -> TokenCache:
        """As `PassRunner`."""
        return self.runner.cache

    def run(self, batch: Batch) -> Tensor:
        """As `PassRunner`."""
        self.settle()
        begin = self.clock() - self._start
        logits = self.runner.run(batch)
        end = self.clock() - self._start
        found: dict[Branch, Span] = {}
        for token in batch.tokens:
            branch = self.branches.branches.get(token.lane)
            if branch is None:  # the prompt
                continue
            waited = begin - self._since.get(branch, begin)
            span = found.get(branch) or Span(
                branch, "verify", begin, end, self.passes + 1, max(0.0, waited)
            )
            drafted = span.drafted + (token.draft > 0)
            found[branch] = replace(span, rows=span.rows + 1, drafted=drafted)
            self._since[branch] = end
        self.passes += bool(found)
        for branch, span in found.items():
            lane = self.branches.lanes[branch]
            self._last.append((span, lane, lane.budget.sampled))
        return logits

    def settle(self) -> None:
        """What became of the guesses of the newest pass is known once it is committed."""
        for span, lane, before in self._last:
            accepted = max(0, lane.budget.sampled - before - 1)
            self.timeline.add(replace(span, accepted=accepted))
        self._last = []

    def _note_opened(self, branch: Branch, lane: Lane) -> None:
        self._since[branch] = self.clock() - self._start
