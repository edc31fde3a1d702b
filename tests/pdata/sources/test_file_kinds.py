"""Files of any kind, packing and name give the same rows; what is none of them is one line."""

import bz2
import gzip
import io
import json
import lzma
import sys
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pdata.sources.reader import list_files, look_at_files
from pdata.sources.source import read_source

from pbranch.errors import DataError
from pbranch.format.tree import plain_text

ROWS = [
    {"prompt": f"List {i} woods, “fine”.", "response": f"- Ash, {i}.\n- Fir."} for i in range(3)
]
LINES = "\n".join(map(json.dumps, ROWS))
LIST = json.dumps(ROWS)


def read(path: Path) -> list[Any]:
    found: list[Any] = []
    for file in look_at_files(list_files(str(path)), {}):
        for line in file.read():
            try:
                source = read_source(line, file.schemas)
                found.append({"prompt": source.prompt, "response": plain_text(source.trace)})
            except DataError as e:
                found.append(str(e))
    return found


def table(delimiter: str) -> str:
    cells = (f'"{row["prompt"]}"{delimiter}"{row["response"]}"\n' for row in ROWS)
    return f"prompt{delimiter}response\n" + "".join(cells)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", LIST),
        ("a.jsonl", LIST),
        ("a.json", json.dumps(ROWS, indent=1)),
        ("a.jsonl", json.dumps(ROWS, indent=1)),
        ("a.json", LINES),
        ("a.txt", LINES),
        ("a", LINES),
        ("a.json", "\n".join(json.dumps(row, indent=2) for row in ROWS)),
        ("a.json", "[\n" + ",\n".join(map(json.dumps, ROWS)) + ",\n]\n"),
        ("a.json", json.dumps({"version": 1, "data": ROWS})),
        ("a.json", json.dumps({"train": ROWS[:2], "info": {"n": 3}, "test": ROWS[2:]}, indent=1)),
        ("a.json", json.dumps({f"q{i}": row for i, row in enumerate(ROWS)})),
        ("a.json", json.dumps({key: [row[key] for row in ROWS] for key in ROWS[0]})),
        ("a.json", json.dumps({key: {i: r[key] for i, r in enumerate(ROWS)} for key in ROWS[0]})),
        ("a.json", json.dumps({"rows": [{"row_idx": 1, "row": row} for row in ROWS]})),
        ("a.csv", table(",")),
        ("a.csv", "\ufeff" + table(";").replace("\n-", "\r\n-").replace("\r", "")),
        ("a.tsv", table("\t")),
        ("a.txt", table(",")),
    ],
    ids=range(19),
)
def test_kinds_are_told_by_their_content(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read(tmp_path / name) == ROWS


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("text", [LINES, LIST, table(",")], ids=["lines", "list", "table"])
def test_packings_are_told_by_their_bytes(tmp_path: Path, pack: Any, text: str) -> None:
    (tmp_path / "a").write_bytes(pack(text.encode()))
    assert read(tmp_path / "a") == ROWS


def test_archives(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "some.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("in/a.json", LIST)
        packed.writestr("in/b.csv", "question,answer\nq,It is ash.\n")
        packed.writestr("in/c.jsonl.gz", gzip.compress(LINES.encode()))
        packed.writestr("in/README.md", "none")
        packed.writestr("__MACOSX/in/._a.json", "none")
    files = look_at_files(list_files(str(tmp_path)), {})
    assert [f"{next(file.read()).origin}" for file in files] == [
        "some.zip/in/a.json:1", "some.zip/in/b.csv:1", "some.zip/in/c.jsonl.gz:1"
    ]  # fmt: skip
    second = {"prompt": "q", "response": "It is ash."}
    assert read(tmp_path / "some.zip") == [*ROWS, second, *ROWS]
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as packed:
        packed.writestr("a.md", "x")
        packed.writestr("b.md", "x")
    with pytest.raises(DataError, match=r"none.zip: no .* file in this archive"):
        read(tmp_path / "none.zip")


def test_members_that_are_missing_or_there_twice(tmp_path: Path) -> None:
    """Of two members of one name the last one counts, as in every unpacked archive, once."""
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        warnings.simplefilter("ignore")
        for line in LINES.splitlines(keepends=True)[:2]:
            packed.writestr("a.jsonl", line)
    assert read(tmp_path / "x.zip") == [ROWS[1]]
    with pytest.raises(DataError, match=r"x.zip: no file b.jsonl in this archive"):
        read(tmp_path / "x.zip" / "b.jsonl")


def test_standard_input_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(gzip.compress(LIST.encode())))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert read(Path("-")) == ROWS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"Once upon a time, there was.\nMore.", "expected JSON, CSV, TSV or Parquet"),
        ("a.csv", "prompt,response\nq,t\n".encode("utf-16"), "is UTF-16 text, expected UTF-8"),
        ("a.bin", b"\0\1\2", "is no text"),
        ("a.zst", b"\x28\xb5\x2f\xfd0", "is Zstandard, unpack it first"),
        ("a.csv", b'prompt,response\nq,"never closed\nx,y\n', r":1: not CSV near line 3"),
        ("a.csv", b"prompt,prompt\nq,t\n", "has the column 'prompt' twice"),
        ("a.json", json.dumps(ROWS, indent=1)[:-60].encode(), r"a.json:3: not JSON: "),
        ("a.json", b'[{"prompt": "q", "response": "t"} {}]', "not JSON: expected , or ]"),
        ("a.jsonl", b"", "no row in this file"),
        ("a.json", b" \n\n", "no row in this file"),
        ("a.json", b"[]", "no row in this file"),
        ("a.csv", b"prompt,response\n", "no row in this file"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name)) and "\n" not in str(caught.value)


