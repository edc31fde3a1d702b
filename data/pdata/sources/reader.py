"""Reads files, folders, archives, stdin and `hf:` data sets of any usual kind: JSON lines, JSON,
CSV, TSV, Parquet, packed or not, told apart by what they hold.

Every row becomes a line of JSON with its origin. Knows no rewriter and no grading.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import IO

from pbranch.console import say
from pbranch.errors import DataError, did_you_mean
from pbranch.files.jsonl import JsonLine, read_stream
from pdata.roles.guess import SAMPLE, Row, is_row
from pdata.roles.schemas import Schemas, guess_schemas
from pdata.roles.turns import as_turns
from pdata.sources.containers import (
    HEAD,
    UNPACKING,
    begins_with,
    list_members,
    open_bytes,
    split_member,
)
from pdata.sources.json_documents import is_cut, read_rows
from pdata.sources.parquet_and_hub import HUB, parse_hub, read_hub, read_parquet
from pdata.sources.tables import read_header, read_table

# what a folder or an archive is searched for; a file that is named may have any
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".zip")
PACKINGS = ("", ".gz", ".bz2", ".xz")
METADATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
LOOK_AHEAD = 1000  # lines to look at for those that show which keys there are
LOOKED_AT = 1 << 26  # characters of them, at most


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file and the keys of its rows; `opened` where it can be read once only."""

    path: str
    schemas: Schemas
    opened: Iterator[JsonLine] | None = None
    empty: bool = False
    begins: str = ""  # a hash of the rows that were looked at

    @property
    def name(self) -> str:
        """What origins call it."""
        return _name(self.path)

    def read(self) -> Iterator[JsonLine]:
        """All of its lines."""
        return self.opened or read_source_lines(self.path, self.schemas.overrides)


def list_files(source: str) -> list[str]:
    """The files of SOURCE by name, without those of folders inside. Raises DataError if none."""
    if source == "-":
        return ["-"]
    if source.startswith(HUB):
        parse_hub(source)
        return [source]
    path = Path(source)
    if path.is_dir():
        files = [str(p) for p in sorted(path.iterdir()) if p.is_file() and is_data(p.name)]
        if not files:
            raise DataError(
                f"{source}: no {' or '.join(SUFFIXES)} file in this folder"
                " (folders inside are not searched)"
            )
        return [member for file in files for member in _list_members(file)]
    if not path.exists() and not split_member(source)[1]:
        raise DataError(f"{source}: no such file or folder")
    return _list_members(source)


def read_source_lines(file: str, overrides: Mapping[str, str] | None = None) -> Iterator[JsonLine]:
    """Lines that are not empty, or rows, numbered from 1. Raises DataError when it cannot read."""
    name, number = _name(file), 0
    if file.startswith(HUB):
        yield from (JsonLine(name, n, text) for n, text in enumerate(read_hub(file), 1))
        return
    try:
        with open_bytes(file) as (head, stream):
            kind = _find_kind(file, head, overrides or {})
            lines: Iterator[JsonLine]
            if kind == "lines":
                lines = map(_wrap_turns, read_stream(stream, name))
            elif kind == "Parquet":
                rows = read_parquet(file, None if begins_with(file, b"PAR1") else stream)
                lines = (JsonLine(name, n, text) for n, text in enumerate(rows, 1))
            else:
                found = _read_text(kind, head, stream, overrides or {})
                lines = (_make_line(name, n, *row) for n, row in enumerate(found, 1))
            for line in lines:
                number = line.number
                yield line
    except DataError as e:
        raise DataError(str(e) if file in str(e) else f"{file}:{number + 1}: {e}") from e
    except UNPACKING as e:
        where = f"{file}:{number + 1}" if number else file
        reason = getattr(e, "strerror", None) or e
        reason = reason if isinstance(e, OSError) else f"cannot decompress: {reason}"
        raise DataError(f"{where}: cannot read ({reason})") from e


def look_at_files(files: Sequence[str], overrides: Mapping[str, str]) -> list[SourceFile]:
    """All files with the keys of their rows, before any of them is read.

    Raises DataError when a file shows no prompt and trace, when no file has a key of `overrides`,
    and when there is no row at all.
    """
    looked = [_look_at(file, overrides) for file in files]
    if all(file.empty for file, _ in looked):
        raise DataError(f"{files[0] if len(files) == 1 else Path(files[0]).parent}: no row in "
                        f"{'this file' if len(files) == 1 else 'these files'}")  # fmt: skip
    keys = dict.fromkeys(key for _, rows in looked for row in rows for key in row)
    for role, key in overrides.items():
        if keys and not any(role in file.schemas.overrides for file, _ in looked):
            raise DataError(f"--map {role}={key}: no such key; found {', '.join(keys)}"
                            f"{did_you_mean(key, list(keys))}")  # fmt: skip
    for file, _ in looked:
        if file.schemas.missing:
            raise DataError(f"{file.path}: {file.schemas.missing}")
    return [file for file, _ in looked]


def look_at_fields(file: str, overrides: Mapping[str, str]) -> tuple[Schemas, Iterator[JsonLine]]:
    """The keys of one file, and all of its lines. Raises DataError as `look_at_files`."""
    (looked,) = look_at_files([file], overrides)
    return looked.schemas, looked.read()


