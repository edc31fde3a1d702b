"""Rows of JSON that is not a row a line: lists, objects around a list, objects by id, columns.

Read piece by piece: of a list, also of one in an object, one element is held at a time; an object
without such a list is held whole. Knows no files.
"""

import json
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import IO, Any

from pbranch.errors import DataError
from pbranch.files.jsonl import LONGEST
from pdata.roles.names import COMPLETIONS, MESSAGES, name_of
from pdata.roles.turns import as_turns, is_turn

CHUNK = 1 << 16  # characters that are read at a time, doubled for a value that is longer
_BLANK = re.compile(r"[\s\ufeff]*")
MAX_COLUMNS = 100
MOST_HELD = 1 << 28  # characters of an object that is held whole
_TURNS = (*MESSAGES, "history")  # keys whose lists are no rows
LOOKED_AT = 20  # elements of a list in an object that are asked whether they are rows
# Python reads no integer of thousands of digits; whoever reads the row says so
_decoder = json.JSONDecoder(parse_int=lambda digits: int(digits) if len(digits) < 4000 else digits)
IsRow = Callable[[Any], bool]


def read_rows(stream: IO[str], is_row: IsRow) -> Iterator[str]:
    """The JSON text of each row of `stream`. Raises DataError where it is no JSON.

    is_row: whether an object shows the keys of a row, and not a list or a dictionary of rows.
    """
    text = _Text(stream)
    while char := text.peek():
        if char == "[":
            yield from _read_list(text)
        elif char == "{":
            yield from _read_object(text, is_row)
        else:
            yield text.take_value()[1]


def is_cut(error: json.JSONDecodeError) -> bool:
    """Whether JSON is right as far as it goes, and ends in the middle of a value."""
    return error.msg.startswith("Unterminated string") or error.pos >= len(error.doc) - 12


