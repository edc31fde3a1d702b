"""Limits around foreign code: it ends, and what ran before and after is as it was."""

import re
import resource
import signal
import threading
import time

import pytest

from pbranch.bounds import bounded


def spin():
    while True:
        try:
            time.thread_time()
        except Exception:
            pass


@pytest.mark.parametrize(
    "body",
    [
        spin,
        lambda: 9**9**9,
        lambda: re.fullmatch("(a+)+$", "a" * 60 + "b"),
    ],
    ids=["loop", "power", "pattern"],
)
def test_what_never_ends_ends(body):
    before = signal.getsignal(signal.SIGPROF)
    with pytest.raises(TimeoutError, match=r"more than 0\.2 s"), bounded(0.2):
        body()
    assert signal.getsignal(signal.SIGPROF) is before
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_memory_is_limited_and_the_limit_taken_back():
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(MemoryError, match="more than 64 MB"), bounded(memory=64 << 20):
        b"a" * (256 << 20)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert len(b"a" * (256 << 20))


def test_other_errors_and_results_pass():
    with pytest.raises(KeyError), bounded():
        {}["x"]
    with bounded(seconds=5):
        found = sum(range(10))
    assert found == 45


def test_another_thread_is_limited_between_two_lines():
    said = []

    def run():
        try:
            with bounded(0.2):
                spin()
        except TimeoutError as e:
            said.append(str(e))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert said == ["more than 0.2 s of computing"]
