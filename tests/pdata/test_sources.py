"""Sources: keys guessed and overridden, broken lines told apart, folders, gzip, literal markers."""

import gzip
import json
from pathlib import Path

import pytest
from pdata.sources import (
    RawLine,
    Source,
    guess_fields,
    list_files,
    parse_overrides,
    read_lines,
    read_source,
)

from pbranch.errors import DataError
from pbranch.markers import MARKERS, Role
from pbranch.text import parse, render
from pbranch.tree import make_trace, plain_text

MARKUP = f"a {MARKERS[Role.FORK]} b {MARKERS[Role.END]} c"


def read(row: object, *flags: str) -> Source:
    fields = guess_fields(row if isinstance(row, dict) else {}, parse_overrides(flags))
    return read_source(RawLine("some.jsonl", 3, json.dumps(row)), fields)


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"prompt": "p", "normal_response": "t", "gold_keys": "Zed"}, "Zed"),
        ({"question": "p", "answer": "t"}, None),
        ({"question": "p", "response": "t", "answer": 4}, "4"),
        ({"problem": "p", "solution": "t", "answer": "4"}, "4"),
        ({"prompt": "p", "response": "t"}, None),
        ({"messages": [{"role": "user", "content": "p"}], "completion": "t", "answer": "4"}, "4"),
        ({"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "t"}]},
         None),
    ],
)  # fmt: skip
def test_guesses_keys(row: dict[str, object], answer: str | None) -> None:
    source = read(row)
    assert (source.prompt, plain_text(source.trace), source.answer) == ("p", "t", answer)
    assert source.id == "some-000003" and source.origin == "some.jsonl:3"


def test_map_overrides_guesses() -> None:
    row = {"messages": [], "prompt": "no", "ask": "p", "response": "no", "trace": "t", "gold": "no"}
    source = read(row, "prompt=ask", "completion=trace", "id=gold")
    assert (source.prompt, plain_text(source.trace), source.id) == ("p", "t", "no")
    with pytest.raises(DataError, match="role=key"):
        parse_overrides(["promt=x"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p"}, "missing key 'response'"),
        ({"prompt": "p", "response": 3}, "expected text, found 3"),
        ({"prompt": "p", "response": "  "}, "the trace is empty"),
        (["p"], "expected a JSON object"),
    ],
)
def test_broken_lines_name_file_line_and_key(row: object, message: str) -> None:
    fields = guess_fields({"prompt": "p", "response": "t"}, {})
    with pytest.raises(DataError, match=f"some.jsonl:3: .*{message}"):
        read_source(RawLine("some.jsonl", 3, json.dumps(row)), fields)


@pytest.mark.parametrize(
    "text", ['{"prompt": ', '{"prompt": "\\ud800", "response": "t"}', "nan", ""]
)
def test_what_is_not_json_or_not_text_is_broken(text: str) -> None:
    with pytest.raises(DataError, match=r"some.jsonl:3: "):
        read_source(
            RawLine("some.jsonl", 3, text), guess_fields({"prompt": "", "response": ""}, {})
        )


def test_reads_gzip_and_folders_and_sets_bad_bytes_aside(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf{}\n\n\xff\n{}")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b"{}\n"))
    (tmp_path / "notes.txt").write_text("x")
    lines = [line for file in list_files(str(tmp_path)) for line in read_lines(file)]
    assert [line.origin for line in lines] == [
        "a.jsonl:1",
        "a.jsonl:3",
        "a.jsonl:4",
        "b.jsonl.gz:1",
    ]
    assert "not UTF-8" in lines[1].error and lines[0].text == "{}"


def test_missing_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        list_files(str(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="in this folder"):
        list_files(str(tmp_path))
    (tmp_path / "torn.jsonl.gz").write_bytes(gzip.compress(b"{}\n" * 99)[:-9])
    with pytest.raises(DataError, match=r"torn.jsonl.gz:\d+: cannot read"):
        list(read_lines(str(tmp_path / "torn.jsonl.gz")))


@pytest.mark.parametrize("extra", [{}, {"schema": 1}])
def test_literal_markers_are_ordinary_text(extra: dict[str, int]) -> None:
    row = {"messages": [{"role": "user", "content": MARKUP}], "completion": MARKUP, **extra}
    source = read(row)
    assert plain_text(source.trace) == MARKUP and source.prompt == MARKUP
    assert not list(source.trace.forks())
    assert plain_text(parse(render(source.trace))) == MARKUP


def test_records_of_ours_hold_tagged_text() -> None:
    tagged = render(make_trace(MARKUP))
    row = {"messages": [{"role": "user", "content": "p"}], "completion": tagged, "schema": 1}
    assert plain_text(read(row).trace) == MARKUP
