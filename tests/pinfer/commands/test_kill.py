"""`pinfer generate --resume` killed at any moment, by any signal, and run again: the answers of an
undisturbed run, in order, and no process is left."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from pdata.synthetic.generator import make_record

from tests.support.process_group import SIGNALS, heed_signals, kill_at_random

KILLS = int(os.environ.get("KILLS", "3"))  # by each signal
pytestmark = pytest.mark.slow
CLOCK = ("prefill_seconds", "decode_seconds", "tokens_per_second")


def start(prompts: Path, out: Path) -> subprocess.Popen:
    command = ["-m", "pinfer", "generate", "--prompts", prompts, "--output", out, "--json"]
    return subprocess.Popen(
        [sys.executable, *map(str, command), "--resume"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, start_new_session=True, preexec_fn=heed_signals,
    )  # fmt: skip


def finish(prompts: Path, out: Path) -> list[dict]:
    """The answers at the end, without what the clock says; they stand as the prompts do."""
    process = start(prompts, out)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    asked = [json.loads(line)["id"] for line in prompts.read_text().splitlines()]
    assert [row["id"] for row in rows] == asked
    for row in rows:
        for name in CLOCK:
            del row["stats"][name]
    return rows


@pytest.mark.timeout(300 + 120 * KILLS)
@pytest.mark.parametrize("number", SIGNALS, ids=lambda n: n.name)
def test_killed_and_resumed(tmp_path: Path, number: signal.Signals) -> None:
    prompts = tmp_path / "prompts.jsonl"
    records = [make_record("records", 3, i, 3 + i % 4, "train") for i in range(16)]
    rows = [{"id": r.id, "messages": list(r.messages)} for r in records]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kill_at_random(partial(start, prompts), partial(finish, prompts), tmp_path, number, KILLS)
