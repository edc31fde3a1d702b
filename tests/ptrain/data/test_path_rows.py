"""A tree as one sequence per branch: the same losses, more tokens."""

import random

import pytest
import torch
from hypothesis import given

from pbranch import Fork, make_trace
from pbranch.format.layout import NO_TARGET, LayoutOptions, build_layout
from pbranch.format.visibility import dense_mask, layout_tensor
from ptrain.config import TrainOptions
from ptrain.data.collator import collate
from ptrain.data.dataset import Example
from ptrain.data.path_rows import count_path_tokens, measure_packing, split_paths
from ptrain.model.base import load_base
from tests.pbranch.format.test_layout import OPTIONS, TOY, rows_of
from tests.ptrain.conftest import FAMILIES, random_trace
from tests.ptrain.trainer.test_loss import encoder, losses
from tests.support.strategies import traces


def test_the_toy_by_hand():
    """p x F T A T B S | B A : E | B B : 1 2 E | J z: two branches, then the trunk."""
    layout = rows_of(TOY, prompt=[8])
    first, second, trunk = split_paths(layout)
    assert first.token_ids == layout.token_ids[:12]
    assert second.token_ids == layout.token_ids[:8] + layout.token_ids[12:18]
    for path in (first, second):
        assert path.position_ids == list(range(len(path))) and not path.hidden
    assert trunk.token_ids == layout.token_ids
    masks = [dense_mask(layout_tensor([x])) for x in (trunk, layout)]
    assert torch.equal(*masks)
    assert first.targets == [NO_TARGET] * 9 + layout.targets[9:12]
    assert second.targets == [NO_TARGET] * 9 + layout.targets[13:18]
    assert trunk.targets[:8] == layout.targets[:8] and set(trunk.targets[8:18]) == {NO_TARGET}
    assert count_path_tokens(layout) == 12 + 14 + 20


@given(traces(depth=3, traps=False, max_branches=2), OPTIONS)
def test_every_target_is_in_one_path_and_branches_are_causal(trace, options):
    layout = rows_of(trace, options)
    paths = split_paths(layout)
    assert count_path_tokens(layout) == sum(map(len, paths))
    targets = sorted(t for path in paths for t in path.targets if t != NO_TARGET)
    assert targets == sorted(t for t in layout.targets if t != NO_TARGET)

    def branches(trace):
        return sum(1 + branches(b) for fork in trace.forks() for b in fork.branches)

    assert len(paths) == 1 + branches(trace)
    for path in paths:
        if not path.hidden:  # with `outline: own` the outline leaves a gap
            positions = path.position_ids
            assert positions == sorted(set(positions))
            assert options.outline == "own" or positions == list(range(len(path)))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "options", [LayoutOptions(), LayoutOptions("flat", "own"), LayoutOptions(join="reencode")]
)
def test_losses_of_the_paths_are_those_of_the_tree_row(bases, family, options):
    base = load_base(str(bases[family]))
    rng, codec = random.Random(5), encoder(base).codec
    for _ in range(3):
        nested = random_trace(rng, 1)
        topics = ("low", "sum", "not")
        branches = (
            make_trace("low seven nine"),
            make_trace("sum ", *nested.parts, Fork(("so",), (make_trace("so high"),)), " all"),
            make_trace("not"),
        )
        trace = make_trace("check: ", Fork(topics, branches), "then", *random_trace(rng, 1).parts)
        layout = build_layout([5, 6, 7], trace, codec, base.markers, 2, options)
        with torch.no_grad():
            tree = losses(base.model, collate([layout])).sum()
            paths = losses(base.model, collate(split_paths(layout))).sum()
        assert torch.allclose(paths, tree, rtol=1e-5, atol=1e-5)


def test_rows_are_counted():
    layouts = [rows_of(TOY, prompt=[8]), rows_of(make_trace("plain"), prompt=[8])]
    examples = [Example(len(x), x) for x in layouts]
    assert [len(x) for x in examples] == [20, 6]
    for packing, expected in ((True, 1), (False, 2)):
        options = TrainOptions(max_length=32, packing=packing)
        stats = measure_packing(examples, options, seed=0)
        assert (stats.sequences, stats.tokens, stats.path_tokens) == (expected, 26, 52)
        assert stats.fill == 26 / (32 * expected)
        assert "50.0% less than the 52 of one row per branch" in str(stats)
