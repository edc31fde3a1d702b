"""JSONL: one reader for whatever stands in a file, and files that grow by whole lines."""

import gzip
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pbranch.errors import DataError
from pbranch.files import jsonl
from pbranch.files.jsonl import JsonLine, LineFile, read_lines, read_objects, to_json

GOOD = (
    b'\xef\xbb\xbf{"a": 1}\n'  # a byte order mark
    b"\n \t\n"
    b'  {"a": "one\xe2\x80\xa8line"}\r\n'  # U+2028 breaks no line
    b'\xef\xbb\xbf{"a": 2}\n'  # of a file that another was appended to
    b'{"a": 3}'  # no line break
)
BAD = {
    b"{": "not JSON text: Expecting property name",
    b'{"a": \xff}': "not JSON text: not UTF-8 (invalid start byte at byte 6)",
    b'{"a": "\\ud800"}': "not JSON text: half of a surrogate pair",
    b'{"a": "\\uDE00"}': "not JSON text: half of a surrogate pair",
    b"[" * 100_000: "not JSON text: nested too deeply",
    b'{"a":' * 100_000: "not JSON text: nested too deeply",
    b'{"a": ' + b"1" * 5000 + b"}": "not JSON text: a number of too many digits",
    b'{"a": {"b": ' + b"[" * 99 + b"]" * 99 + b"}}": "not JSON text: nested too deeply",
    b'{"a": NaN}': "not JSON text: NaN is no number of JSON",
    b'{"a": [-Infinity]}': "not JSON text: -Infinity is no number of JSON",
    b'{"a": -1e999}': "not JSON text: -1e999 is no number of JSON",
    b"[1]": "found list, expected a JSON object",
    b"null": "found NoneType, expected a JSON object",
    b'"a"': "found str, expected a JSON object",
}


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_lines_are_numbered_and_blank_ones_are_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(GOOD) if name.endswith(".gz") else GOOD)
    lines = list(read_lines(path))
    assert [line.origin for line in lines] == [f"{path}:{n}" for n in (1, 4, 5, 6)]
    assert [line.parse()["a"] for line in lines] == [1, "one\u2028line", 2, 3]
    assert next(read_lines(path, "x")).origin == "x:1"


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(GOOD)))
    assert [line.origin for line in read_lines("-")] == ["-:1", "-:4", "-:5", "-:6"]
    assert list(read_lines("-")) == [] and not sys.stdin.buffer.closed


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
def test_a_bad_line_stops_or_is_set_aside(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\n' + data + b'\n{"n": 3}\n')
    with pytest.raises(DataError) as found:
        list(read_objects(path))
    assert str(found.value).startswith(f"{path}:2: {BAD[data]}")
    assert len(str(found.value).splitlines()) == 1
    rows, aside = [], []
    for line in read_lines(path):
        try:
            rows.append(line.parse()["n"])
        except DataError as e:
            aside.append((line.number, str(e)))
    assert rows == [1, 3] and len(aside) == 1
    assert aside[0][0] == 2 and aside[0][1].startswith(BAD[data])


def test_text_that_json_allows_is_read() -> None:
    pair = '{"a": "\\ud83d\\ude00 \\\\ud800", "n": 1' + "0" * 4000 + "}"
    assert JsonLine("f", 1, pair).parse() == {"a": "\U0001f600 \\ud800", "n": 10**4000}


def test_what_is_left_of_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": "\xff"}\n')
    (line,) = read_lines(path)
    assert line.text == '{"a": "\ufffd"}' and line.error


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("none.jsonl", None, r"none\.jsonl: cannot read \(No such file or directory\)$"),
        ("plain.jsonl.gz", b"{}\n", r"plain\.jsonl\.gz: cannot read \(Not a gzipped file"),
        (
            "torn.jsonl.gz",
            gzip.compress(b"".join(b'{"n": %d}\n' % n for n in range(99)))[:-9],
            r"torn\.jsonl\.gz(:\d+)?: cannot read \(cannot decompress: Compressed file ended",
        ),
        (
            "broken.jsonl.gz",
            gzip.compress(b"{}\n")[:10] + b"\xff" * 40,
            r"broken\.jsonl\.gz: cannot read \(cannot decompress: Error",
        ),
    ],
    ids=["missing", "not packed", "torn", "broken"],
)
def test_files_that_cannot_be_read(
    tmp_path: Path, name: str, data: bytes | None, message: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        list(read_lines(tmp_path / name))
    with pytest.raises(DataError, match="cannot read"):
        list(read_lines(tmp_path))


def test_a_torn_last_line_is_left_out_and_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": 2')
    assert list(read_objects(path)) == [{"n": 1}]
    with LineFile(path, resume=True) as file:
        file.write(json.dumps({"n": 3}) + "\n")
    assert list(read_objects(path)) == [{"n": 1}, {"n": 3}]


def test_an_overlong_line_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is passed over piece by piece, and known by its beginning."""
    monkeypatch.setattr(jsonl, "LONGEST", 1 << 20)
    path = tmp_path / "a.jsonl.gz"
    long = b'{"a": "' + b"x" * (5 << 20) + b'"}\n'
    path.write_bytes(gzip.compress(b'{"n": 1}\n' + long + b'{"n": 3}\n' + long[:-1]))
    lines = list(read_lines(path))
    assert [line.number for line in lines] == [1, 2, 3, 4]
    assert [line.error for line in lines] == ["", "longer than 1 MiB"] * 2
    assert lines[1].text == long[: jsonl.KEPT].decode()


def test_what_json_has_no_word_for_is_null() -> None:
    row = {"a": [1.5, float("nan"), (float("inf"),)], "b": {"c": -float("inf")}, "d": "é"}
    assert to_json(row) == '{"a": [1.5, null, [null]], "b": {"c": null}, "d": "é"}'
    assert to_json({"a": 1}, indent=1) == '{\n "a": 1\n}'
