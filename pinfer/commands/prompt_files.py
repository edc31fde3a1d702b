"""Reads what is to be answered: a text, or JSONL of prompts; `-` is stdin. Knows no tokenizer."""

import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from pbranch import console
from pbranch.errors import DataError, RequestError
from pbranch.files.jsonl import JsonLine, read_lines, read_stream
from pbranch.files.yaml_page import YamlError, read_yaml


def read_text(prompt: str) -> str:
    """A prompt as given on a command line; of stdin (`-`) without its last line break. Raises
    DataError where it cannot be read or is not UTF-8."""
    if prompt != "-":
        return _decode(prompt.encode("utf-8", "surrogateescape"), "the prompt")
    text = _decode(console.read_stdin(), prompt).removeprefix("\ufeff")
    return re.sub(r"\r?\n\Z", "", text)


def read_instruction(path: str) -> str:
    """The text of a file, without white space at its ends. RequestError where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise RequestError(f"--instruction {path}: not a text that can be read ({e})") from e


class PromptFile:
    """The lines of a file of prompts as (file:line, object with `prompt` or `messages`), other keys
    kept: read anew by every loop, so that none is held. What can be read once only is copied.

    An answer repeats the keys of its line. answer_keys: those that it has itself, which no line may
    have, unless it is an answer, which is asked again without them.

    Raises DataError with file and line before the first loop, RequestError on a file without
    prompts.
    """

    def __init__(self, path: str, answer_keys: Set[str] = frozenset()) -> None:
        self.path, self.answer_keys = path, answer_keys
        once = path == "-" or (Path(path).exists() and not Path(path).is_file())
        self._copy = _copy(path) if once else None
        found = Counter(_is_answer(_read_job(line, answer_keys)) for line in self._lines())
        self._count = found.total()
        if not self._count:
            raise RequestError(f"{path}: no prompts")
        if answer_keys and found[True]:
            console.say(
                f"{path}: answers stand in {found[True]} of {self._count} lines; they are asked "
                "again, and what is known of the old answers is left out"
            )

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for line in self._lines():
            job = _read_job(line, self.answer_keys)
            yield line.origin, {k: v for k, v in job.items() if k not in self.answer_keys}

    def _lines(self) -> Iterator[JsonLine]:
        if self._copy is None:
            return read_lines(self.path)
        self._copy.seek(0)
        return read_stream(self._copy, self.path)


def read_template_args(pairs: Sequence[str]) -> dict[str, Any]:
    """Arguments of a chat template from NAME=VALUE texts, values as in YAML."""
    found = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise RequestError(f"template argument {pair!r}: expected NAME=VALUE")
        try:
            found[name] = read_yaml(value)
        except YamlError as e:
            raise RequestError(f"template argument {name}: {value!r} is not YAML: {e}") from e
    return found


def unescape(text: str) -> str:
    r"""A text as a shell's user writes it: \n, \r, \t and \\ mean what they do in Python; any other
    backslash is one."""
    meant = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
    return re.sub(r"\\([nrt\\])", lambda found: meant[found[1]], text)


def _read_job(line: JsonLine, answer_keys: Set[str]) -> dict[str, Any]:
    try:
        job = line.parse()
        if not {"prompt", "messages"} & set(job):
            raise DataError('expected an object with "prompt" or "messages"')
        key, kind = ("messages", list) if "messages" in job else ("prompt", str)
        if not isinstance(job[key], kind):
            raise DataError(f'"{key}" is not a {kind.__name__}')
        if not isinstance(job.get("tools") or [], list):
            raise DataError('"tools" is not a list')
        taken = sorted(answer_keys & job.keys())
        if taken and not _is_answer(job):
            raise DataError(f'"{taken[0]}" is a key of the answer; give it another name')
    except DataError as e:
        raise DataError(f"{line.origin}: {e}") from e
    return job


def _is_answer(job: dict[str, Any]) -> bool:
    """Whether a line is one that `--json` has written."""
    return {"finish_reason", "settings"} <= job.keys()


def _copy(path: str) -> IO[bytes]:
    """What stdin or a pipe holds, in a file without a name. Raises DataError."""
    copy = TemporaryFile()
    try:
        with nullcontext(console.open_stdin()) if path == "-" else open(path, "rb") as stream:
            shutil.copyfileobj(stream, copy)
    except OSError as e:
        raise DataError(f"{path}: cannot read ({e.strerror})") from e
    return copy


def _decode(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not UTF-8 text ({e})") from e
