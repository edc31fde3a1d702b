"""What a pass can hold besides sampled tokens: scratch tokens, embeddings, an adapter of some
tokens; and views of single layers."""

import copy

import pytest
import torch

from pinfer.attention import dense, sdpa
from pinfer.execution.forward import PassInput
from pinfer.execution.pass_plan import plan_pass
from pinfer.execution.runner import Runner
from pinfer.models.fast import FastModel
from pinfer.models.general import GeneralModel
from pinfer.params import SamplingParams
from pinfer.request.marker_controller import MARKERS
from pinfer.request.state import QueuedToken
from pinfer.request.transitions import open_request
from pinfer.scheduling.batch import Batch
from tests.support.toy_engine import toy_model, toy_spec

torch.set_num_threads(1)
PROMPT = [3, 1, 4, 1, 5, 9]
PATHS = [FastModel, GeneralModel]


def lane_of(model):
    request = open_request(0, PROMPT, SamplingParams(mode="linear"), toy_spec(model), MARKERS)
    request.effects.clear()
    return request.trunk


def tokens(lane, ids, begin, **more):
    return [QueuedToken(lane, lane, t, begin + i, **more) for i, t in enumerate(ids)]


def run(runner, fed):
    """Logits of all tokens of a pass."""
    batch = Batch(tokens=list(fed), logits_indices=list(range(len(fed))))
    return runner.run(batch)


def full(model, ids, hidden=None):
    """Logits of all tokens under a causal mask, and of `hidden`: {layer: (row, columns)}."""
    plain, n = copy.deepcopy(model), len(ids)
    plain.set_attn_implementation("sdpa")
    causal = torch.tril(torch.ones(n, n, dtype=torch.bool))

    def additive(allowed):
        return torch.zeros(allowed.shape, dtype=model.dtype).masked_fill(~allowed, -torch.inf)

    for layer, (row, columns) in (hidden or {}).items():
        allowed = causal.clone()
        allowed[row, columns] = False

        changed = additive(allowed)[None, None]

        def replace(module, args, kwargs, changed=changed):
            return args, {**kwargs, "attention_mask": changed}

        plain.model.layers[layer].self_attn.register_forward_pre_hook(replace, with_kwargs=True)
    with torch.inference_mode():
        mask = additive(causal)[None, None]
        return plain(torch.tensor([ids]), attention_mask=mask, use_cache=False).logits[0]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("backend", [sdpa.attend, dense.attend])
def test_scratch_tokens_see_up_to_their_anchor_and_leave(path, backend):
    """Two groups: after the newest token, and after the one before it; neither sees the other."""
    model = toy_model("qwen3", 2)
    runner, lane = Runner(path(copy.deepcopy(model)), backend), lane_of(model)
    run(runner, tokens(lane, PROMPT, 0))
    newest = tokens(lane, [2, 6], 6)
    late = tokens(lane, [7, 8], 8, anchor=newest[1])
    early = tokens(lane, [10, 11], 7, anchor=newest[0])
    logits = run(runner, [*newest, *late, *early])
    runner.arena.check()
    assert runner.cache.length(lane) == len(PROMPT) + 2, "scratch tokens are dropped"
    for found, ids in (
        (logits[2:4], [*PROMPT, 2, 6, 7, 8]),
        (logits[4:6], [*PROMPT, 2, 10, 11]),
        (logits[:2], [*PROMPT, 2, 6]),
    ):
        torch.testing.assert_close(found, full(model, ids)[-2:], rtol=0, atol=1e-9)
    after = run(runner, tokens(lane, [5], 8))
    torch.testing.assert_close(after, full(model, [*PROMPT, 2, 6, 5])[-1:], rtol=0, atol=1e-9)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("backend", [sdpa.attend, dense.attend])
