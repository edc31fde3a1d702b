"""`pdata build` killed at any moment, by any signal, and resumed: the files of an undisturbed run,
and no process is left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pdata.record import rejected_path, write_jsonl
from pdata.synthetic.generator import make_record

from tests.pdata.llm.test_rewriter import brain, make_trace_of
from tests.support.chat_server import serving
from tests.support.process_group import SIGNALS, heed_signals, kill_at_random

KILLS = int(os.environ.get("KILLS", "3"))  # by each signal; a minute each on a core that is shared
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Runs:
    """Runs over one source with the same options."""

    source: Path
    options: list[str]

    def start(self, out: Path) -> subprocess.Popen:
        command = [sys.executable, "-m", "pdata.cli", "build", self.source, "--out", out]
        return subprocess.Popen(
            [*command, *self.options, "--resume"], stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, start_new_session=True, preexec_fn=heed_signals,
        )  # fmt: skip

    def finish(self, out: Path) -> list[bytes]:
        """What it has written at the end: records, rejected lines."""
        process = self.start(out)
        said = process.communicate(timeout=300)[1]
        assert process.returncode == 0, said
        return [path.read_bytes() for path in (out, rejected_path(out))]


@pytest.fixture(scope="module", params=["rules", "workers", "llm"])
def runs(request: Any, tmp_path_factory: Any) -> Iterator[Runs]:
    source = tmp_path_factory.mktemp("kill") / "s.jsonl"
    if request.param == "llm":
        traces = [make_trace_of(n) for n in range(60)]
        rows = [{"prompt": t["prompt"], "response": t["text"]} for t in traces]
        source.write_text("".join(json.dumps(row) + "\n" for row in rows) + "broken\n")

        def answer(messages: list[dict[str, str]]) -> str:
            time.sleep(0.02)
            return brain(messages)

        with serving(answer) as server:
            options = ["--rewriter", "llm", "--base-url", server.url, "--model", "m"]
            yield Runs(source, [*options, "--workers", "4"])
        return
    write_jsonl(source, [make_record("records", 3, i, 4, "train") for i in range(600)])
    with open(source, "a") as file:
        file.write("broken\n")
    several = ["--workers", "2", "--drop-near-duplicates"]
    yield Runs(source, several if request.param == "workers" else [])


@pytest.mark.timeout(300 + 120 * KILLS)
@pytest.mark.parametrize("number", SIGNALS, ids=lambda n: n.name)
def test_killed_and_resumed(tmp_path: Path, runs: Runs, number: signal.Signals) -> None:
    def check(said: bytes) -> None:
        # a worker that is being started may say that its parent is gone
        if b"--map role=key" in said and (number is signal.SIGINT or "2" not in runs.options):
            assert b"Traceback" not in said, said

    kill_at_random(runs.start, runs.finish, tmp_path, number, KILLS, check)
