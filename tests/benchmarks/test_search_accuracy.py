"""benchmarks/search_accuracy.py: votes are counted by number; a run goes on where it stopped."""

import json
import subprocess
import sys

import pytest

from benchmarks.search_accuracy import elect
from tests.support.repository import ROOT


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        (["7", "19", "19.0"], "19"),  # one number, written in two ways
        (["", "no", "4"], "4"),
        (["3", "5"], "3"),  # equally many: the first
        (["1,200", "1200", "7", "7"], "1,200"),
        (["", ""], ""),
        ([], ""),
    ],
)
def test_the_number_with_most_votes_is_elected(answers, wanted):
    assert elect(answers) == wanted


@pytest.mark.slow
def test_from_end_to_end_on_the_tiny_model(tmp_path):
    out, problems = tmp_path / "rows.jsonl", tmp_path / "p.jsonl"
    lines = [
        json.dumps({"question": f"What is {i} + 4?", "answer": f"#### {i + 4}"}) for i in (1, 2)
    ]
    problems.write_text("\n".join(lines) + "\n")

    def run(*more):
        script = ROOT / "benchmarks" / "search_accuracy.py"
        command = [sys.executable, script, "--model", "tiny", "--problems", problems, "--out", out]
        sizes = ["--n", "2", "--width", "2", "--keep", "1", "--depth", "2", "--dtype", "float32"]
        return subprocess.run(
            [*command, *sizes, *more], cwd=ROOT, capture_output=True, text=True, timeout=300
        )

    whole = run()
    assert whole.returncode == 0, whole.stderr[-2000:]
    rows = out.read_text().splitlines()
    assert len(rows) == 2
    out.write_text(rows[0] + "\n")
    again = run()
    assert "| search |" in again.stdout and again.stdout.splitlines()[0].startswith("2 ")

    def facts(line):
        row = json.loads(line)
        return [(row[arm]["answer"], row[arm]["tokens"]) for arm in ("search", "greedy", "vote")]

    assert [*map(facts, out.read_text().splitlines())] == [*map(facts, rows)]
    other = run("--seed", "2")
    assert other.returncode == 1 and "expected" in other.stderr.splitlines()[-1]
