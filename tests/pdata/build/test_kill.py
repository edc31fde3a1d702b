"""`pdata build` killed at any moment, by any signal, and resumed: the files of an undisturbed run,
and no process is left."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pdata.record import rejected_path, write_jsonl
from pdata.synthetic.generator import make_record

KILLS = int(os.environ.get("KILLS", "12"))
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


def start(source: Path, out: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "pdata.cli", "build", source, "--out", out, *options]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def wait_until_gone(group: int) -> bool:
    """Whether all processes of a group end soon."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--workers", "2", "--drop-near-duplicates"]], ids=len)
def test_killed_and_resumed(tmp_path: Path, options: list[str]) -> None:
    """KILLS: how many."""
    source, whole = tmp_path / "s.jsonl", tmp_path / "whole.jsonl"
    write_jsonl(source, [make_record("records", 3, i, 4, "train") for i in range(600)])
    with open(source, "a") as file:
        file.write("broken\n")
    begin = time.monotonic()
    assert start(source, whole, *options).wait() == 0
    seconds, rng = time.monotonic() - begin, random.Random(len(options))
    for number in range(KILLS):
        out = tmp_path / f"{number}.jsonl"
        for attempt in range(2):
            process = start(source, out, *options, *["--resume"][: attempt or number % 2])
            time.sleep(rng.uniform(0.2, seconds))
            # else Ctrl-C may come while Python itself starts, or a kill while it starts workers
            quiet = out.exists() and not options
            process.send_signal(SIGNALS[number % len(SIGNALS)])
            said = process.communicate()[1]
            assert b"Traceback" not in said or not quiet, said
            assert wait_until_gone(process.pid), "a worker is left"
        assert start(source, out, *options, "--resume").wait() == 0
        for path, expected in ((out, whole), (rejected_path(out), rejected_path(whole))):
            assert path.read_bytes() == expected.read_bytes(), (number, path)
