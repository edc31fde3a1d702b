"""`ptrain publish` stopped at any moment, and completed by the same command."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ptrain.artifacts.test_publish import PUBLISH, send
from tests.support.fake_hub import serving
from tests.support.process_group import SIGNALS, heed_signals, wait_until_gone

KILLS = int(os.environ.get("KILLS", "2"))  # by each signal


@pytest.mark.slow
@pytest.mark.timeout(300 + 120 * KILLS)
@pytest.mark.parametrize("number", SIGNALS, ids=lambda n: n.name)
def test_the_repository_is_that_of_an_undisturbed_run(
    adapter: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """By any signal; no process is left."""
    with serving() as hub:
        begin = time.monotonic()
        assert send(hub, tmp_path, adapter).returncode == 0
        seconds, whole = time.monotonic() - begin, hub.repos["me/x"].files
    rng = random.Random(number)
    for _ in range(KILLS):
        with serving() as hub:
            process = subprocess.Popen(
                [sys.executable, *PUBLISH, str(adapter), "me/x", "--base", "me/base"],
                env=hub.environment(tmp_path), stderr=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, start_new_session=True, preexec_fn=heed_signals,
            )  # fmt: skip
            try:
                process.wait(rng.uniform(0, seconds))
            except subprocess.TimeoutExpired:
                process.send_signal(number)
            process.wait(60)
            assert wait_until_gone(process.pid), "a process is left"
            done = send(hub, tmp_path, adapter)
            assert done.returncode == 0, done.stderr
            assert hub.repos["me/x"].files == whole
