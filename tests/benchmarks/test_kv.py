"""benchmarks/kv.py at small sizes: every arm answers, a run goes on, full attention is the rule."""

import json
import subprocess
import sys

from tests.support.repository import ROOT


def kv(*options):
    command = [sys.executable, ROOT / "benchmarks" / "kv.py", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_accuracy_is_measured_arm_by_arm_and_goes_on(tmp_path):
    problems, out = tmp_path / "problems.jsonl", tmp_path / "run.jsonl"
    rows = [{"prompt": f"Add {n} and 3.", "answer": str(n + 3)} for n in range(3)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    how = ["accuracy", "--problems", problems, "--out", out, "--model", "tiny", "--page", 4,
           "--max-new-tokens", 24, "--policies", "raas,sink", "--batch", 2]  # fmt: skip
    kv(*how, "--budgets", "50%", "--n", 2)
    shown = kv(*how, "--budgets", "50%")
    found = [json.loads(line) for line in out.read_text().splitlines()]
    arms = ["full", "raas 50%", "sink 50%"]
    keys = sorted((r["arm"], r["problem"]) for r in found)
    assert keys == [(arm, i) for arm in arms for i in range(3)]
    assert sum(line.startswith("| ") for line in shown.splitlines()) == 4
    kv("table", out, "--json", tmp_path / "table.json")
    table = {row["arm"]: row for row in json.loads((tmp_path / "table.json").read_text())}
    assert (
        table["full"]["p"] == 1 and table["full"]["evictions"] == 0 < table["sink 50%"]["evictions"]
    )
    assert table["raas 50%"]["kv_rows"] < table["full"]["kv_rows"]


def test_step_times_are_measured_at_lengths():
    shown = kv("length", "--shape", "64,2,2,32,2", "--budget", 96, "--lengths", "128,256",
               "--steps", 2)  # fmt: skip
    rows = [line.split("|") for line in shown.splitlines() if line.startswith("| ")][1:]
    slots = {(row[1].strip(), int(row[2])): int(row[4]) for row in rows}
    assert slots["full", 256] == 256 > slots["raas", 256] and slots["raas", 256] <= 96 + 16
    assert shown.splitlines()[-1].startswith("raas: below full attention from ")