def say_fields(file: str, schemas: Schemas) -> None:
    """Says on stderr which keys were guessed, with an example, where there is anything to read."""
    if not schemas.maps:
        say(f"{_name(file)}: no row that can be read")
    for fields, example in zip(schemas.maps, schemas.examples, strict=True):
        say(f"{_name(file)}: {fields} (--map role=key changes it)")
        for role, text in example:
            say(f"  {role}: {text}")


def _look_at(file: str, overrides: Mapping[str, str]) -> tuple[SourceFile, list[Row]]:
    """(the file and the keys of its rows, some rows)."""
    lines = read_source_lines(file, overrides)
    seen: list[JsonLine] = []
    rows: list[Row] = []
    schemas = Schemas()
    size = 0
    for line in islice(lines, LOOK_AHEAD):
        seen.append(line)
        size += len(line.text)
        if size > LOOKED_AT:
            schemas = guess_schemas(rows, overrides)
            break
        try:
            rows.append(line.parse())
        except DataError:
            continue
        if len(rows) % SAMPLE == 0:
            schemas = guess_schemas(rows, overrides)
            if schemas.maps and len(schemas.overrides) == len(overrides):
                break
    else:
        schemas = guess_schemas(rows, overrides)
    path = Path(file)
    once = file == "-" or file.startswith(HUB) or (path.exists() and not path.is_file())
    begins = hashlib.sha256("\n".join(line.text for line in seen).encode()).hexdigest()[:16]
    return SourceFile(file, schemas, chain(seen, lines) if once else None, not seen, begins), rows


def _name(file: str) -> str:
    """What origins call a file: its name, in an archive after the archive's."""
    if file == "-" or file.startswith(HUB):
        return "stdin" if file == "-" else file
    archive, member = split_member(file)
    name = f"{Path(archive).name}/{member}" if member else Path(file).name
    return name.encode("utf-8", "replace").decode("utf-8")  # it may hold bytes that are no text


def is_data(name: str) -> bool:
    """Whether a file of a folder or an archive may hold rows."""
    plain = Path(name).name.casefold()
    known = (suffix + packing for suffix in SUFFIXES for packing in PACKINGS)
    return plain.endswith(tuple(known)) and not plain.startswith(".") and plain not in METADATA


def _list_members(file: str) -> list[str]:
    """The file, or the files in it if it is an archive. Raises DataError."""
    if not begins_with(file, b"PK\x03\x04", b"PK\x05\x06"):
        return [file]
    members = list_members(Path(file))
    known = [member for member in members if is_data(member)]
    if not known and len(members) != 1:
        raise DataError(f"{file}: no {' or '.join(SUFFIXES)} file in this archive")
    return known or members


def _find_kind(file: str, head: bytes, overrides: Mapping[str, str]) -> str:
    """`lines`, `document`, `table` or `Parquet`. Raises DataError on what is none of them."""
    if head.startswith(b"PAR1"):
        return "Parquet"
    text = head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if "\0" in text[:4096] and not text.startswith(("{", "[")):  # in JSON it spoils its line alone
        raise DataError(f"{file}: is no text; expected JSON, CSV, TSV or Parquet")
    stem = Path(file).name.casefold()
    for packing in PACKINGS[1:]:
        stem = stem.removesuffix(packing)
    if text.startswith(("{", "[")):
        cut = len(head) >= HEAD and "\n" not in text  # a line that goes on behind the head
        if cut and text.startswith("{") and stem.endswith((".jsonl", ".ndjson")):
            return "lines"
        return "document" if _is_document(text) else "lines"
    if not text or stem.endswith((".jsonl", ".ndjson", ".json")):
        return "lines"
    columns = dict.fromkeys(read_header(text)[0], "some text")
    if stem.endswith((".csv", ".tsv", ".tab")) or is_row(columns, overrides):
        return "table"
    raise DataError(f"{file}: expected JSON, CSV, TSV or Parquet, found text that begins "
                    f"{text[:30]!r}")  # fmt: skip


def _is_document(text: str) -> bool:
    """Whether JSON is one value, or values over several lines, and not a value a line."""
    first, _, rest = text.partition("\n")
    try:
        json.loads(first)
        return not rest.strip()
    except (ValueError, RecursionError):
        pass
    try:
        json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as e:
        return is_cut(e)
    except (ValueError, RecursionError):
        return False
    return True


def _read_text(
    kind: str, head: bytes, stream: IO[bytes], overrides: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """(the JSON text of a row, what is wrong with it)."""
    newline = "" if kind == "table" else None
    text = io.TextIOWrapper(stream, "utf-8", "surrogateescape", newline)
    if kind == "table":
        return read_table(text, read_header(head.decode("utf-8", "replace"))[1])
    return ((raw, "") for raw in read_rows(text, lambda value: is_row(value, overrides)))


def _make_line(name: str, number: int, text: str, error: str) -> JsonLine:
    """Bytes that are no text are what is wrong with a row."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        if any("\udc80" <= char <= "\udcff" for char in text):
            error = error or "not JSON text: not UTF-8"
            text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return JsonLine(name, number, text, error)


def _wrap_turns(line: JsonLine) -> JsonLine:
    """A line that is a list of turns as one that has them as messages."""
    if not line.text.startswith("[") or line.error:
        return line
    try:
        turns = as_turns(json.loads(line.text))
    except (ValueError, RecursionError):
        return line
    return replace(line, text=f'{{"messages": {line.text}}}') if turns else line
