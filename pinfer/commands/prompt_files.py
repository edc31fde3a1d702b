"""Reads what is to be answered: a text, or JSONL of prompts; `-` is stdin. Knows no tokenizer."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pbranch import console
from pbranch.errors import DataError, RequestError
from pbranch.files.jsonl import JsonLine, read_lines
from pbranch.files.yaml_page import YamlError, read_yaml

# the keys of an answer's JSON object besides those of its input
ANSWER_KEYS = frozenset(
    "prompt_token_ids text tagged_text token_ids forced finish_reason stop_reason limits seed "
    "sampling "
    "stats fallback error logprobs prompt_logprobs sample settings".split()
)


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


def read_prompts(
    path: str, refused: frozenset[str] = frozenset()
) -> list[tuple[str, dict[str, Any]]]:
    """(file:line, object with `prompt` or `messages`), one a line, other keys kept.

    refused: keys that a line may not have. Raises DataError with file and line, RequestError on a
    file without prompts.
    """
    jobs = [(line.origin, _read_job(line, refused)) for line in read_lines(path)]
    if not jobs:
        raise RequestError(f"{path}: no prompts")
    return jobs


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


def _read_job(line: JsonLine, refused: frozenset[str]) -> dict[str, Any]:
    try:
        job = line.parse()
        if not {"prompt", "messages"} & set(job):
            raise DataError('expected an object with "prompt" or "messages"')
        key, kind = ("messages", list) if "messages" in job else ("prompt", str)
        if not isinstance(job[key], kind):
            raise DataError(f'"{key}" is not a {kind.__name__}')
        if not isinstance(job.get("tools") or [], list):
            raise DataError('"tools" is not a list')
        if taken := sorted(refused & job.keys()):
            raise DataError(f'"{taken[0]}" is a key of the answer; give it another name')
    except DataError as e:
        raise DataError(f"{line.origin}: {e}") from e
    return job


def _decode(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not UTF-8 text ({e})") from e
