"""benchmarks/train.py runs, and its arms have the same targets."""

import importlib.util
import json
import sys

import pytest

from ptrain.model.attention import BRANCH_BANDS
from tests.support.repository import ROOT

PATH = ROOT / "benchmarks" / "train.py"


@pytest.fixture(scope="module")
def train():
    spec = importlib.util.spec_from_file_location("train_benchmark", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def settings(train):
    return train.Settings(
        layers=1, hidden=64, vocabulary=256, max_length=900, rounds=1, traces=((2, 16), (3, 24))
    )


def test_arms_have_the_same_targets(train, settings):
    model = train.make_model(settings)
    arms = train.make_arms(2, 16, settings, model.config)
    targets = {
        name: sorted(t for b in arm.batches for t in b["shift_labels"].flatten().tolist())
        for name, arm in arms.items()
    }
    targets = {name: [t for t in found if t != -100] for name, found in targets.items()}
    assert targets["tree"] == targets["paths"] == targets["plain"] != []
    assert {name: arm.attention for name, arm in arms.items()} == {
        "tree": BRANCH_BANDS, "paths": "sdpa", "plain": "sdpa",
    }  # fmt: skip
    assert len(arms["tree"].batches) == 1  # two traces packed
    assert arms["tree"].tokens == arms["plain"].tokens <= 900
    assert all(b["input_ids"].numel() <= 900 for b in arms["paths"].batches)


def test_it_measures_and_prints(train, settings, monkeypatch, capsys):
    results = train.run(settings)
    assert [(r.branches, r.branch_tokens) for r in results] == [(2, 16), (3, 24)]
    assert all(r.ideal > 2 and r.against_paths > 0 and r.against_plain > 0 for r in results)
    lines = train.draw_table(results, settings).splitlines()
    assert "share of ideal" in lines[5] and len(lines) == 8
    monkeypatch.setattr(train, "run", lambda settings: results)
    monkeypatch.setattr(sys, "argv", ["train.py", "--json"])
    train.main()
    printed = json.loads(capsys.readouterr().out)
    assert printed["settings"]["layers"] == 2 and printed["results"][0]["branches"] == 2
