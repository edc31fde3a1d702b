"""Recorded decoding steps give the logits of eager ones, whatever they are replayed for."""

import random

import pytest
import torch

from pinfer import core
from pinfer.attention import sdpa
from pinfer.attention.flash import Flash, Planner
from pinfer.attention.varlen_kernels import Kernel
from pinfer.attention.view import Part
from pinfer.execution.forward import PassInput
from pinfer.execution.pass_plan import plan_pass
from pinfer.kv_cache.arena import Arena
from pinfer.kv_cache.lanes import LaneCache
from pinfer.models.cuda_graphs import ROWS, CudaGraphModel, GraphShape, Inputs, with_cuda_graphs
from pinfer.models.fast import FastModel
from pinfer.params import EngineLimits
from tests.conftest import build_model
from tests.pinfer.attention.test_backends import a_view
from tests.support import toy_engine
from tests.support.fake_cuda_graph import tape, varlen_operator
from tests.support.toy_engine import SIZE, LetterTokenizer, Toy, greedy, reference_tokens

torch.set_num_threads(1)
FLASH = Flash(Kernel("fake", varlen_operator, heads_first=True), chunk=8)


def family_model(kind, seed, **overrides):
    """A float64 model that the fast path serves; it leans towards markers."""
    model = build_model(kind, LetterTokenizer(), seed=seed, vocab_size=SIZE, **overrides).double()
    bias = torch.zeros(SIZE, dtype=torch.float64)
    for token, value in toy_engine.LEAN.items():
        bias[token] = value
    model.lm_head.bias = torch.nn.Parameter(bias)
    return model


class TwoRunners:
    """Runs each pass eagerly, and then as a recorded step where it is one, over the same arena."""

    def __init__(self, model, backend, make_capture=lambda: tape, near=1e-11, grows=(), moves=()):
        self.backend, self.near, self.grows, self.moves = backend, near, grows, moves
        self.fast = model if isinstance(model, FastModel) else FastModel(model)
        self.captured_model = CudaGraphModel(self.fast, lambda: self.counted(make_capture()))
        self.device = self.captured_model.device
        self.arena = Arena(self.captured_model.layers, self.device, slots=32)
        self.cache = LaneCache(self.arena)
        self.captured, self.passes, self.usual, self.replayed = [], 0, 0, 0

    def counted(self, capture):
        def count(step):
            replay, logits = capture(step)
            self.captured.append(self.arena.slots)

            def again():
                self.replayed += 1
                replay()

            return again, logits

        return count

    @torch.inference_mode()
    def run(self, batch):
        if self.passes in self.grows:  # all keys and values move to new tensors
            self.arena.release(self.arena.open(self.arena.slots + 1))
        if self.passes in self.moves:  # those of one layer do
            old = self.arena.keys[1]
            self.arena.keys[1] = old.clone()
            old.fill_(float("nan"))
        placement = self.cache.append(batch.tokens)
        view = plan_pass(batch.tokens, placement, self.cache, self.backend)
        rows = ([r.token_id for r in batch.tokens], view.positions.tolist(), batch.logits_indices)
        tokens, positions, needed = (torch.tensor(x, device=self.device).long() for x in rows)
        given = PassInput(tokens, positions, view, needed)
        eager = self.fast(given)
        self.passes += 1
        self.usual += not view.groups and len(batch.tokens) <= ROWS[-1]
        found = self.captured_model(given)
        torch.testing.assert_close(found, eager, rtol=0, atol=self.near)
        self.cache.finish_pass(batch.tokens)
        return found


def decode(monkeypatch, model, prompts, params, limits=None, backend=FLASH, **how):
    """Greedy tokens by recorded steps, and what the runner counted."""
    runners = []

    def make(model, backend, policy, cache):
        assert policy is None and type(cache) is LaneCache, "no budget"
        runners.append(TwoRunners(model, backend, **how))
        return runners[-1]

    monkeypatch.setattr(toy_engine, "get_backend", lambda name: backend)
    monkeypatch.setattr(core, "Runner", make)
    return Toy(model, limits=limits, backend="flash").tokens(prompts, params), runners[0]


@pytest.mark.parametrize("kind", ["qwen3", "qwen2", "llama"])
def test_whole_answers_by_recorded_steps(kind, monkeypatch):
    """Requests that fork, nest and join side by side: every usual pass is replayed, logits are the
    eager ones, and tokens the reference's."""
    model, rng = family_model(kind, 21), random.Random(5)
    prompts = [[rng.randrange(16) for _ in range(rng.randint(1, 40))] for _ in range(3)]
    params = greedy(max_new_tokens=40)
    tokens, runner = decode(monkeypatch, model, prompts, params)
    assert runner.passes > runner.usual > runner.passes / 3
    assert runner.usual - 1 <= runner.replayed <= runner.usual  # the first pass may be usual
    assert len(runner.captured) < runner.replayed / 2, "steps are recorded again and again"
    for prompt, found in zip(prompts, tokens, strict=True):
        assert found == reference_tokens(model, prompt, params)


