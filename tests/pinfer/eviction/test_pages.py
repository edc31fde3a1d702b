"""Pages and policies as pure logic: what is ranked, what goes, what a score bounds."""

import math
import random
from importlib.resources import files

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pbranch.errors import RequestError
from pinfer.eviction.marks import top
from pinfer.eviction.options import NAMES, KVOptions, most_slots, parse_budget
from pinfer.eviction.pages import Pages, choose_victims
from pinfer.eviction.policies import POLICIES, get_policy
from pinfer.eviction.scores import key_bounds, page_scores, page_weights, stack_heads

CPU, LAYERS = torch.device("cpu"), 3


class Lane:
    """A lane that closes a page of one token a step and keeps `budget` of them."""

    def __init__(self, options, seed=0):
        self.options, self.policy = options, get_policy(options)
        self.pages, self.now, self.rng = Pages(LAYERS, CPU), 0, torch.Generator().manual_seed(seed)
        self.gone = []  # (step, layer, page) in order

    def step(self, weights=None):
        """One token: looks, closes a page, evicts."""
        self.now += 1
        pages = self.pages
        if self.policy.looks and len(pages):
            if weights is None:
                weights = torch.rand(pages.held.shape, generator=self.rng) * pages.held
            self.policy.look(pages, weights, self.now)
        place = {"tokens": 1, "segment": 0, "offset": self.now, "index": self.now}
        norm = {"norm": torch.rand(LAYERS, generator=self.rng)}
        pages.add({**place, **norm, **self.policy.new_page(self.now)})
        rank = self.policy.rank(pages, self.now)
        victims = choose_victims(pages, rank, pages.total - self.options.budget)
        for layer, column in victims.nonzero().tolist():
            self.gone.append((self.now, layer, int(pages["index"][layer, column])))
            kept = rank[layer].masked_fill(~pages.held[layer] | victims[layer], math.inf)
            assert rank[layer, column] <= kept.min(), "R4: the victim is the lowest"
        pages.keep(pages.held & ~victims)


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_keeps_the_budget_and_its_order(name):
    lane, budget = Lane(KVOptions(name, 6, 1)), 6
    for step in range(1, 40):
        lane.step()
        expected = step if name == "none" else min(step, budget)
        assert lane.pages.total.tolist() == [expected] * LAYERS
        assert (lane.pages["index"].diff(dim=1) > 0).all(), "oldest first"
    if name in ("random", "value", "h2o", "raas"):
        kept = {tuple(row) for row in lane.pages["index"].tolist()}
        assert len(kept) > 1, "layers choose by themselves"


def test_used_by_all_is_first_in_first_out():
    """R5: with ratio 1 every page is used at every step, so that the oldest goes."""
    lane = Lane(KVOptions("raas", 5, 1, ratio=1.0))
    for _ in range(30):
        lane.step()
    sink = Lane(KVOptions("sink", 5, 1))
    for _ in range(30):
        sink.step()
    assert lane.gone == [(n + 5, layer, n) for n in range(1, 26) for layer in range(LAYERS)]
    assert lane.gone == sink.gone


@pytest.mark.parametrize("seed", range(3))
def test_a_page_of_one_token_is_the_token_form(seed):
    """R5: true attention over single tokens, and a list of times kept by hand."""
    generator, budget, ratio = torch.Generator().manual_seed(seed), 6, 0.3
    lane, keys, used, order = Lane(KVOptions("raas", budget, 1, ratio=ratio)), {}, {}, []
    for now in range(1, 60):
        key = torch.randn(1, 2, 4, generator=generator)
        query = torch.randn(1, 1, 4, 4, generator=generator)
        if order:
            alone = torch.stack([key_bounds(keys[i]) for i in order])[None]
            found = page_weights(query / 2, alone, torch.ones(1, len(order), dtype=torch.bool))[
                0, 0
            ]
            stacked = torch.cat([keys[i] for i in order]).repeat_interleave(2, 1)
            true = (torch.einsum("hd,nhd->hn", query[0, 0], stacked) / 2).softmax(-1).mean(0)
            torch.testing.assert_close(found, true)
            count = math.ceil(ratio * len(order))
            for i in true.argsort(descending=True, stable=True)[:count].tolist():
                used[order[i]] = now
            lane.step(found.expand(LAYERS, -1))
        else:
            lane.step()
        keys[now], used[now] = key, now
        order.append(now)
        if len(order) > budget:
            order.remove(min(order, key=lambda i: (used[i], i)))
        assert lane.pages["index"].tolist() == [order] * LAYERS


def test_times_only_grow():
    """R4."""
    lane, before = Lane(KVOptions("raas", 8, 1)), {}
    for _ in range(40):
        lane.step()
        for layer in range(LAYERS):
            indices = lane.pages["index"][layer].tolist()
            for index, used in zip(indices, lane.pages["used"][layer].tolist(), strict=True):
                assert used >= before.get((layer, index), 0)
                before[layer, index] = used


def test_a_milestone_stays_as_long_as_it_is_used():
    """R10: what every step uses survives; what none has used for longer than the budget goes."""
    lane = Lane(KVOptions("raas", 8, 1, alpha=0.5))
    for now in range(1, 60):
        index = lane.pages["index"]
        lane.step((index == 3) * 0.9 if now < 40 else torch.zeros(index.shape))
        assert (3 in lane.pages["index"][0].tolist()) == (3 <= now < 39 + 7)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), groups=st.sampled_from([1, 2, 4]), tokens=st.integers(1, 9))
