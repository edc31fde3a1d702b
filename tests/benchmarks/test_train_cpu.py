"""benchmarks/train_cpu.py runs, and its arms learn the same targets."""

import importlib.util
import json
import sys

import pytest

from pbranch.hf.base_models import locate
from tests.support.repository import ROOT

PATH = ROOT / "benchmarks" / "train_cpu.py"


@pytest.fixture
def train_cpu(monkeypatch):
    monkeypatch.syspath_prepend(str(PATH.parent))  # where its sibling lies
    spec = importlib.util.spec_from_file_location("train_cpu", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_measures_and_prints(train_cpu, monkeypatch, capsys):
    monkeypatch.setattr(train_cpu, "measure_peak", lambda arm, args: 1)
    command = ["train_cpu.py", "--model", locate("tiny"), "--dtype", "float32", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", [*command, "--json"])
    train_cpu.main()
    found = json.loads(capsys.readouterr().out)
    assert found["tokens"] > 500 and found["tokens_per_second"].keys() == set(train_cpu.ARMS)
    assert found["against"].keys() == {"markers", "plain"} and min(found["against"].values()) > 0
    monkeypatch.setattr(sys, "argv", [*command, "--peak", "ours"])
    train_cpu.main()
    assert int(capsys.readouterr().out) > 1e8