def test_a_view_of_one_layer_is_a_mask_of_that_layer(path, backend):
    """One slot hidden in one layer, by the view or by a policy that looks at the pass."""
    model = toy_model("qwen3", 4)
    wanted = full(model, [*PROMPT, 2], {1: (len(PROMPT), [3])})[-1:]
    plain = full(model, [*PROMPT, 2])[-1:]
    assert (wanted - plain).abs().max() > 1e-3

    class Policy:
        def __init__(self, slot):
            self.slot, self.seen = slot, []

        def look(self, layer, query, view):
            self.seen.append((layer, len(query)))
            hidden = torch.zeros(view.arena.slots, dtype=torch.bool)
            hidden[self.slot] = True
            return view.hiding(hidden) if layer == 1 and len(query) == 1 else view

    for by_policy in (False, True):
        runner, lane = Runner(path(copy.deepcopy(model)), backend), lane_of(model)
        run(runner, tokens(lane, PROMPT, 0))
        slot = runner.arena.segments[runner.cache.segment(lane)].start + 3
        newest = tokens(lane, [2], 6)
        if by_policy:
            runner.policy = Policy(slot)
            found = run(runner, newest)
            assert runner.policy.seen == [(0, 1), (1, 1)]
        else:
            placement = runner.cache.append(newest)
            view = plan_pass(newest, placement, runner.cache, backend)
            hidden = torch.zeros(runner.arena.slots, dtype=torch.bool)
            hidden[slot] = True
            view.layers[1] = view.hiding(hidden)
            ids, at = torch.tensor([2]), torch.tensor([6])
            with torch.inference_mode():
                found = runner.model(PassInput(ids, at, view, torch.tensor([0])))
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("path", PATHS)
def test_given_embeddings_stand_in_for_tokens(path):
    model = toy_model("llama", 2)
    runner, lane = Runner(path(copy.deepcopy(model)), sdpa.attend), lane_of(model)
    fed = tokens(lane, [*PROMPT[:-1], 0, 0], 0)
    view = plan_pass(fed, runner.cache.append(fed), runner.cache, sdpa.attend)
    ids = torch.tensor([t.token_id for t in fed])
    with torch.inference_mode():
        rows = model.get_input_embeddings()(torch.tensor([PROMPT[-1], 7]))
        every = torch.arange(len(fed))
        given = PassInput(ids, view.positions, view, every, None, rows, torch.tensor([5, 6]))
        found = runner.model(given)
    torch.testing.assert_close(found, full(model, [*PROMPT, 7]), rtol=0, atol=1e-9)


def test_an_adapter_serves_its_own_tokens():
    """On all tokens it is the merged weight; on the last one alone, the others are as without."""
    model = toy_model("llama", 5)
    g = torch.Generator().manual_seed(1)
    size = model.config.hidden_size
    delta = torch.randn(size, size, generator=g, dtype=torch.float64) / 10
    merged = copy.deepcopy(model)
    for layer in merged.model.layers:
        layer.self_attn.o_proj.weight.data += delta

    class Adapter:
        def __init__(self, rows):
            self.rows = rows

        def add(self, layer, module, inputs, outputs):
            if module == "out":
                outputs[self.rows] += inputs[self.rows] @ delta.T

    for rows, wanted in ((slice(None), full(merged, PROMPT)), (slice(5, 6), None)):
        runner, lane = Runner(FastModel(copy.deepcopy(model)), sdpa.attend), lane_of(model)
        fed = tokens(lane, PROMPT, 0)
        view = plan_pass(fed, runner.cache.append(fed), runner.cache, sdpa.attend)
        ids = torch.tensor(PROMPT)
        with torch.inference_mode():
            given = PassInput(ids, view.positions, view, torch.arange(6), Adapter(rows))
            found = runner.model(given)
        if wanted is not None:
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)
        else:
            plain = full(model, PROMPT)
            torch.testing.assert_close(found[:5], plain[:5], rtol=0, atol=1e-9)
            assert (found[5] - plain[5]).abs().max() > 1e-3
