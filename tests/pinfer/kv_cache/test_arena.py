"""The arena under random use: slots tile the pool, and no row is ever lost or changed."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pinfer.kv_cache.arena import Arena

CPU = torch.device("cpu")


class Model:
    """What the arena should hold: per segment, (position, stamp) rows in order."""

    def __init__(self, slots, limit=None):
        self.arena, self.rows, self.stamp = Arena(2, CPU, slots=slots, limit=limit), {}, 0

    @property
    def room(self):
        """Rows that may still be taken; each segment counts for one at least."""
        limit = self.arena.limit or 10**9
        return limit - sum(max(1, len(rows)) for rows in self.rows.values())

    def append(self, number, n):
        positions = [self.stamp * 3 + i for i in range(n)]
        span = self.arena.append(number, positions)
        stamps = torch.arange(self.stamp, self.stamp + n, dtype=torch.float64)
        data = stamps[:, None, None].expand(n, 2, 3)
        for layer in range(2):
            self.arena.write(layer, torch.tensor(list(span), dtype=torch.long), data, -data - layer)
        self.rows[number] += list(zip(positions, stamps.tolist(), strict=True))
        self.stamp += n

    def check(self):
        self.arena.check()
        assert self.arena.segments.keys() == self.rows.keys()
        assert self.arena.rows == sum(map(len, self.rows.values()))
        for number, rows in self.rows.items():
            segment = self.arena.segments[number]
            run = slice(segment.start, segment.start + segment.length)
            assert self.arena.positions[run].tolist() == [p for p, _ in rows]
            for layer in range(2):
                if self.arena.keys[layer] is not None:
                    assert self.arena.keys[layer][run, 1, 2].tolist() == [s for _, s in rows]
                    values = self.arena.values[layer][run, 0, 0].tolist()
                    assert values == [-s - layer for _, s in rows]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**9),
    slots=st.sampled_from([16, 20, 64, 1024]),
    limit=st.sampled_from([None, 7, 40, 100]),
)
def test_random_use_keeps_every_row(seed, slots, limit):
    rng, model = random.Random(seed), Model(slots, limit)
    for _ in range(60):
        held = list(model.rows)
        action = rng.choice(["open", "append", "append", "append", "absorb", "release", "cut"])
        if action == "open" or not held:
            expected = rng.choice([0, 0, 5, 40])
            if model.room >= max(1, expected):
                model.rows[model.arena.open(expected)] = []
        elif action == "append":
            n = rng.choice([1, 1, 1, 3, 30])
            if model.room >= n:
                model.append(rng.choice(held), n)
        elif action == "cut":
            number = rng.choice(held)
            length = rng.randint(0, len(model.rows[number]))
            model.arena.compact(number, length)
            del model.rows[number][length:]
        elif action == "release":
            number = rng.choice(held)
            model.arena.release(number)
            del model.rows[number]
        elif len(held) > 1:
            number, *others = rng.sample(held, rng.randint(2, min(4, len(held))))
            model.arena.absorb(number, others)
            for other in others:
                model.rows[number] += model.rows.pop(other)
        model.check()
        assert limit is None or model.arena.slots <= limit
    for number in list(model.rows):
        model.arena.release(number)
    assert model.arena.rows == 0
    assert model.arena._free == [(0, model.arena.slots)], "freed spans are merged"


def test_the_pool_grows_and_keeps_its_rows():
    model = Model(16)
    for n in (3, 20, 70):
        number = model.arena.open()
        model.rows[number] = []
        model.append(number, n)
        model.check()
    assert model.arena.slots >= 93


def test_growth_moves_only_the_rows_of_its_segment():
    model = Model(64)
    for _ in range(3):
        model.rows[model.arena.open()] = []
    for number in (0, 1, 2):
        model.append(number, 10)
    others = [model.arena.segments[n].start for n in (0, 2)]
    start = model.arena.segments[1].start
    model.append(1, 10)
    assert model.arena.segments[1].start != start
    assert [model.arena.segments[n].start for n in (0, 2)] == others
    model.check()


def test_absorbing_empty_segments_moves_nothing():
    model = Model(64)
    for _ in range(3):
        model.rows[model.arena.open()] = []
    model.append(0, 4)
    model.arena.absorb(0, [1, 2])
    del model.rows[1], model.rows[2]
    model.check()


def test_a_segment_lives_as_long_as_anyone_holds_it():
    model = Model(64)
    number = model.arena.open()
    model.rows[number] = []
    model.append(number, 5)
    model.arena.hold(number)
    model.arena.release(number)
    model.check()
    model.arena.release(number)
    model.rows.clear()
    model.check()


def test_check_finds_what_is_wrong():
    def broken(spoil):
        model = Model(64)
        model.rows[model.arena.open()] = []
        model.append(0, 4)
        spoil(model.arena)
        return model.arena

    spoilers = [
        lambda a: a._free.pop(),
        lambda a: a._free.insert(0, (3, 4)),
        lambda a: setattr(a.segments[0], "length", 99),
        lambda a: a.segments.pop(0),
    ]
    for spoil in spoilers:
        with pytest.raises(AssertionError):
            broken(spoil).check()