def test_a_bad_row_is_set_aside(tmp_path: Path) -> None:
    """As a bad line is: a row of the wrong width, an element that is no object, bytes."""
    (tmp_path / "a.csv").write_text("prompt,response\na,b,c\nq,An answer.\n")
    wide, good = read(tmp_path / "a.csv")
    assert "a.csv:1: expected 2 cells, found 3" in wide and good["response"] == "An answer."
    (tmp_path / "b.json").write_bytes(LIST[:-1].encode() + b', 3, {"prompt": "\xff"}]')
    *kept, number, bytes_ = read(tmp_path / "b.json")
    assert kept == ROWS and "b.json:4: found int" in number and "not UTF-8" in bytes_
    (tmp_path / "c.jsonl").write_text('{"prompt": \n' + LINES + "\n{broken\n[1]\n")
    first, *kept, broken, listed = read(tmp_path / "c.jsonl")
    assert kept == ROWS and all("c.jsonl:" in text for text in (first, broken, listed))


def test_a_row_with_a_list_of_objects_is_one_row(tmp_path: Path) -> None:
    row = {**ROWS[0], "shots": [{"question": "q", "answer": "It is so."}], "seen": [{"url": "u"}]}
    (tmp_path / "a.json").write_text(json.dumps(row, indent=1))
    assert read(tmp_path / "a.json") == ROWS[:1]
    turns = [{"human": "p", "assistant": "t"}] * 2
    (tmp_path / "b.json").write_text(json.dumps({"conversations": turns}, indent=1))
    assert read(tmp_path / "b.json") == [{"prompt": "p\nt\np", "response": "t"}]


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_long_list_is_read_piece_by_piece(tmp_path: Path, wrapped: bool) -> None:
    rows = [{"prompt": f"p{i}", "response": "word " * 400} for i in range(4000)]
    (tmp_path / "a.json").write_text(json.dumps({"data": rows} if wrapped else rows))
    del rows
    (file,) = look_at_files([str(tmp_path / "a.json")], {})
    tracemalloc.start()
    try:
        assert sum(1 for _ in file.read()) == 4000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20 < (tmp_path / "a.json").stat().st_size


def test_cells_may_be_long(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,response\nq," + "x" * 300_000 + "\n")
    assert len(read(tmp_path / "a.csv")[0]["response"]) == 300_000


def test_files_of_a_folder_have_their_own_keys(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(LIST)
    (tmp_path / "b.csv").write_text("question,answer\nq,It is ash.\n")
    (tmp_path / "dataset_info.json").write_text('{"features": {}}')
    (tmp_path / "e.jsonl").write_text("")
    files = look_at_files(list_files(str(tmp_path)), {})
    maps = [str(fields) for file in files for fields in file.schemas.maps]
    assert maps == ["prompt=prompt, completion=response", "prompt=question, completion=answer"]
    assert [file.empty for file in files] == [False, False, True]
    given = look_at_files(list_files(str(tmp_path)), {"prompt": "question"})  # one file has it
    assert str(given[0].schemas.maps[0]) == maps[0]
    for role, key, meant in (
        ("prompt", "promt", "prompt"), ("completion", "reponse", "response"),
        ("answer", "anwser", "answer"),
    ):  # fmt: skip
        said = rf"--map {role}={key}: no such key; found .*mean {meant}\?"
        with pytest.raises(DataError, match=said):
            look_at_files(list_files(str(tmp_path)), {role: key})
    (tmp_path / "z.json").write_text('[{"foo": "x", "bar": "y"}]')
    with pytest.raises(DataError, match=r"z.json: cannot tell .*found foo, bar; give --map"):
        look_at_files(list_files(str(tmp_path)), {})
