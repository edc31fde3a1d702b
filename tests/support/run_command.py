"""Runs a command as a user would: in a process of its own, or in this one."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
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


def call_main(
    monkeypatch: Any, capsys: Any, main: Callable[[], Any], *argv: Any
) -> tuple[Any, str, str]:
    """Calls the `main` of a command with these arguments, its name first: (exit code, stdout,
    stderr)."""
    monkeypatch.setattr(sys, "argv", list(map(str, argv)))
    code = 0
    try:
        main()
    except SystemExit as e:
        code = e.code or 0
    return code, *capsys.readouterr()
