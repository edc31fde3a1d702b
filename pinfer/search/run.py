"""Runs a search on an engine, and says what came of it."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from pbranch.errors import RequestError
from pinfer.engine import Engine
from pinfer.output.generation import describe_error
from pinfer.params import SamplingParams
from pinfer.request.controller import Schedule
from pinfer.request.state import Request
from pinfer.search.drawing import tree_lines
from pinfer.search.lanes import LaneBranches
from pinfer.search.recorder import PassRecorder
from pinfer.search.size import check_size
from pinfer.search.tasks.task import Task
from pinfer.search.timeline import Timeline
from pinfer.search.tree.settings import SearchSettings
from pinfer.search.tree.tree_search import TreeSearch


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The outcome of a search. `answer`: what the best path comes to; `solved`: whether it is
    right, None where the task cannot tell; `value`: of its last thought; `tree`: see
    `Node.as_dict`; `drawing`: the same as lines; `error`: what ended the search early. In `stats`:
    tokens computed (`prefill` of the prompt, `rows` of the tree in `passes`), guesses `drafted` and
    `accepted`, tokens `sampled`, seconds, and the `Counts` of the tree loop."""

    task: str
    problem: str
    answer: str
    solved: bool | None
    value: float | None
    texts: list[str]
    tree: dict[str, Any]
    drawing: list[str]
    settings: SearchSettings
    seed: int | None
    stats: dict[str, Any]
    timeline: Timeline
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The object that `pinfer search --json` prints."""
        names = (name for name in self.__dataclass_fields__ if name != "drawing")
        row = {name: getattr(self, name) for name in names}
        row |= {"settings": asdict(self.settings), "timeline": self.timeline.as_dict()}
        if self.error is None:
            del row["error"]
        return row


def run_search(
    engine: Engine,
    task: Task,
    problem: str,
    settings: SearchSettings | None = None,
    params: SamplingParams | None = None,
    *,
    schedule: Schedule | None = None,
    on_step: Callable[[TreeSearch], None] = lambda search: None,
    **rendering: Any,
) -> SearchResult:
    """Search for the answer to a problem.

    Args:
        engine: One without requests; its source of drafts guesses in all branches.
        task: What a thought is.
        problem: Takes the place of {problem} in the task's prompt.
        settings: How the tree is searched; None: the defaults.
        params: How tokens are drawn; lengths, stops and modes are those of the task.
        schedule: Which branches each pass serves; None: all.
        on_step: Called after each pass.
        **rendering: The keywords of `Engine.prepare`.

    Raises:
        RequestError: The settings do not fit the task, or the tree neither memory nor context.
    """
    settings = settings or SearchSettings()
    if engine.core.busy:
        raise RequestError("a search needs an engine without other requests")
    params = replace(params or SamplingParams(), max_new_tokens=1, mode="linear", stop=())
    prepared = engine.prepare(task.prompt(problem), params, **rendering)
    rows = check_size(
        task,
        settings,
        lambda text: len(engine.codec.encode(text)),
        len(prepared.token_ids),
        engine.spec.context,
        engine.core.scheduler.limits.max_kv_rows,
    )
    branches = LaneBranches(engine.codec, rows, schedule)
    search = branches.search = TreeSearch(task, settings, branches)
    recorder = PassRecorder(engine.core.runner, branches)
    begin = time.perf_counter()
    request = engine.enqueue(replace(prepared, controller=branches))
    engine.core.runner = recorder
    try:
        while request.finish_reason is None:
            engine.step()
            on_step(search)
    finally:
        engine.core.runner = recorder.runner
        if request.finish_reason is None:
            engine.abort(request)
    recorder.settle()
    seconds = time.perf_counter() - begin
    return _result(search, request, problem, recorder.timeline, seconds)


def _result(
    search: TreeSearch, request: Request, problem: str, timeline: Timeline, seconds: float
) -> SearchResult:
    if not search.done:
        search.best = search.strategy.best()
    task, texts, counted = search.task, search.texts(), request.stats
    answer = task.read_answer(texts)
    sampled = sum(lane.budget.sampled for lane in request.lanes[1:])
    nodes = sum(1 for _ in search.root.walk()) - 1
    stats: dict[str, Any] = {
        "prefill": len(request.prompt) - request.prefix.shared,
        "passes": counted.passes,
        "rows": counted.fed,
        "sampled": sampled,
        "drafted": counted.drafted,
        "accepted": counted.accepted.total(),
        "widest": counted.widest,
        "seconds": seconds,
        "nodes": nodes,
        **asdict(search.counts),
    }
    error = None if request.error is None else describe_error(request.error)
    if error is None and not search.done:
        error = f"the search has not come to its end: {request.finish_reason}"
    return SearchResult(
        task=task.name,
        problem=problem,
        answer=answer,
        solved=task.check(problem, texts) if task.check and texts else None,
        value=search.best.value if search.best else None,
        texts=texts,
        tree=search.root.as_dict(search.chosen),
        drawing=list(tree_lines(search.root, search.chosen)),
        settings=search.settings,
        seed=request.params.seed,
        stats=stats,
        timeline=timeline,
        error=error,
    )