def test_no_key_of_a_page_beats_its_score(seed, groups, tokens):
    """R6."""
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(2, 5, tokens, 2, 6, generator=generator, dtype=torch.float64)
    query = torch.randn(2, 3, 2 * groups, 6, generator=generator, dtype=torch.float64)
    bounds = torch.stack([torch.stack([key_bounds(page) for page in layer]) for layer in keys])
    true = torch.einsum("lrhd,lpnhd->lrhpn", query, keys.repeat_interleave(groups, 3))
    slack = page_scores(query, bounds) - true.amax(-1)
    assert slack.min() > -1e-12
    if tokens == 1:
        assert slack.max() < 1e-12


def test_heads_that_differ_are_stacked_without_a_change_of_products():
    queries = [torch.randn(3, 4, 6), torch.randn(3, 4, 2)]
    keys = [torch.randn(5, 2, 6), torch.randn(5, 1, 2)]
    bounds = key_bounds(stack_heads(keys))[:, None]
    found = page_scores(stack_heads(queries), bounds)
    for layer, (query, key) in enumerate(zip(queries, keys, strict=True)):
        alone = page_scores(query[None], key_bounds(key)[None, None])
        torch.testing.assert_close(found[layer], alone[0])


def test_policies_are_short_and_named():
    """A policy is a file that is read at a glance."""
    folder = files("pinfer.eviction.policies")
    assert tuple(POLICIES) == NAMES
    for name in NAMES:
        assert len((folder / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 60


def test_weights_of_a_layer_sum_to_one():
    held = torch.tensor([[True, True, False], [False, False, False]])
    weights = page_weights(torch.randn(2, 4, 2, 6), torch.randn(2, 3, 1, 12), held)
    torch.testing.assert_close(weights.sum(-1), torch.tensor([[1.0] * 4, [0.0] * 4]))
    assert not weights[0, :, 2].any()


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6))
def test_tables_are_lists_of_pages(seed):
    """Layers that keep different numbers of pages; forks; pages of another reader."""
    rng, number = random.Random(seed), 0
    pages, expected = Pages(2, CPU), [[], []]
    for _ in range(20):
        action = rng.choice(["add", "add", "keep", "copy", "extend"])
        if action in ("add", "extend"):
            added = Pages(2, CPU) if action == "extend" else pages
            number += 1
            size = rng.randint(1, 4)
            added.add({"tokens": size, "segment": 1, "offset": number, "index": number, "x": 0.5})
            if action == "extend":
                pages.extend(added)
            for layer in expected:
                layer.append((number, size))
        elif action == "keep" and len(pages):
            chosen = torch.rand(pages.held.shape) < 0.7
            for layer in range(2):
                flags = chosen[layer].tolist()
                expected[layer] = [p for p, f in zip(expected[layer], flags, strict=False) if f]
            pages.keep(pages.held & chosen)
        elif action == "copy":
            other, pages = pages, pages.copy()
            other.keep(torch.zeros_like(other.held))
        found = [
            [(i, n) for i, n in zip(*rows, strict=True) if n]
            for rows in zip(pages["index"].tolist(), pages["tokens"].tolist(), strict=True)
        ]
        assert found == expected
        assert pages.total.tolist() == [sum(n for _, n in layer) for layer in expected]
        assert len(pages) == max(map(len, expected))


def test_the_greatest_of_each_layer_and_of_equals_the_oldest():
    pages = Pages(2, CPU)
    for number in range(4):
        pages.add({"tokens": 1, "segment": 0, "offset": number, "index": number})
    pages.keep(torch.tensor([[True] * 4, [True, True, False, False]]))
    found = top(pages, torch.tensor([[1.0, 1, 1, 0], [0, 9, 99, 99]]), 0.5)
    assert found.tolist() == [[True, True, False, False], [False, True, False, False]]


def test_options_say_what_is_wrong():
    assert parse_budget("25%") == (0.25, False) and parse_budget("1024") == (1024, False)
    assert parse_budget("+25%") == (0.25, True) and parse_budget("+512") == (512, True)
    assert KVOptions(budget=0.25).tokens(10, 31) == 11
    assert KVOptions(budget=0.25, on_top=True).tokens(10, 31) == 18
    assert KVOptions(budget=99, on_top=True).tokens(10, 31) == 109
    for text, wrong in (
        ("expected one of raas", {"policy": "lru"}),
        ("kv_budget 0: expected tokens", {"budget": 0}),
        ("kv_budget 1.5: expected", {"budget": 1.5}),
        ("kv_page 0: expected 1", {"page": 0}),
        ("kv_ratio 2: expected 0 to 1", {"ratio": 2}),
        ("kv_alpha -1: expected 0 to 1", {"alpha": -1}),
        ("kv 'sink': shared_ts needs one of raas, lazy", {"policy": "sink", "shared_ts": True}),
    ):
        with pytest.raises(RequestError, match=text):
            KVOptions(**wrong)
    with pytest.raises(RequestError, match="--kv-budget many: expected tokens, a share as"):
        parse_budget("many")


def test_a_budget_smaller_than_the_prompt_names_what_it_needs():
    options = KVOptions("raas", 130, 16)
    assert most_slots(options, 98, 10_000, 10_098, 1, 0) == 98 + 32 + 16
    assert most_slots(options, 98, 5, 103, 1, 0) == 103, "no more than full attention"
    with pytest.raises(RequestError, match="prompt of 99 tokens and two pages of 16 need 131"):
        most_slots(options, 99, 10_000, 10_099, 1, 0)
