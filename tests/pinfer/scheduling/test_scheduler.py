"""Who is in a pass: freed rows are refilled, nobody starves. Counts of scripted requests."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinfer.model_spec import ModelSpec
from pinfer.params import EngineLimits, SamplingParams
from pinfer.scheduling.batch import Choice
from pinfer.scheduling.drafts import site_after
from pinfer.scheduling.scheduler import Scheduler
from tests.support.forced_decode import Drawer
from tests.support.toy_engine import END_OF_TEXT, MARKERS

M = MARKERS
RULES = ModelSpec(M, frozenset({END_OF_TEXT}), 4096)


def serve(requests, limits, choose, look=lambda scheduler, batch: None):
    """Decode (prompt, params) pairs without a model; returns the number of passes."""
    scheduler = Scheduler(RULES, limits)
    for prompt, params in requests:
        scheduler.add(list(prompt), params)
    passes = 0
    while scheduler.busy:
        batch = scheduler.schedule()
        passes += 1
        assert 0 < len(batch.tokens) <= limits.max_rows
        look(scheduler, batch)
        scheduler.commit(batch, [choose(token.lane) for token in batch.sampled])
        scheduler.take_finished()
        assert passes < 50000, "the requests do not end"
    return passes


def block_of(lengths, before=20, after=20):
    """Draws a text with one block of branches of such lengths, their ends included."""
    outline = [M.fork, *[M.topic, 1] * len(lengths), M.spawn]
    trunk = [*[2] * before, *outline, *[3] * (after - 1), END_OF_TEXT]
    scripts = {(): trunk} | {((0, i),): [4] * (n - 1) + [M.end] for i, n in enumerate(lengths)}

    def choose(lane):
        return Choice(scripts[lane.path][lane.budget.sampled], True)

    return choose


@pytest.mark.parametrize("lengths", [(250, 50, 50, 50), (160, 120, 80, 40)], ids=str)
def test_freed_rows_are_refilled(lengths):
    """Sixteen requests, four rows a pass: as many times fewer passes as branches leave rows free,
    1 / u with fill u = mean / longest; the texts around the blocks, one row each, save more."""
    requests = [([5], SamplingParams(max_new_tokens=2000))] * 16
    passes = {
        most: serve(requests, EngineLimits(max_rows=4, max_requests=most), block_of(lengths))
        for most in (1, 16)
    }
    fill = sum(lengths) / (len(lengths) * max(lengths))
    assert passes[1] / passes[16] >= 0.85 / fill
    # and no pass but the last few has a row to spare
    outline = 2 + 2 * len(lengths)
    rows = 16 * (1 + 20 + outline + sum(lengths) + 2 * len(lengths) + 1 + 19)
    assert passes[16] <= rows / 4 + max(lengths) / 2


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    most=st.sampled_from([1, 2, 3, 5, 17]),
    together=st.sampled_from([2, 4, 64]),
    kept=st.sampled_from([0, 4096]),
)
def test_nobody_starves(seed, most, together, kept):
    """A request with rows to feed waits for no more passes than there are requests beside it, if
    not for another one, whose rows it is to share."""
    rng = random.Random(seed)
    head = [rng.randrange(16) for _ in range(40)]
    prompts = [(head if rng.random() < 0.3 else []) + [rng.randrange(16)] * 3 for _ in range(7)]
    requests = [(p, SamplingParams(max_new_tokens=rng.randrange(1, 80))) for p in prompts]
    limits = EngineLimits(max_rows=most, max_requests=together, max_prefix_rows=kept)
    waited, drawers = {}, {}

    def look(scheduler, batch):
        served = {row.lane.request.number for row in batch.tokens}
        for request in scheduler.running:
            attaching = request.prefix.source is not None and not request.prefix.cached
            if request.number in served or attaching:
                waited[request.number] = 0
            else:
                waited[request.number] = waited.get(request.number, 0) + 1
                assert waited[request.number] < min(together, len(requests))

    def choose(lane):
        number = lane.request.number
        site = site_after(lane.newest, lane.state.grammar)
        return drawers.setdefault(number, Drawer(seed + number))(site)

    serve(requests, limits, choose, look)


def test_requests_of_any_width_advance_alike():
    """Twelve live rows of one request and one of another, four to a pass: each has every second
    pass, however the wide one fills its own."""
    wide, narrow = block_of((40,) * 12, 0, 1), block_of((1,), 60, 1)
    fed = []
    requests = [
        ([5], SamplingParams(max_new_tokens=2000)),
        ([6], SamplingParams(max_new_tokens=2000)),
    ]
    serve(
        requests,
        EngineLimits(max_rows=4),
        lambda lane: (narrow if lane.request.number else wide)(lane),
        lambda scheduler, batch: fed.append({row.lane.request.number for row in batch.tokens}),
    )
    both = fed[40:60]
    assert sum(0 in numbers for numbers in both) == len(both)
    assert sum(1 in numbers for numbers in both) == len(both) / 2


def test_a_long_prompt_leaves_room_for_those_who_decode():
    """It is cut into passes that others fill first: none of them waits."""
    fed = []
    params = SamplingParams(max_new_tokens=30, mode="linear")
    requests = [([5], params), ([6], params), ([7] * 40, params)]
    serve(
        requests,
        EngineLimits(max_rows=5),
        lambda lane: Choice(1, True),
        lambda scheduler, batch: fed.append([row.lane.request.number for row in batch.tokens]),
    )
    assert all(rows[:2] == [0, 1] for rows in fed[:10])
    assert all(rows[2:] == [2, 2, 2] for rows in fed[:10])
