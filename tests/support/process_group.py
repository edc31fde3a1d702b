"""Processes that a test starts in a session of their own: killed at random, and whether all of them
end."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


def heed_signals() -> None:
    """For `preexec_fn`: what a job in the background, or nohup, ignores is heeded again."""
    for number in SIGNALS[1:]:
        signal.signal(number, signal.SIG_DFL)


def wait_until_gone(group: int, seconds: float = 20) -> bool:
    """Whether all processes of a group, whose number is its first one's, end in so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def kill_at_random(
    start: Callable[[Path], subprocess.Popen],
    finish: Callable[[Path], Any],
    folder: Path,
    number: signal.Signals,
    kills: int,
    check: Callable[[bytes], None] = lambda said: None,
) -> None:
    """Stop runs that write a file of `folder` by a signal, at random moments, so many times in all.
    Each goes on where the one before was stopped; one that ends has to leave what an undisturbed
    run has left, and another begins. finish: runs to the end, and returns what is there; check: of
    the stderr, a pipe, of a run that was stopped."""
    begin = time.monotonic()
    whole = finish(folder / "whole.jsonl")
    seconds, rng = time.monotonic() - begin, random.Random(number)
    killed, out = 0, folder / "0.jsonl"
    while killed < kills:
        process = start(out)
        try:
            process.wait(rng.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            killed += 1
        said = process.communicate(timeout=60)[1]
        assert wait_until_gone(process.pid), "a process is left"
        check(said)
        if process.returncode == 0:
            assert finish(out) == whole
            out = folder / f"{killed}.jsonl"
    assert finish(out) == whole
