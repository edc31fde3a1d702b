"""Files and folders are written whole or not at all, whatever ends the writing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pbranch.files.atomic import atomic_folder, atomic_write


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    with atomic_write(path) as file:
        file.write(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    with atomic_write(path) as file:
        file.write(b"two")
        assert path.read_bytes() == b"one"
    assert path.read_bytes() == b"two" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    path, folder = tmp_path / "a", tmp_path / "b"
    path.write_text("old")
    folder.mkdir()
    (folder / "x").write_text("old")
    with pytest.raises(error), atomic_write(path) as file:
        file.write(b"new")
        raise error
    with pytest.raises(error), atomic_folder(folder) as part:
        (part / "y").write_text("new")
        raise error
    assert path.read_text() == "old" and [p.name for p in folder.iterdir()] == ["x"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "a"
    code = "import sys; from pathlib import Path; from pbranch.files.atomic import atomic_write\n"
    code += "with atomic_write(Path(sys.argv[1])) as f: f.write(b'theirs')"
    with atomic_write(path) as file:
        file.write(b"ours")
        subprocess.run([sys.executable, "-c", code, path], check=True)
        assert path.read_bytes() == b"theirs"
    assert path.read_bytes() == b"ours" and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for name in ("first", "second"):
        (tmp_path / ".out.part" / "folder").mkdir(parents=True)  # of a process that was killed
        (tmp_path / ".out.part" / "stray").write_text("")
        with atomic_folder(folder) as part:
            (part / "inner").mkdir()
            (part / "inner" / name).write_text("")
        assert [p.relative_to(folder).as_posix() for p in folder.rglob("*")] == [
            "inner",
            f"inner/{name}",
        ]
        assert list(tmp_path.iterdir()) == [folder]


def test_a_kill_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    code = (
        "import os, sys; from pathlib import Path; from pbranch.files.atomic import atomic_write\n"
    )
    code += "with atomic_write(Path(sys.argv[1])) as f:\n"
    code += f"    f.write(b'new'); f.flush(); os.kill(os.getpid(), {int(signal.SIGKILL)})"
    done = subprocess.run([sys.executable, "-c", code, path])
    assert done.returncode == -signal.SIGKILL and path.read_text() == "old"


def test_what_was_there_stays_where_the_disk_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"), atomic_write(path) as file:
        file.write(b"new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
