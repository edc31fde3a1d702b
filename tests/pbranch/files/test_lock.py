"""Of two writers of one place, one is told so; a lock ends with its process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pbranch.errors import DataError
from pbranch.files.atomic import atomic_folder
from pbranch.files.jsonl import LineFile
from pbranch.files.lock import locked_folder

HOLD = """
import sys, time
from pathlib import Path
from pbranch.files.jsonl import LineFile
from pbranch.files.lock import locked_folder
kind, path = sys.argv[1:]
with LineFile(Path(path), False) if kind == "file" else locked_folder(Path(path)):
    print("held", flush=True)
    time.sleep(600)
"""


def hold(kind: str, path: Path) -> subprocess.Popen:
    """A process that writes `path`."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, kind, path], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    return holder


@pytest.mark.parametrize("resume", [False, True])
def test_a_file_has_one_writer(tmp_path: Path, resume: bool) -> None:
    path = tmp_path / "a.jsonl"
    with LineFile(path, False) as file:
        file.write("{}\n")
        with pytest.raises(DataError, match=r"a\.jsonl: another process is writing it"):
            LineFile(path, resume)
        file.write("{}\n")
    assert path.read_text() == "{}\n{}\n"
    with LineFile(path, True) as file:
        file.write("{}\n")
    assert path.read_text() == "{}\n" * 3 and os.listdir(tmp_path) == ["a.jsonl"]


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    for kind, path in (("file", tmp_path / "a.jsonl"), ("folder", tmp_path / "out")):
        holder = hold(kind, path)
        try:
            with pytest.raises(DataError, match="another process is writing it"):
                if kind == "file":
                    LineFile(path, False)
                else:
                    with locked_folder(path):
                        pass
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.communicate()
        if kind == "file":
            LineFile(path, False).file.close()
        else:
            with locked_folder(path):
                pass


def test_a_folder_is_filled_by_one(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out") as part:
        (part / "a").write_text("ours")
        with pytest.raises(DataError, match="another process"), atomic_folder(tmp_path / "out"):
            pass
    assert (tmp_path / "out" / "a").read_text() == "ours"


def test_a_folder_that_stays_empty_goes_again(tmp_path: Path) -> None:
    with locked_folder(tmp_path / "out"):
        assert (tmp_path / "out").is_dir()
    assert not (tmp_path / "out").exists()
    (tmp_path / "there").mkdir()
    with locked_folder(tmp_path / "there"):
        pass
    assert (tmp_path / "there").is_dir()


def test_devices_have_many_writers() -> None:
    with LineFile(Path("/dev/null"), False) as one, LineFile(Path("/dev/null"), False) as other:
        one.write("{}\n")
        other.write("{}\n")
