"""Files of a run, written so that a kill or a full disk never leaves half of one.

What is written goes into `OUT/.partial` first, is flushed to the disk, and gets its name last: a
folder called `checkpoint-N` is whole. All processes see one file system. Knows no tensors.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pbranch.console import say
from pbranch.files.atomic import flush_folder, flush_tree

STAGING = ".partial"
MANIFEST = "files.json"  # of a checkpoint: its files with their sizes, and who wrote it
STATE = "trainer_state.json"


def staging(out: Path) -> Path:
    """Where files are until they are whole."""
    return out / STAGING


def list_checkpoints(out: Path) -> list[Path]:
    """Folders called `checkpoint-N` in `out`, whole or not, by N."""
    found = [p for p in out.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", p.name)]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """The optimiser step after which `checkpoint-N` was written."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def settle(out: Path, step: int, keep: int, facts: dict[str, Any]) -> None:
    """Make the folder that all processes have written into the staging folder `checkpoint-STEP`.

    Older ones beyond the last `keep` go only then. facts: stored with the sizes of the files.
    """
    name = f"checkpoint-{step}"
    new, final = staging(out) / name, out / name
    sizes = {str(p.relative_to(new)): p.stat().st_size for p in sorted(_files(new))}
    (new / MANIFEST).write_text(json.dumps(facts | {"sizes": sizes}, indent=1) + "\n", "utf-8")
    flush_tree(new)
    if final.exists():  # a damaged one, from which the run did not go on
        final.rename(staging(out) / "replaced")
    new.rename(final)
    flush_folder(out)
    for old in [c for c in list_checkpoints(out) if step_of(c) <= step][:-keep]:
        old.rename(staging(out) / old.name)  # removing takes a while: not under its own name
    shutil.rmtree(staging(out))


def find_damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, with the file's name; None where it is whole.

    Compares sizes, so it does not notice bytes that were changed in place.
    """
    for name in (STATE, MANIFEST):
        try:
            content = json.loads((checkpoint / name).read_text("utf-8"))
        except OSError as e:
            return f"{checkpoint / name}: cannot read ({e.strerror})"
        except (ValueError, RecursionError) as e:  # of JSON or UTF-8
            return f"{checkpoint / name}: not JSON ({e})"
    sizes = content.get("sizes") if isinstance(content, dict) else None
    if not isinstance(sizes, dict):
        return f"{checkpoint / MANIFEST}: no sizes of files"
    for name, size in sizes.items():
        path = checkpoint / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            is_ = "missing" if found is None else f"{found} bytes long"
            return f"{path}: {is_}, expected {size} bytes"
    return None


def read_facts(checkpoint: Path) -> dict[str, Any]:
    """What `settle` was told about a checkpoint that is whole."""
    return json.loads((checkpoint / MANIFEST).read_text("utf-8"))


def read_state(checkpoint: Path) -> dict[str, Any]:
    """transformers' state of the trainer at a checkpoint that is whole."""
    return json.loads((checkpoint / STATE).read_text("utf-8"))


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A new folder whose entries replace those of the same name in `out` once all are written.

    Each is replaced at once, in order of names; where an error is raised, none is.
    """
    folder = staging(out) / "files"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with unstaging(out):
        yield folder
        flush_tree(folder)
        for path in sorted(folder.iterdir()):
            target = out / path.name
            if path.is_dir() and target.is_dir():
                target.rename(staging(out) / "replaced")
            os.replace(path, target)
        flush_folder(out)
        shutil.rmtree(staging(out))


@contextmanager
def unstaging(out: Path) -> Iterator[None]:
    """On an error, removes what was half-written: a full disk is not left full."""
    try:
        yield
    except BaseException:
        shutil.rmtree(staging(out), ignore_errors=True)
        raise


def remove_leftovers(out: Path) -> None:
    """Remove what a killed run was writing."""
    if staging(out).exists():
        say(f"removing {staging(out)}: a run was stopped while it wrote this")
        shutil.rmtree(staging(out))


def _files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file()]
