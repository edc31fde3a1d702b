"""A bounded cache under random use: every layer holds tokens of the text as it stands, in order, at
their positions, no more than the budget; rewinds reach into closed pages."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pinfer.eviction.options import KVOptions
from pinfer.eviction.pages import Pages
from pinfer.kv_cache.arena import Arena
from pinfer.kv_cache.paged_lanes import PagedLaneCache
from pinfer.kv_cache.reader import Reader
from pinfer.model_spec import ModelSpec
from pinfer.params import SamplingParams
from pinfer.request.marker_controller import MARKERS
from pinfer.request.state import QueuedToken
from pinfer.request.transitions import open_request

LAYERS, PROMPT, BUDGET, PAGE = 3, 5, 21, 4
CPU = torch.device("cpu")


class Text:
    """A lane's text, and the cache that holds some of it: keys are stamps."""

    def __init__(self, name, limit=None):
        arena = Arena(LAYERS, CPU, slots=16, limit=limit, layered=True)
        self.cache = PagedLaneCache(arena, KVOptions(name, BUDGET, PAGE))
        spec = ModelSpec(None, frozenset(), 10**6)
        params = SamplingParams(mode="linear", max_new_tokens=10**5)
        self.request = open_request(0, [1] * PROMPT, params, spec, MARKERS)
        self.stamps, self.count = [], 0

    def append(self, n):
        lane = self.request.trunk
        positions = range(len(self.stamps), len(self.stamps) + n)
        tokens = [QueuedToken(lane, lane, 0, position) for position in positions]
        assert self.cache.fitting(tokens) == n
        placed = self.cache.append(tokens)
        new = [float(self.count + i) for i in range(n)]
        self.stamps, self.count = self.stamps + new, self.count + n
        keys = torch.tensor(new)[:, None, None].expand(n, 1, 2)
        for layer in range(LAYERS):
            slots = (placed.layers[layer] if placed.layers else placed).slots
            self.cache.arena.write(layer, torch.tensor(slots), keys, keys + layer)
        self.cache.finish_pass(tokens)

    def check(self):
        cache, arena = self.cache, self.cache.arena
        cache.check()
        arena.check()
        reader = cache._readers[self.request.trunk]
        start = arena.segments[reader.segment].start
        for layer, length in enumerate(reader.length.tolist()):
            run = slice(start, start + length)
            positions = arena.positions[layer, run].tolist()
            assert positions == sorted(set(positions))
            expected = [self.stamps[p] for p in positions]
            assert arena.keys[layer][run, 0, 0].tolist() == expected
            assert arena.values[layer][run, 0, 1].tolist() == [s + layer for s in expected]
            assert positions[:PROMPT] == list(range(min(PROMPT, len(self.stamps))))
            assert positions[-1] == len(self.stamps) - 1 and length <= BUDGET + PAGE


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), name=st.sampled_from(["random", "value", "sink"]))
def test_random_use_keeps_the_text_in_order(seed, name):
    rng, text = random.Random(seed), Text(name)
    text.append(PROMPT)
    for _ in range(50):
        room = text.cache.room(text.request.trunk)
        text.append(rng.randint(1, room))
        if rng.random() < 0.3:
            drop = rng.choice([1, 2, 3, 6, 11])
            drop = min(drop, len(text.stamps) - PROMPT - 1)
            if drop > 0:
                assert text.cache.truncate(text.request.trunk, drop) == drop
                del text.stamps[-drop:]
                reader = text.cache._readers[text.request.trunk]
                assert reader.fed == len(text.stamps) and reader.last == len(text.stamps) - 1
                continue  # its last tokens may be among those that were evicted
        text.check()


def test_the_newest_token_is_known_when_look_ahead_rows_have_left():
    """Rows behind several tokens stand at the same positions."""
    none = torch.zeros(LAYERS, dtype=torch.long)
    reader = Reader(0, Pages(LAYERS, CPU), 2, 2, none, before=-1)
    reader.take([0, 1, 2, 3])
    reader.take([4, 5, 5, 6, 6, 7])
    reader.drop(4)
    assert (reader.last, reader.open) == (5, [2, 3, 4, 5])
    reader.close(4)
    assert (reader.last, reader.open) == (5, [])


def test_a_full_pool_is_enough_for_the_budget():
    """With a limit of the budget and a page, and no slot more."""
    text = Text("random", limit=BUDGET + PAGE)
    text.append(PROMPT)
    for _ in range(100):
        text.append(1)
        text.check()
    assert text.cache.arena.slots == BUDGET + PAGE


def test_a_pass_goes_no_further_than_the_page():
    text = Text("sink")
    lane = text.request.trunk
    tokens = [QueuedToken(lane, lane, 0, i) for i in range(30)]
    assert text.cache.fitting(tokens) == PROMPT + PAGE
    text.append(PROMPT + 1)
    assert text.cache.room(lane) == text.cache.fitting(tokens) == PAGE - 1
    text.append(PAGE - 1)
    assert text.cache.room(lane) == PAGE, "the next token finds the page full, and opens another"
    with pytest.raises(AssertionError):
        text.append(PAGE + 1)
