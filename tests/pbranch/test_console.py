"""Standard streams of the command lines: any text, closed ones, full disks."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pbranch import console
from pbranch.errors import DataError
from pbranch.files.jsonl import LineFile, read_lines

TEXT = "caf\u00e9 \u6771\u4eac \U0001f469\u200d\U0001f467"
WRITER = f"""
import os, sys
from pbranch import console
def main():
    print({TEXT!a} + chr(0xdcff))
    print("a note", file=sys.stderr)
    os.write(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), b"of a file")
console.run(main)
"""


def write_to(tmp_path, redirection, **env):
    """Runs WRITER in a shell with such a redirection: (exit code, stdout, stderr)."""
    command = f'"$0" -c "$1" "$2" {redirection}'
    given = ["sh", "-c", command, sys.executable, WRITER, str(tmp_path / "file")]
    done = subprocess.run(given, capture_output=True, env={**os.environ, **env})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii", "utf-8"])
def test_a_pipe_takes_any_text(tmp_path, encoding):
    wanted = (0, TEXT + "?\n", "a note\n")
    assert write_to(tmp_path, "", PYTHONIOENCODING=f"{encoding}:strict") == wanted


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_closed_stream_leads_nowhere(tmp_path, closed):
    """Nor into the next file that is opened, nor into another stream."""
    code, out, err = write_to(tmp_path, closed)
    assert code == 0 and (tmp_path / "file").read_text() == "of a file"
    assert out == ("" if closed[:2] == ">&" or " >&" in closed else TEXT + "?\n")
    assert err == ("" if "2>&" in closed else "a note\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")
def test_a_full_disk_names_what_was_written(tmp_path):
    code, _, err = write_to(tmp_path, "> /dev/full")
    assert code == 1 and err == "a note\nerror: stdout: No space left on device\n"


GROWING = """
import resource, sys
from pathlib import Path
from pbranch import console
from pbranch.files.atomic import atomic_write, write_text
from pbranch.files.jsonl import LineFile
resource.setrlimit(resource.RLIMIT_FSIZE, (5, 5))
def main():
    kind, path = sys.argv[1], Path(sys.argv[2])
    if kind == "text":
        write_text(path, "0123456789")
    elif kind == "atomic":
        with atomic_write(path) as file:
            file.write(b"0123456789")
    else:
        LineFile(path, resume=False).write("0123456789")
console.run(main)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of the size of files")
@pytest.mark.parametrize("kind", ["text", "atomic", "lines"])
def test_what_does_not_fit_names_the_file(tmp_path, kind):
    path = tmp_path / "file"
    done = subprocess.run(
        [sys.executable, "-c", GROWING, kind, path], capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr.startswith(f"error: {path}: ")
    assert done.stderr.count("File too large") == done.stderr.count("\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")
def test_a_full_device_names_the_file(tmp_path):
    with LineFile(Path("/dev/full"), resume=False) as file:
        with pytest.raises(DataError, match=r"^/dev/full: cannot write \(No space left on device"):
            file.write("{}\n")


def test_a_closed_stdin_is_named(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    for read in (console.read_stdin, lambda: list(read_lines("-"))):
        with pytest.raises(DataError, match=r"^-: cannot read standard input, it is closed$"):
            read()


def test_an_interrupt_that_a_library_swallows_is_raised_at_the_end_of_the_work():
    after = []
    with console.interruptible() as asked, pytest.raises(KeyboardInterrupt), asked.at_once():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        after.append("the library goes on")
    assert after and asked()


def test_at_its_end_python_collects_nothing():
    """With torch loaded, that takes a second, in which Ctrl-C would seem to be unheard."""
    code = (
        "import atexit, gc; from pbranch import console\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 0))\n"
        "console.run(lambda: None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
