"""Streams: events in order, pieces that join to the answer, stop strings, and leaving early."""

import random

import pytest
import torch

from pinfer import Engine, SamplingParams
from pinfer.output.events import BranchEnded, BranchStarted, Finished, Joined, TokenEvent
from pinfer.output.reading_order import InOrder

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def engine(base, adapter):
    return Engine.from_pretrained(str(base), str(adapter), device="cpu")


@pytest.fixture(scope="module")
def paper():
    """The shipped base, which writes the paper's marks."""
    return Engine.from_pretrained("tiny", "none", device="cpu")


LISTED = """Look at this list. Whose weight is above 7.4?
- Roti: weight 3.0
- Sivo: weight 8.7
- Talu: weight 6.6
"""


def sampled(seed, **changes):
    """Random weights under a high temperature: many blocks, broken characters, early ends."""
    return SamplingParams(**{"max_new_tokens": 80, "temperature": 1.2, "seed": seed, **changes})


def read(events):
    """(pieces in order, events)."""
    order, pieces, seen = InOrder(), [], []
    for event in events:
        seen.append(event)
        pieces.append(order.feed(event))
    return pieces, seen


@pytest.mark.parametrize("width", [None, 1, 2])
def test_a_stream_joins_to_the_answer(engine, width):
    blocks = 0
    for seed in range(25):
        params = sampled(seed, max_width=width)
        pieces, events = read(engine.stream("Check each record.", params))
        (answer,) = engine.generate(["Check each record."], params)
        assert isinstance(events[-1], Finished)
        assert events[-1].generation.token_ids == answer.token_ids
        assert "".join(pieces) == answer.text
        blocks += answer.stats.blocks
    assert blocks > 10
    assert not engine.core.scheduler.busy and engine.core.runner.arena.rows == 0


def test_events_follow_one_another_as_branches_do(engine):
    for seed in range(25):
        open_lanes, texts = {()}, {}
        events = list(engine.stream("Check each record.", sampled(seed)))
        for event in events:
            if isinstance(event, BranchStarted):
                assert event.lane[:-1] in open_lanes and event.lane not in open_lanes
                open_lanes.add(event.lane)
                texts[event.lane] = ""
            elif isinstance(event, BranchEnded):
                open_lanes.remove(event.lane)
            elif isinstance(event, Joined):
                assert event.lane in open_lanes
                assert not any(lane[: len(event.lane)] == event.lane != lane for lane in open_lanes)
            elif isinstance(event, TokenEvent):
                assert event.lane in open_lanes and event.text
                texts[event.lane] = texts.get(event.lane, "") + event.text
        assert open_lanes == {()}
        answer = events[-1].generation
        leaves = [x for x in texts if not any(y[: len(x)] == x != y for y in texts)]
        assert all(texts[lane] in answer.text for lane in leaves)


def test_branches_come_side_by_side(engine):
    """The second branch's text begins before the first one's has ended."""
    both = 0
    for seed in range(25):
        running: set = set()
        for event in engine.stream("Check each record.", sampled(seed)):
            if isinstance(event, BranchStarted):
                running.add(event.lane)
            elif isinstance(event, BranchEnded):
                running.discard(event.lane)
            both += isinstance(event, TokenEvent) and len(running) > 1
    assert both > 20


def test_an_early_end_frees_the_request(engine):
    rng = random.Random(0)
    for seed in range(12):
        stream = engine.stream("Check each record.", sampled(seed))
        for _ in range(rng.randint(1, 30)):
            next(stream, None)
        stream.close()
        assert not engine.core.scheduler.busy
        engine.core.runner.arena.check()
        assert engine.core.runner.arena.rows == 0


def test_an_abort_leaves_the_others_alone(engine):
    params = [sampled(seed) for seed in range(6)]
    wanted = [engine.generate(["Go on."], p)[0].token_ids for p in params]
    requests = [engine.add("Go on.", p) for p in params]
    for _ in range(9):
        engine.step()
    engine.abort(requests[2])
    engine.core.runner.arena.check()
    assert requests[2].finish_reason is not None
    found = {request.number: answer.token_ids for request, answer in engine.run()}
    for i, request in enumerate(requests):
        if i != 2 and request.number in found:
            assert found[request.number] == wanted[i]
    assert engine.core.runner.arena.rows == 0


@pytest.mark.parametrize("dialect", ["native", "paper"])
def test_an_abort_at_any_event_leaves_events_that_are_the_text(dialect, request):
    """Also between two events of one pass, when others of its events are still to come."""
    name = "engine" if dialect == "native" else "paper"
    engine, prompt = (
        request.getfixturevalue(name),
        LISTED if dialect == "paper" else "Check each record.",
    )
    params = sampled(23, temperature=0 if dialect == "paper" else 1.2, dialect=dialect)
    whole = len(list(engine.stream(prompt, params)))
    broken = 0
    for point in range(0, whole - 1, 3):
        asked = engine.add(prompt, params)
        order, pieces, open_lanes = InOrder(), [], set()
        for i, event in enumerate(engine.follow(asked)):
            pieces.append(order.feed(event))
            if isinstance(event, BranchStarted):
                open_lanes.add(event.lane)
            elif isinstance(event, BranchEnded):
                open_lanes.remove(event.lane)
            broken += i == point and len(open_lanes) > 1
            if i == point:
                engine.abort(asked)
        assert not open_lanes and isinstance(event, Finished)
        assert "".join(pieces) == event.generation.text, point
    assert broken > 3


def test_others_that_end_during_a_stream_are_not_lost(engine):
    short = [engine.add("Go on.", sampled(seed, max_new_tokens=5)) for seed in range(3)]
    *_, last = engine.stream("Check each record.", sampled(7))
    assert isinstance(last, Finished)
    found = {request.number: answer.token_ids for request, answer in engine.run()}
    alone = [engine.generate(["Go on."], sampled(s, max_new_tokens=5))[0] for s in range(3)]
    assert [found[r.number] for r in short] == [a.token_ids for a in alone]
    assert not list(engine.run())


def test_n_samples_are_n_seeds(engine):
    together = engine.generate(["Go on.", "a"], sampled(3), n=4)
    alone = [engine.generate([p], sampled(3 + i))[0] for p in ("Go on.", "a") for i in range(4)]
    assert [a.token_ids for a in together] == [a.token_ids for a in alone]
    assert len({tuple(a.token_ids) for a in together}) > 4
