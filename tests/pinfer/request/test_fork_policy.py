"""Whether a block is worth a fork: decided from its outline, without any change to the text."""

import random

import pytest
import torch

from pbranch.errors import RequestError
from pbranch.format.layout import LayoutOptions
from pinfer import Engine, SamplingParams
from pinfer.request.state import LiveFork, Status
from tests.support.checkpoints import save_adapter
from tests.support.forced_decode import Drawer, decode
from tests.support.toy_engine import Toy, greedy, toy_model

torch.set_num_threads(1)
SHORT = {"fork": "auto", "min_branch_tokens": 9}  # the toys' branches took 5 tokens in training


def blocks(request):
    return [i for lane in request.lanes for i in lane.items if isinstance(i, LiveFork)]


@pytest.mark.parametrize("kind", ["qwen3", "gemma3"])
@pytest.mark.parametrize("outline", ["all", "own"])
def test_in_order_changes_no_token(kind, outline):
    model, rng = toy_model(kind, 3), random.Random(5)
    prompts = [[rng.randrange(16) for _ in range(5)] for _ in range(6)]
    options = LayoutOptions(outline=outline)
    always = Toy(model, options).run(prompts, greedy(fork="always"))
    auto = Toy(model, options).run(prompts, greedy(**SHORT))
    assert [list(r.trunk.tokens()) for r in auto] == [list(r.trunk.tokens()) for r in always]
    assert any(len(b.lanes) > 1 for r in auto for b in blocks(r))
    assert all(b.sequential for r in auto for b in blocks(r))
    assert not any(b.sequential for r in always for b in blocks(r))
    assert sum(r.stats.passes for r in auto) > sum(r.stats.passes for r in always)


def test_branches_of_a_block_in_order_take_turns():
    """Of siblings at most one has begun and not ended, however many places there are."""
    seen = 0
    for seed in range(40):
        requests = []

        def watch(rows, requests=requests):
            requests[:] = [row.lane.request for row in rows[:1]] or requests
            for block in blocks(requests[0]):
                open_ = [x for x in block.lanes if x.status in (Status.LIVE, Status.JOINING)]
                assert len(open_) <= (1 if block.sequential else len(block.lanes))

        params = SamplingParams(max_new_tokens=80, fork="auto")
        request = decode([1, 2], params, Drawer(seed), on_rows=watch)
        for block in blocks(request):
            assert block.sequential == (len(block.lanes) == 1)  # the driver knows no training
            seen += block.sequential
    assert seen > 10


def test_what_was_decided_is_in_the_statistics(base, tmp_path):
    folder = save_adapter(tmp_path / "short", base, branch_tokens=3.0)
    engine = Engine.from_pretrained(str(base), str(folder), device="cpu")

    def blocks(**changes):
        params = SamplingParams(max_new_tokens=60, temperature=1, seed=0, **changes)
        found = engine.generate(["Go on."], params, n=20)
        return sum(x.stats.blocks for x in found), sum(x.stats.blocks_in_order for x in found)

    (some, in_order), (as_many, none) = blocks(), blocks(fork="always")
    assert some == in_order == as_many > 10 and none == 0
    assert blocks(fork="never") == (0, 0)
    some, single = blocks(min_branch_tokens=3)  # as long as the branches were in training
    assert 0 < single < some


def test_a_wrong_choice_is_refused():
    with pytest.raises(RequestError, match="'sometimes': expected auto, always or never"):
        SamplingParams(fork="sometimes")
    with pytest.raises(RequestError, match="min_branch_tokens -1"):
        SamplingParams(min_branch_tokens=-1)
