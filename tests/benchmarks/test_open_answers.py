"""benchmarks/open_answers.py: a verdict needs both orders, and the report is whole."""

import json
import subprocess
import sys

import pytest

from benchmarks import open_answers
from tests.support.repository import ROOT


def row(ours: str, theirs: str) -> dict:
    counts = {"blocks": 1, "passes": 10, "tokens": 30, "cpu_seconds": 2.0}
    twin = {"blocks": 0, "passes": 30, "tokens": 30, "cpu_seconds": 5.0}
    return {"prompt": "?", "adapter": {"text": ours, **counts}, "twin": {"text": theirs, **twin}}


@pytest.mark.parametrize(
    ("prefers", "wanted"),
    [
        (lambda judge, prompt, first, second: len(first) > len(second), "win"),
        (lambda judge, prompt, first, second: len(first) < len(second), "lose"),
        (lambda judge, prompt, first, second: True, "tie"),  # whatever stands first
        (lambda judge, prompt, first, second: False, "tie"),
    ],
)
def test_an_answer_wins_in_both_orders_or_not_at_all(monkeypatch, prefers, wanted):
    monkeypatch.setattr(open_answers, "prefers_first", prefers)
    assert open_answers.verdict(None, row("longer", "short")) == wanted


def test_counts_and_ratios():
    rows = [row("a", "b") | {"verdict": v} for v in ("win", "win", "tie", "lose")]
    rows[3]["adapter"]["blocks"] = 0
    found = open_answers.summarise(rows, [True, True, False, False])
    assert (found["win"], found["tie"], found["lose"], found["score"]) == (2, 1, 1, 0.625)
    assert (found["fork_rate"], found["no_fork_rate"]) == (1.0, 0.5)
    assert (found["passes_ratio"], found["cpu_ratio"]) == (3.0, 2.5)
    assert 0 <= found["interval"][0] < 0.625 < found["interval"][1] <= 1


@pytest.mark.slow
def test_from_end_to_end_on_the_tiny_model(tmp_path):
    adapter, prompts = ROOT / "data" / "tiny" / "adapter", tmp_path / "p.jsonl"
    prompts.write_text(
        "".join(
            json.dumps({"id": str(i), "prompt": f"Name {i} things.", "parts": i > 2}) + "\n"
            for i in (2, 3)
        )
    )
    command = [
        *(sys.executable, ROOT / "benchmarks" / "open_answers.py", prompts, "--model", "tiny"),
        *("--adapter", adapter, "--twin", adapter, "--judge", "tiny", "--max-new-tokens", "20"),
        *("--judge-dtype", "float32", "--out", tmp_path / "report.json"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["eval"]["prompts"] == len(report["rows"]) == 2
    assert {row["verdict"] for row in report["rows"]} <= {"win", "tie", "lose"}