def test_steps_are_recorded_anew_when_the_arena_has_moved(monkeypatch):
    model = family_model("qwen3", 3)
    params = greedy(mode="linear", max_new_tokens=150)
    whole = Flash(FLASH.kernel)  # one chunk: the size is the same throughout
    tokens, runner = decode(monkeypatch, model, [[1, 2, 3]], params, backend=whole, grows={9, 12})
    assert runner.captured == sorted(set(runner.captured)), "recorded twice over the same arena"
    assert len(runner.captured) >= 3 and runner.captured[-1] == runner.arena.slots
    assert tokens == [reference_tokens(model, [1, 2, 3], params)]
    assert all(r.inputs.shape.rows == 1 for r in runner.captured_model.captured.values())


def test_steps_are_recorded_anew_when_one_layer_has_moved(monkeypatch):
    """As it may when all are made anew, and most come to lie where they were."""
    model, params = family_model("qwen3", 3), greedy(mode="linear", max_new_tokens=20)
    tokens, runner = decode(monkeypatch, model, [[1, 2, 3]], params, moves={9, 12})
    assert runner.passes == 20 and len(runner.captured) >= 3
    assert tokens == [reference_tokens(model, [1, 2, 3], params)]


def test_more_rows_than_a_recording_holds_run_eagerly(monkeypatch):
    """34 requests at once; and none is recorded for a model with sliding windows."""
    model = family_model("qwen3", 4, num_hidden_layers=1)
    prompts = [[i % 16, 1] for i in range(ROWS[-1] + 2)]
    params = greedy(mode="linear", max_new_tokens=4)
    _, runner = decode(monkeypatch, model, prompts, params, EngineLimits(max_prefix_rows=0))
    assert runner.passes > 1 and runner.replayed == runner.usual < runner.passes
    windowed = family_model("mistral", 4, num_hidden_layers=1)
    _, runner = decode(monkeypatch, windowed, [[1, 2]], greedy())
    assert runner.usual and not runner.replayed


def test_other_backends_are_left_alone():
    model = family_model("qwen3", 4, num_hidden_layers=1)
    runner = TwoRunners(model, FLASH)
    calls = []
    runner.captured_model.model = lambda *arguments: calls.append(arguments)
    view = a_view([40], [Part(torch.tensor([0]), 0, 41)])
    given = PassInput(torch.tensor([1]), view.positions, view, torch.tensor([0]))
    runner.captured_model(given)
    assert calls == [(given,)] and not runner.captured_model.captured


def test_what_cannot_be_recorded_stays_as_it_is():
    fast = FastModel(family_model("qwen3", 4, num_hidden_layers=1))
    assert isinstance(with_cuda_graphs(fast, FLASH), CudaGraphModel)
    assert with_cuda_graphs(fast, sdpa.attend) is fast
    general = object()
    assert with_cuda_graphs(general, FLASH) is general


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_inputs_pad_a_pass_by_its_last_row(rows):
    """What a plan has not goes nowhere: sequences without rows, places of weight 0."""
    own = [Part(torch.tensor([i]), 20 + 4 * i, i % 3 + 1) for i in range(rows)]
    view = a_view([41 + i for i in range(rows)], [Part(torch.arange(rows), 0, 20), *own])
    plan = Planner(groups=2, chunk=8).plan(view)
    size = GraphShape.of(plan)
    assert (size.rows, size.max_spans) == ({1: 1, 3: 4, 5: 8}[rows], 4)
    assert size.sequences == {1: 4, 3: 8, 5: 8}[rows]  # 3 of the prefix, one a row
    inputs = Inputs(size, torch.device("cpu"))
    inputs.fields[4].fill_(99)
    inputs.fill(torch.arange(rows) + 7, view, plan)
    assert inputs.tokens.tolist() == [7 + min(i, rows - 1) for i in range(size.rows)]
    assert inputs.positions.tolist() == [41 + min(i, rows - 1) for i in range(size.rows)]
    assert inputs.slots[-1] == view.slots[-1]
    padded = inputs.plan(groups=2, chunk=8)
    s, n = padded.sequences, len(plan.sequences.used)
    assert s.used.tolist() == [*plan.sequences.used.tolist(), *[0] * (size.sequences - n)]
    assert s.q[n:].unique().tolist() == [2 * len(plan.rows)]
    assert (s.k.diff() >= 0).all() and s.k[: n + 1].equal(plan.sequences.k)
    assert (s.max_q, s.max_k) == (2 * size.rows, 8)
    index, bias = padded.merge.index, padded.merge.bias[..., 0]
    for row in range(size.rows):
        places = index[row][bias[row] == 0].tolist()
        assert places == plan.merge.index[min(row, rows - 1)].tolist()


def test_what_is_computed_as_products_is_not_recorded():
    mask = torch.ones(1, 4, dtype=torch.bool)
    parts = [Part(torch.tensor([0]), 0, 8), Part(torch.tensor([0]), 8, 4, mask)]
    assert GraphShape.of(Planner(groups=2).plan(a_view([40], parts))) is None
    assert GraphShape.of(Planner(groups=2).plan(a_view([40], parts[:1]))) == GraphShape(1, 1, 1)
    assert GraphShape.of(Planner(groups=2, whole=False).plan(a_view([40], parts[:1]))) is None
