"""Speed as counts, which no noisy machine moves: passes, rows, kernels, operators, memory."""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pinfer import core
from pinfer.execution.runner import Runner
from pinfer.params import EngineLimits, SamplingParams
from tests.support.toy_engine import END_OF_TEXT, MARKERS, Toy, scripted, toy_model

torch.set_num_threads(1)
M = MARKERS
KERNEL = "aten._scaled_dot_product_flash_attention_for_cpu.default"
HEADS, DIM = 2, 16  # of the keys
BEFORE, AFTER = 3, 5  # words of the trunk around the block
each_width = pytest.mark.parametrize("branches", [1, 4, 8])
each_prompt = pytest.mark.parametrize("prompt", [64, 512])


@dataclass
class Pass:
    """What a pass had and what it took. fresh: storages that were made, with their elements; then
    the arena: rows, slots of segments, all slots, and where the prompt's rows begin."""

    rows: int
    bodies: int  # branch rows that a token is drawn from
    ops: int
    kernels: int
    fresh: list[int]
    held: int
    reserved: int
    pool: int
    prefix: int


class Operators(TorchDispatchMode):
    """Counts what is called, and the tensors that are made and are no views."""

    def __init__(self):
        super().__init__()
        self.called, self.fresh = Counter(), []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.called[str(func)] += 1
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        known = {x.untyped_storage().data_ptr() for x in given}
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor) and x.untyped_storage().data_ptr() not in known:
                self.fresh.append(x.numel())
        return out


def words(branch):
    return 6 + branch  # and the end: no two branches are of one length


@cache
def passes_of(layers, prompt, branches, path="general"):
    """The passes of one block behind a prompt, the prompt's own first; and the request."""
    found = []

    class Counted(Runner):
        def run(self, batch):
            with Operators() as seen:
                logits = super().run(batch)
            found.append(
                Pass(
                    len(batch.tokens),
                    sum(token.lane.in_branch for token in batch.sampled),
                    seen.called.total(),
                    seen.called[KERNEL],
                    seen.fresh,
                    self.arena.rows,
                    self.arena.reserved,
                    self.arena.slots,
                    self.arena.segments[
                        self.cache.segment(batch.tokens[0].lane.request.trunk)
                    ].start,
                )
            )
            return logits

    outline = [M.fork, *[M.topic, 1] * branches, M.spawn]
    scripts = {(): [*[2] * BEFORE, *outline, *[3] * AFTER, END_OF_TEXT]}
    scripts |= {((0, i),): [4] * words(i) + [M.end] for i in range(branches)}
    model = toy_model("qwen3", num_hidden_layers=layers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core, "Runner", Counted)
        limits = EngineLimits(max_rows=1024)
        toy = Toy(model, limits=limits, path=path, choose=scripted(scripts), context=2048)
        params = SamplingParams(max_new_tokens=400, fork="always")
        (request,) = toy.run([[i % 16 for i in range(prompt)]], params)
    return found, request


def trunk_rows(branches):
    """Before the block, and its outline."""
    return BEFORE + 2 + 2 * branches


@each_width
@each_prompt
def test_passes_and_their_rows(prompt, branches):
    """s + the longest branch, and in each a row for every branch that is live."""
    passes, request = passes_of(2, prompt, branches)
    spawn = 1 + 2 * branches  # with all headers
    longest = words(branches - 1)
    live = [sum(words(i) > step for i in range(branches)) for step in range(longest)]
    # a branch's end is fed while the others go on, and the last one with the join
    ends = [sum(words(i) == step for i in range(branches)) for step in range(longest)]
    wanted = [prompt] + [1] * (trunk_rows(branches) - 1) + [spawn]
    wanted += [a + b for a, b in zip(live, ends, strict=True)] + [2] + [1] * AFTER
    assert [p.rows for p in passes] == wanted
    assert request.stats.passes == trunk_rows(branches) + longest + 1 + AFTER
    first = trunk_rows(branches) + 1
    assert [p.bodies for p in passes[first : first + longest]] == live


@each_width
@each_prompt
def test_cached_rows_are_the_formula(prompt, branches):
    """P + sum S, exactly; what segments reserve is at most twice that, and 16 for a new one."""
    passes, _ = passes_of(2, prompt, branches)
    fed = 0
    for p in passes:
        fed += p.rows
        assert p.held == fed
        assert p.reserved <= 2 * p.held + 16 * branches
    tree = sum(2 + words(i) + 1 for i in range(branches))
    assert fed == prompt + trunk_rows(branches) + tree + 1 + AFTER


@each_width
def test_the_prefix_is_not_copied(branches):
    """Its rows stay where they are, and no step makes a tensor as large as its keys, but once
    where the pool doubles."""
    passes, _ = passes_of(2, 512, branches)
    assert {p.prefix for p in passes} == {0}
    large = [max(p.fresh) >= 512 * HEADS * DIM for p in passes[1:]]
    grown = [after.pool > before.pool for before, after in pairwise(passes)]
    assert large == grown and sum(grown) <= 1


def bodies(layers, prompt, branches, path="general"):
    """The passes in which every branch feeds a word, but the first: nothing begins or ends."""
    first = trunk_rows(branches) + 2
    passes, _ = passes_of(layers, prompt, branches, path)
    return passes[first : first + words(0) - 1]


@each_width
@each_prompt
def test_kernels_of_a_layer(prompt, branches):
    """One call for what all branches share, one for what is their own, however many they are."""
    passes, _ = passes_of(2, prompt, branches)
    alone = passes[1 : trunk_rows(branches)]
    assert {p.kernels for p in alone} == {2 * 1}
    assert {p.kernels for p in bodies(2, prompt, branches)} == {2 * 2}


# of the versions in constraints.txt: calls and new tensors of a layer, calls of a step besides
MOST = {
    "general": {1: (102, 54, 59), 4: (106, 57, 97), 8: (106, 57, 125)},
    "fast": {1: (74, 32, 63), 4: (78, 35, 101), 8: (78, 35, 129)},
}


@each_width
@each_prompt
@pytest.mark.parametrize("path", MOST)
def test_operators_of_a_layer(path, prompt, branches):
    """Not one call or new tensor more than there are now."""
    calls, made, besides = MOST[path][branches]
    both = zip(*(bodies(n, prompt, branches, path) for n in (2, 3)), strict=True)
    for two, three in both:
        layer = three.ops - two.ops
        found = layer, len(three.fresh) - len(two.fresh), two.ops - 2 * layer
        assert all(a <= b for a, b in zip(found, (calls, made, besides), strict=True)), found


@each_width
def test_nothing_that_a_step_makes_grows_with_the_prompt(branches):
    for short, long in zip(bodies(2, 64, branches), bodies(2, 512, branches), strict=True):
        assert sorted(short.fresh) == sorted(long.fresh)
        assert short.ops == long.ops
