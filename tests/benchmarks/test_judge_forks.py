"""benchmarks/judge_forks.py: blocks are found again by their label, and scored in five ways."""

import importlib.util
import json
import math
import sys

import pytest
from pdata.judge.judge import Judge

from tests.support.repository import ROOT

ALIKE = "As asked:\n1. Oak: 12 rings.\n2. Elm: 30 rings.\n\nThat is all."
CHAIN = "So:\n1. Say 7 + 8 = 15.\n2. Then 15 + 15 = 30.\n\nThe end."


@pytest.fixture
def judge_forks(monkeypatch):
    path = ROOT / "benchmarks" / "judge_forks.py"
    spec = importlib.util.spec_from_file_location("judge_forks", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "judge_forks", module)
    spec.loader.exec_module(module)
    return module


def label(line: int, text: str, verdict: str) -> dict:
    """The two numbered lines of `text` as a labelled block."""
    start, cut, end = (
        len("".join(text[: text.index(mark)].split())) for mark in ("1.", "2.", "\n\nTh")
    )
    where = {"file": "a.jsonl", "line": line, "start": start, "cuts": [cut], "end": end}
    kind = {"kind": "dependent"} if verdict == "wrong" else {}
    return where | {"verdict": verdict, "reason": "", **kind}


def test_labelled_blocks_are_scored(judge_forks, tmp_path):
    rows = [{"prompt": "Count.", "completion": text} for text in (ALIKE, CHAIN)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    labels = [label(1, ALIKE, "right"), label(2, CHAIN, "wrong")]
    blocks = judge_forks.find_blocks(str(tmp_path), labels, 0, 9)
    assert [b[2:] for b in blocks] == [
        ("So:\n", ["1. Say 7 + 8 = 15.", "2. Then 15 + 15 = 30."]),
        ("As asked:\n", ["1. Oak: 12 rings.", "2. Elm: 30 rings."]),
    ]
    judge = Judge("tiny")
    scored = list(judge_forks.measure(judge, blocks, 1000))
    assert all(len(r["scores"]) == 5 and all(map(math.isfinite, r["scores"])) for r in scored)
    table = judge_forks.format_table(scored, 60.0).splitlines()
    assert len(table) == 8 and table[-1].startswith("2 blocks, 1 wrong (1 dependent); 2 a minute")
    assert not list(judge_forks.measure(judge, blocks, 5))  # both are longer


def test_the_area_counts_pairs_and_halves_ties(judge_forks):
    wrong = [True, True, False, False]
    assert judge_forks.area([4, 3, 2, 1], wrong) == 1
    assert judge_forks.area([1, 1, 1, 1], wrong) == 0.5
    assert judge_forks.area([4, 1, 3, 2], wrong) == 0.5
    assert math.isnan(judge_forks.area([1], [True]))
