"""What is read is never written over, by whatever name it is reached."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pbranch.errors import DataError
from pbranch.files.file_identity import refuse_overwriting


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_text("mine\n")
    return path


def names(source: Path) -> list[Path]:
    """Other names of a file."""
    folder = source.parent
    (folder / "link.jsonl").symlink_to(source)
    os.link(source, folder / "hard.jsonl")
    (folder / "there").symlink_to(folder)
    return [
        source,
        folder / "link.jsonl",
        folder / "hard.jsonl",
        folder / "there" / source.name,
    ]


def test_any_name_of_a_source_is_refused(source: Path) -> None:
    for name in names(source):
        with pytest.raises(DataError, match="is the source itself"):
            refuse_overwriting([source.parent / "new.jsonl", name], [source])
        with pytest.raises(DataError, match="is the source itself"):
            refuse_overwriting([source], ["hf:none", name])


def test_a_folder_stands_for_its_files(source: Path) -> None:
    folder = source.parent
    (folder / "inner").mkdir()
    os.link(source, folder / "inner" / "x")
    for written, read in ((source, folder), (folder, source), (source, folder / "inner")):
        with pytest.raises(DataError, match="is the source itself"):
            refuse_overwriting([written], [read])
    refuse_overwriting([folder / "new.jsonl"], [folder])
    refuse_overwriting([folder])  # one file under two names, in one place to write to


def test_two_outputs_are_two_files(source: Path) -> None:
    new = source.parent / "new.jsonl"
    for first, second in ((new, new), (source, names(source)[3])):
        with pytest.raises(DataError, match="is written as"):
            refuse_overwriting([first, second])
    refuse_overwriting([new, source.parent / "other.jsonl"], [source])


def test_devices_and_missing_files_are_no_sources(source: Path) -> None:
    refuse_overwriting(["/dev/null", "/dev/null"], ["/dev/null", source.parent / "none", "-"])


REFUSE = """
import sys
from pbranch.errors import DataError
from pbranch.files.file_identity import refuse_overwriting
try:
    refuse_overwriting([sys.argv[2]], [sys.argv[1]])
except DataError as e:
    sys.exit(3)
"""


@pytest.mark.parametrize(
    ("read", "written", "code"),
    [("-", "a.jsonl", 3), ("a.jsonl", "-", 3), ("-", "-", 3), ("-", "b.jsonl", 0)],
)
def test_redirected_streams_are_files(source: Path, read: str, written: str, code: int) -> None:
    """`command - < a.jsonl`, and `command a.jsonl >> a.jsonl`."""
    with open(source, "rb") as stdin, open(source, "ab") as stdout:
        done = subprocess.run(
            [sys.executable, "-c", REFUSE, read, written],
            stdin=stdin,
            stdout=stdout,
            cwd=source.parent,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    assert done.returncode == code
