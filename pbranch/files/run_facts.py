"""What a resumable run was made of, kept next to its output: it goes on with the same alone.

`FILE.run` lies next to FILE.jsonl. Knows no settings by name.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pbranch.console import say
from pbranch.errors import DataError
from pbranch.files.atomic import atomic_write

CHUNK = 1 << 20


def facts_path(out: Path) -> Path:
    """FILE.jsonl -> FILE.run."""
    return out.with_suffix(".run")


def check_run(out: Path, facts: Mapping[str, Any], resume: bool) -> None:
    """Store the facts of a run that writes `out`, or compare them where it goes on with one.

    facts: plain JSON values. Raises DataError on the first fact that has changed; an output without
    stored facts (of an earlier release) cannot be compared, and a line says so.
    """
    path, now = facts_path(out), json.loads(json.dumps(facts))
    if not resume:
        with atomic_write(path) as file:
            file.write((json.dumps(now, ensure_ascii=False, indent=1) + "\n").encode("utf-8"))
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        say(f"{out}: {path.name} is missing; what it was made of is not compared")
        return
    except (OSError, ValueError, RecursionError) as e:
        raise DataError(f"{path}: not the facts of a run ({e})") from e
    before = before if isinstance(before, dict) else {}
    for key in [*now, *(key for key in before if key not in now)]:
        if before.get(key) != now.get(key):
            raise DataError(
                f"{out}: made with {key} {_spell(before.get(key))}, now {_spell(now.get(key))}; "
                "--resume goes on with the same"
            )


def digest(*files: str | Path) -> str | None:
    """A hash of the bytes of files; None where one is no ordinary file. Raises DataError."""
    found = hashlib.sha256()
    for name in files:
        try:
            if not Path(name).is_file():
                return None
            with open(name, "rb") as file:
                while data := file.read(CHUNK):
                    found.update(data)
        except OSError as e:
            raise DataError(f"{name}: cannot read ({e.strerror})") from e
    return found.hexdigest()[:16]


def _spell(value: Any) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)[:80]
