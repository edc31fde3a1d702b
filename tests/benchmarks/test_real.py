"""benchmarks/real.py from end to end on the shipped tiny model: its report is whole."""

import json
import subprocess
import sys

import pytest

from tests.support.repository import ROOT


def test_what_is_wrong_is_said_in_one_line(tmp_path):
    command = [sys.executable, ROOT / "benchmarks" / "real.py", "--model", tmp_path / "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ") and "none" in done.stderr


@pytest.mark.slow
def test_the_report_is_whole(tmp_path):
    out, adapter = tmp_path / "report.json", ROOT / "data" / "tiny" / "adapter"
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "benchmarks" / "real.py", "--out", out, "--model", "tiny"),
            *("--adapter", adapter, "--twin", adapter, "--prompts", "10", "--timed", "8"),
            *("--max-new-tokens", "120", "--answers", tmp_path / "answers.jsonl"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(out.read_text())
    found = report["eval"]
    assert (report["model"], report["threads"], found["n"]) == ("tiny", 1, 10)
    for mode in ("linear", "serial", "parallel"):
        assert {"accuracy", "passes", "seconds", "cpu_seconds", "interval"} <= set(found[mode])
    assert {"format_rate", "fork_rate", "no_fork_rate"} <= set(found["parallel"])
    assert {"passes_ratio", "ideal_ratio", "efficiency", "long"} <= set(found)
    assert set(found["by_task"]) == {"records", "sums", "cases", "chain", "resume"}
    for timed in ("one_at_a_time", "batches_of_8"):
        took = found[timed]
        assert took["prompts"] == 8 and took["cpu_ratio"] > 0
        assert took["linear_cpu_seconds"] > 0 < took["parallel_cpu_seconds"]
    rows = [json.loads(x) for x in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len(rows) == 10
    for mode in ("linear", "serial", "parallel"):
        right = sum(row[mode]["right"] for row in rows)
        assert right / 10 == pytest.approx(found[mode]["accuracy"]) and rows[0][mode]["text"]
    assert "10 held-out prompts" in done.stdout and "format kept" in done.stdout
