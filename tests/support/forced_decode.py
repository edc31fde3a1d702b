"""Drives scheduler and commit without a model: tokens are drawn at random, or from a script, under
the grammar. Thousands of requests a second; every result is checked for form."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pbranch.format.grammar import legal_table
from pbranch.format.layout import LayoutOptions, build_layout
from pbranch.format.tagged_text import parse, render
from pbranch.format.tree import Trace
from pinfer.model_spec import ModelSpec
from pinfer.output.generation import lane_trace
from pinfer.params import EngineLimits, SamplingParams
from pinfer.request.state import Request
from pinfer.scheduling.batch import Choice, SampleSite
from pinfer.scheduling.scheduler import Scheduler
from tests.support.layout_oracle import Rows
from tests.support.toy_engine import (
    END_OF_TEXT,
    KNOWN,
    MARKERS,
    SIZE,
    LetterCodec,
    letters_only,
    paths_of_rows,
)

_LEGAL = legal_table(MARKERS, [END_OF_TEXT], SIZE, range(KNOWN))
_FAVOUR = {MARKERS.fork: 3, MARKERS.topic: 8, MARKERS.spawn: 4, MARKERS.end: 3, END_OF_TEXT: 0.3}


@dataclass
class Drawer:
    """Draws legal tokens at random; `wanted` is a draw without it."""

    seed: int
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def __call__(self, site: SampleSite) -> Choice:
        weights = [_FAVOUR.get(t, 1.0) for t in range(KNOWN)]
        (wanted,) = self.rng.choices(range(KNOWN), weights)
        legal = _LEGAL[site.state]
        if legal[wanted]:
            return Choice(wanted, True, wanted)
        held = [w * bool(legal[t]) for t, w in enumerate(weights)]
        return Choice(self.rng.choices(range(KNOWN), held)[0], False, wanted)


def decode(
    prompt: list[int],
    params: SamplingParams,
    choose: Callable[[SampleSite], Choice],
    *,
    context: int = 2048,
    options: LayoutOptions | None = None,
    limits: EngineLimits | None = None,
    on_rows: Callable[[list], None] = lambda rows: None,
) -> Request:
    """Decode one request to its end, and check its form."""
    options = options or LayoutOptions()
    spec = ModelSpec(MARKERS, frozenset({END_OF_TEXT}), context, options)
    scheduler = Scheduler(spec, limits or EngineLimits())
    request = scheduler.add(list(prompt), params)
    steps = 0
    while scheduler.busy:
        batch = scheduler.schedule()
        on_rows(batch.tokens)
        scheduler.commit(batch, [choose(site) for site in batch.sites])
        scheduler.take_finished()
        steps += 1
        assert steps < 5000, "the request does not end"
    if request.error is not None:
        raise request.error
    check_form(request, spec, options)
    return request


def check_form(request: Request, spec: ModelSpec, options: LayoutOptions) -> Trace:
    """Assert that a finished request is well-formed text whose rows lie where training lays them,
    all within the context; returns its tree."""
    trace = lane_trace(request.trunk, spec, letters_only)
    assert parse(render(trace)) == trace
    codec: Any = LetterCodec()
    layout = build_layout(request.prompt, trace, codec, MARKERS, options=options)
    tokens = [t for t, _, _ in request.trunk.tokens()]
    rows = Rows(request.prompt, trace, codec.encode, options.positions, options.join, MARKERS).rows[
        len(request.prompt) :
    ]
    assert [r.token for r in rows if r.kind != "copy"] == [t for t in tokens if t != END_OF_TEXT]
    assert layout.token_ids[len(request.prompt) :] == [r.token for r in rows]
    assert END_OF_TEXT not in tokens[:-1]
    assert max(layout.position_ids) < spec.context, "a position outside the context"
    assert len(paths_of_rows(request)) == len(layout)
    assert request.finish_reason in ("stop", "length", "timeout", "error")
    assert (request.finish_reason == "stop") == (tokens[-1:] == [END_OF_TEXT])
    return trace
