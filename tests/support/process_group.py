"""Processes that a test starts in a session of their own, and whether all of them end."""

import os
import signal
import time

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
