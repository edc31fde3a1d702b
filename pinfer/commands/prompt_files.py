"""Reads what is to be answered: a text, or JSONL of prompts; `-` is stdin. Knows no tokenizer."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from pbranch.errors import DataError, RequestError
from pbranch.files.jsonl import JsonLine, read_lines, read_stream


def read_text(prompt: str) -> str:
    """A prompt as given on a command line. Raises DataError where it is not UTF-8."""
    if prompt == "-":
        return _decode(sys.stdin.buffer.read(), prompt)
    return _decode(prompt.encode("utf-8", "surrogateescape"), "the prompt")


def read_instruction(path: str) -> str:
    """The text of a file, without white space at its ends. RequestError where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise RequestError(f"--instruction {path}: not a text that can be read ({e})") from e


class PromptFile:
    """The lines of a file of prompts as (file:line, object with `prompt` or `messages`), other keys
    kept: read anew by every loop, so that none is held. What can be read once only is copied.

    Raises DataError with file and line before the first loop, RequestError on a file without
    prompts.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._copy: IO[bytes] | None = None
        if path == "-" or (Path(path).exists() and not Path(path).is_file()):
            self._copy = TemporaryFile()
            with _open(path) as stream:
                shutil.copyfileobj(stream, self._copy)
        self._count = sum(1 for _ in self)
        if not self._count:
            raise RequestError(f"{path}: no prompts")

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for line in self._lines():
            yield line.origin, _read_job(line)

    def _lines(self) -> Iterator[JsonLine]:
        if self._copy is None:
            return read_lines(self.path)
        self._copy.seek(0)
        return read_stream(self._copy, self.path)


def read_template_args(pairs: Sequence[str]) -> dict[str, Any]:
    """Arguments of a chat template from NAME=VALUE texts, values as in YAML."""
    import yaml

    found = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise RequestError(f"template argument {pair!r}: expected NAME=VALUE")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError as e:
            raise RequestError(f"template argument {name}: {value!r} is not YAML") from e
    return found


def _read_job(line: JsonLine) -> dict[str, Any]:
    try:
        job = line.parse()
        if not {"prompt", "messages"} & set(job):
            raise DataError('expected an object with "prompt" or "messages"')
        key, kind = ("messages", list) if "messages" in job else ("prompt", str)
        if not isinstance(job[key], kind):
            raise DataError(f'"{key}" is not a {kind.__name__}')
        if not isinstance(job.get("tools") or [], list):
            raise DataError('"tools" is not a list')
    except DataError as e:
        raise DataError(f"{line.origin}: {e}") from e
    return job


def _open(path: str) -> AbstractContextManager[IO[bytes]]:
    """Stdin or a pipe. Raises DataError."""
    try:
        return nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb")
    except OSError as e:
        raise DataError(f"{path}: cannot read ({e.strerror})") from e


def _decode(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not UTF-8 text ({e})") from e