class _Text:
    """A stream of characters, read as far as the next value needs."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.buffer, self.at, self.ended, self.held = "", 0, False, 0

    def peek(self) -> str:
        """The next character that is not blank, nothing at the end."""
        while True:
            self.at = _BLANK.match(self.buffer, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if self.ended:
                return ""
            self._fill()

    def take(self, wanted: str) -> str:
        """The next character, which is one of `wanted`. Raises DataError."""
        found = self.peek()
        if not found or found not in wanted:
            raise DataError(f"not JSON: expected {' or '.join(wanted)}, found "
                            f"{found or 'the end of the file'!r}")  # fmt: skip
        self.at += 1
        return found

    def take_value(self) -> tuple[Any, str]:
        """The next value, and its text. Raises DataError."""
        self.peek()
        while True:
            try:
                value, end = _decoder.raw_decode(self.buffer, self.at)
            except json.JSONDecodeError as e:
                if self.ended or not is_cut(e):
                    found = self.buffer[e.pos : e.pos + 20]
                    raise DataError(f"not JSON: {e.msg} ({found!r})") from e
            except RecursionError as e:
                raise DataError("not JSON: nested too deeply") from e
            else:
                if end < len(self.buffer) or self.ended:
                    raw, self.at = self.buffer[self.at : end], end
                    return value, raw
            self._fill()

    def hold(self, raw: str) -> str:
        """Count text that stays in memory until its object ends. Raises DataError."""
        self.held += len(raw)
        if self.held > MOST_HELD:
            raise DataError(f"one JSON object of more than {MOST_HELD >> 20} MiB; expected rows")
        return raw

    def _fill(self) -> None:
        rest = self.buffer[self.at :]
        if len(rest) > LONGEST:
            raise DataError(f"not JSON: a value of more than {LONGEST >> 20} MiB")
        more = self.stream.read(max(CHUNK, len(rest)))
        self.buffer, self.at, self.ended = rest + more, 0, not more


def _read_elements(text: _Text) -> Iterator[tuple[Any, str]]:
    """The elements of the list that begins here, a comma at its end or not."""
    text.take("[")
    while text.peek() != "]":
        yield text.take_value()
        if text.peek() != "]":
            text.take(",]")
    text.take("]")


def _read_list(text: _Text) -> Iterator[str]:
    """The rows of a list; turns in it are one row, or one each where they are in lists."""
    turns: list[str] = []
    for value, raw in _read_elements(text):
        if is_turn(value):
            turns.append(text.hold(raw))
        elif isinstance(value, list) and as_turns(value):
            yield f'{{"messages": {raw}}}'
        else:
            yield raw
    if turns:
        yield f'{{"messages": [{",".join(turns)}]}}'


def _read_object(text: _Text, is_row: IsRow) -> Iterator[str]:
    """A row, or the rows that an object holds."""
    members: dict[str, tuple[Any, str]] = {}
    found = False
    text.take("{")
    text.held = 0
    while text.peek() != "}":
        key, raw_key = text.take_value()
        if not isinstance(key, str):
            raise DataError(f"not JSON: expected a key in quotes, found {raw_key[:20]!r}")
        text.take(":")
        if text.peek() != "[":
            members[key] = text.take_value()
            text.hold(members[key][1])
        else:
            held: list[tuple[Any, str]] = []
            are_rows = False
            for value, raw in _read_elements(text):
                asked = not are_rows and len(held) < LOOKED_AT and name_of(key) not in _TURNS
                if asked and is_row(value):
                    are_rows = not is_row({name: value for name, (value, _) in members.items()})
                held.append((value, raw))
                if not are_rows:
                    text.hold(raw)
                else:
                    yield from (raw for _, raw in held)
                    held.clear()
            found |= are_rows
            members[key] = ([v for v, _ in held], "[" + ",".join(raw for _, raw in held) + "]")
        if text.peek() != "}":
            text.take(",}")
    text.take("}")
    if not found:
        yield from _unfold(members, is_row)


def _unfold(members: dict[str, tuple[Any, str]], is_row: IsRow) -> Iterator[str]:
    """The rows of an object: those in its only list, by id, in columns; or it is one itself."""
    values = {key: value for key, (value, _) in members.items()}
    if columns := _find_columns(values, is_row):
        for row in columns:
            yield json.dumps(row, ensure_ascii=False)
        return
    if _are_objects(list(values.values())) and all(map(is_row, islice(values.values(), LOOKED_AT))):
        for key, (value, raw) in members.items():
            own = "" if "id" in value else f'"id": {json.dumps(key, ensure_ascii=False)}, '
            yield "{" + own + raw.lstrip()[1:]
        return
    lists = [value for key, value in values.items()
             if _are_objects(value) and name_of(key) not in (*_TURNS, *COMPLETIONS)]  # fmt: skip
    if len(lists) == 1 and not is_row(values):
        yield from (json.dumps(row, ensure_ascii=False) for row in lists[0])
        return
    body = ", ".join(
        f"{json.dumps(k, ensure_ascii=False)}: {raw}" for k, (_, raw) in members.items()
    )
    yield "{" + body + "}"


def _are_objects(value: Any) -> bool:
    """Whether `value` is a list of objects that are no turns."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(item, dict) and not is_turn(item) for item in value)


def _find_columns(values: dict[str, Any], is_row: IsRow) -> list[dict[str, Any]]:
    """The rows of an object of columns: lists of one length, or pandas' objects by number."""
    columns = list(values.values())
    if not 2 <= len(columns) <= MAX_COLUMNS:
        return []
    if all(isinstance(c, list) and len(c) == len(columns[0]) > 1 for c in columns):
        rows = [dict(zip(values, row, strict=True)) for row in zip(*columns, strict=True)]
    elif all(isinstance(c, dict) and c and c.keys() == columns[0].keys() for c in columns):
        rows = [{name: values[name][i] for name in values} for i in columns[0]]
    else:
        return []
    return rows if is_row(rows[0]) else []
