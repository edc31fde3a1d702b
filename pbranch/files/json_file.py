"""Reads a small JSON file that may come from a stranger, such as a model's configuration."""

import json
from pathlib import Path
from typing import Any

from pbranch.errors import BranchError

LARGEST = 64 << 20  # bytes


def read_json_object(path: Path, error: type[BranchError], what: str = "JSON") -> dict[str, Any]:
    """The object in `path`. Raises `error` in one line: not `what`, and why."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)  # a device may never end
        if len(data) > LARGEST:
            raise ValueError(f"more than {LARGEST:,} bytes")
        found = json.loads(data.decode("utf-8-sig"))
        json.dumps(found, ensure_ascii=False).encode()
    except OSError as e:
        raise error(f"{path}: cannot read ({e.strerror})") from e
    except RecursionError as e:
        raise error(f"{path}: not {what} (nested too deeply)") from e
    except UnicodeEncodeError as e:
        raise error(f"{path}: not {what} (half of a surrogate pair)") from e
    except ValueError as e:  # of Unicode, of JSON, of integers of thousands of digits
        raise error(f"{path}: not {what} ({str(e)[:200]})") from e
    if not isinstance(found, dict):
        raise error(f"{path}: not {what} (found {type(found).__name__}, expected an object)")
    return found
