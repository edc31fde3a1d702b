"""Work in processes: in order, lost to no kill, and no process is left, however a run ends."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from pdata.worker_processes import map_in_processes

from pbranch.errors import DataError
from tests.support.process_group import SIGNALS, heed_signals, wait_until_gone


def double(number: int) -> int:
    return 2 * number


def die_at_seven(number: int) -> int:
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def sleep_once_begun(number: int) -> int:
    time.sleep(300 * number)  # the first item is done at once
    return number


def test_results_come_in_order_and_items_are_read_as_needed() -> None:
    read = []

    def items():
        for number in range(50):
            read.append(number)
            yield number

    with closing(map_in_processes(double, items(), 2)) as found:
        assert next(found) == (0, 0) and 2 <= len(read) <= 6
        assert list(found) == [(number, 2 * number) for number in range(1, 50)]


def test_a_worker_that_is_killed_ends_the_run_with_one_line() -> None:
    with pytest.raises(DataError, match="a worker process has ended before its work"):
        list(map_in_processes(die_at_seven, range(100), 2))


def answer_long(number: int) -> str:
    return f"{number}" * 2**21  # more than a pipe holds: a worker is at writing it for a while


@pytest.mark.parametrize("seed", range(6))
def test_left_while_results_are_written(seed: int) -> None:
    begin = time.monotonic()
    with closing(map_in_processes(answer_long, range(50), 2)) as found:
        for _ in range(1 + seed % 3):
            next(found)
        time.sleep(random.Random(seed).uniform(0, 0.02))
    assert time.monotonic() - begin < 60


def fail_at_seven(number: int) -> int:
    if number == 7:
        raise DataError("seven")
    return number


def test_what_the_function_raises_is_raised_in_order() -> None:
    with closing(map_in_processes(fail_at_seven, range(100), 2)) as found:
        with pytest.raises(DataError, match="seven"):
            for number in range(100):
                assert next(found) == (number, number)
        assert number == 7


def test_left_early_it_waits_for_nobody() -> None:
    begin = time.monotonic()
    with closing(map_in_processes(sleep_once_begun, range(9), 2)) as found:
        assert next(found) == (0, 0)
    assert time.monotonic() - begin < 60


SCRIPT = """
from pdata.worker_processes import map_in_processes
from tests.pdata.test_worker_processes import sleep_once_begun
if __name__ == "__main__":
    for _ in map_in_processes(sleep_once_begun, range(9), 2):
        print("begun", flush=True)
"""


@pytest.mark.parametrize("number", SIGNALS, ids=lambda n: n.name)
def test_workers_end_with_their_parent(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, start_new_session=True,
        preexec_fn=heed_signals,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == b"begun\n"
    process.send_signal(number)
    process.wait(60)
    assert wait_until_gone(process.pid)
