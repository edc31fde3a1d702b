"""The demo from end to end, with few traces, steps and prompts: its report is whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_demo_writes_its_report(tmp_path) -> None:
    out = tmp_path / "demo"
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "benchmarks" / "demo.py", "--out", out),
            *("--traces", "80", "--steps", "2", "--prompts", "8"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((out / "report.json").read_text())
    data, train, found = report["data"], report["train"], report["eval"]
    assert data["traces_in"] == data["traces_out"] + data["rejected"] == 80
    assert data["forked"] == 60  # all but the chains
    assert train["steps"] == 2 and train["trainable_params"] > 0
    assert {"seconds", "loss_first", "loss_last"} <= set(train)
    assert found["n"] == 8
    assert {"passes_ratio", "ideal_ratio", "efficiency", "slower_share"} <= set(found)
    for mode in ("linear", "serial", "parallel"):
        assert {"accuracy", "passes", "seconds"} <= set(found[mode])
    rates = {"format_rate", "fork_rate", "no_fork_rate", "mean_branches"}
    assert rates <= set(found["parallel"])
    assert set(found["by_task"]) == {"records", "sums", "cases", "chain"}
    marks = found["marks"]
    assert {"passes_ratio", "ideal_ratio", "efficiency", "slower_share", "long"} <= set(marks)
    assert {"accuracy", "passes", "fork_rate"} <= set(marks["parallel"])
    assert "marks only" in done.stdout and "not the method" in done.stdout
