"""Runs a command in a process of its own, as a user would."""

import os
import subprocess
from collections.abc import Mapping
from typing import Any


def run_command(
    *command: Any, timeout: float = 300, env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """What `command` leaves: exit status, and stdout and stderr as text. Offline, with one thread.

    env: variables beyond those of this process; options: see `subprocess.run`.
    """
    ours = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=timeout,
        env={**ours, **(env or {})}, **options,
    )  # fmt: skip
