"""Processes that a test starts in a session of their own, and whether all of them end."""

import os
import time


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
