"""The demo from end to end, with few traces, steps and prompts: its report is whole."""

import json
import subprocess
import sys

import pytest

from tests.support.repository import ROOT


def test_the_ideal_of_marked_steps_is_what_such_an_answer_takes(monkeypatch) -> None:
    """The passes that are saved; lead and tail may be worded otherwise than in the reference."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from evaluate import PARALLEL_TASKS, decode, held_out, marked_passes

    from pinfer import Engine

    engine = Engine.from_pretrained("tiny", "none", device="cpu")
    records = [r for r in held_out(12) if r.meta["task"] in PARALLEL_TASKS]
    linear, _ = decode(engine, records, "linear", dialect="paper")
    parallel, _ = decode(engine, records, "parallel", dialect="paper")
    ideals = [marked_passes(record, engine) for record in records]
    saved = [a.passes - b.passes for a, b in zip(linear, parallel, strict=True)]
    wanted = [a - b for a, b in ideals]
    assert saved == pytest.approx(wanted, abs=3)
    assert sum(x == y for x, y in zip(saved, wanted, strict=True)) > len(records) / 2


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
