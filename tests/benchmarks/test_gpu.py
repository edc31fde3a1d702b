"""The parts of benchmarks/gpu.py that need no GPU: arguments, counts, forced answers, targets."""

import itertools
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from pinfer.attention import dense
from pinfer.attention.flash import Flash
from pinfer.attention.varlen_kernels import Kernel
from pinfer.kv_cache.arena import Arena
from pinfer.models.fast import FastModel
from tests.support.fake_cuda_graph import varlen_operator
from tests.support.repository import ROOT
from tests.support.toy_engine import LetterTokenizer, build_model

torch.set_num_threads(1)
SCRIPTS = ROOT / "benchmarks"


@pytest.fixture
def gpu(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import gpu

    return gpu


def run(*args):
    return subprocess.run(
        [sys.executable, SCRIPTS / "gpu.py", *args], capture_output=True, text=True, timeout=120
    )


def test_arguments():
    """Without a GPU it measures nothing, and says so."""
    assert "parallel_gain" in run("--help").stdout
    wrong = run("--shapes", "qwen3-9b")
    assert wrong.returncode == 2 and "'qwen3-9b': expected qwen3-8b, qwen3-0.6b" in wrong.stderr
    wrong = run("--branches", "1,0")
    assert wrong.returncode == 2 and "'1,0': expected numbers above 0" in wrong.stderr
    if not torch.cuda.is_available():
        done = run("--out", "nowhere.json")
        assert done.returncode == 1 and "no CUDA device here" in done.stderr


def test_a_step_reads_its_weights_and_what_its_rows_see(gpu):
    """A shared prefix once; parameters as transformers counts them, less an unshared embedding."""
    from transformers import AutoModelForCausalLM

    assert gpu.SHAPES["qwen3-8b"].parameters == pytest.approx(7.57e9, rel=1e-3)
    assert gpu.SHAPES["qwen3-0.6b"].parameters == pytest.approx(596e6, rel=1e-3)
    for shape in gpu.SHAPES.values():
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(shape.config(1024))
        count = sum(p.numel() for p in model.parameters())
        assert shape.parameters == count - (not shape.tied) * shape.vocabulary * shape.hidden
        row = 2 * shape.layers * shape.kv_heads * shape.dim * 2
        assert shape.step_bytes(8, 2048, 512) == 2 * shape.parameters + row * (2048 + 8 * 512)


def test_targets_are_of_what_was_measured(gpu):
    assert gpu.targets([], []) == []
    steps = [
        gpu.Step("qwen3-8b", 2048, n, 9.0, ms, 5.0, 0.1, 0.7) for n, ms in ((1, 6.0), (8, 6.9))
    ]
    gains = [gpu.Gain("qwen3-8b", 2048, 8, 7.2, 1.0), gpu.Gain("qwen3-8b", 2048, 16, 11.0, 1.0)]
    found = {t["what"]: (round(t["found"], 2), t["met"]) for t in gpu.targets(steps, gains)}
    assert found == {
        "8B, 2K: step at 8 branches / at 1": (1.15, False),
        "8B, 2K: share of bandwidth at 1": (0.7, True),
        "8B, 2K: eager / graph at 1": (1.5, True),
        "8B, 2K: parallel_gain at 8": (7.2, True),
        "8B, 2K: parallel_gain at 16": (11.0, False),
    }


def small(gpu):
    return gpu.Shape(48, 64, 2, 4, 2, tied=True, dim=16, vocabulary=64)


def test_the_view_of_a_step_shares_its_prefix(gpu):
    view = gpu.step_view(small(gpu), 20, 3, 5, torch.device("cpu"), torch.float64, dense.attend)
    assert dense.visible_slots(view).sum(1).tolist() == [26] * 3
    assert view.arena.rows == 20 + 3 * 6 and view.positions.tolist() == [25] * 3
    seen = dense.visible_slots(view)
    assert seen[torch.arange(3), view.slots].all() and (seen.sum(0) == 3).sum() == 20


def test_forced_answers_have_the_passes_they_should(gpu, monkeypatch):
    """Branches side by side, then one by one: as many words in both, and no other pass is timed."""
    ticks = itertools.count()
    monkeypatch.setattr(gpu, "LENGTH", 5)
    monkeypatch.setattr(gpu, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    model = build_model("qwen3", LetterTokenizer(), vocab_size=64).double()
    rows = []

    class Watched(FastModel):
        def __call__(self, batch):
            rows.append(len(batch.token_ids))
            return super().__call__(batch)

    shape = small(gpu)
    flash = Flash(Kernel("fake", varlen_operator, heads_first=True), chunk=8)
    decoder = SimpleNamespace(
        shape=shape,
        device=torch.device("cpu"),
        captured=Watched(model),
        flash=flash,
        wait=lambda: None,
    )
    arena = Arena(2, decoder.device)
    with torch.inference_mode():
        assert gpu.branch_seconds(decoder, arena, "parallel", 9, 3) == 5
        assert rows[-7:] == [3, 3, 3, 3, 3, 4, 1]  # words; ends and the join; the word behind it
        assert gpu.branch_seconds(decoder, arena, "serial", 9, 3) == 15
    assert arena.rows == 0
