"""Parquet files and `hf:` data sets: rows are read like lines, streams as they come."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest
from pdata.build.pipeline import build
from pdata.roles.guess import guess_fields
from pdata.sources.reader import list_files, read_source_lines
from pdata.sources.source import read_source

from pbranch.errors import DataError
from pbranch.format.tree import plain_text

TURNS = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "t"}]


def write_parquet(path: Path, rows: list[dict[str, object]]) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=1000)


def test_parquet_rows_are_read_like_lines(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"prompt": f"p{i}", "response": f"你好 {i}", "raw": b"\xff\x00", "at": date(2020, 1, 2)}
        for i in range(300)
    ]
    write_parquet(tmp_path / "b.parquet", rows)
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "p", "response": "t"}))
    files = list_files(str(tmp_path))
    assert [Path(f).name for f in files] == ["a.jsonl", "b.parquet"]
    lines = list(read_source_lines(files[1]))
    assert [line.origin for line in lines] == [f"b.parquet:{i}" for i in range(1, 301)]
    assert lines[7].parse() == {
        "prompt": "p7", "response": "你好 7", "raw": "<2 bytes>", "at": "2020-01-02"
    }  # fmt: skip
    fields = guess_fields(lines[0].parse(), {})
    ids = {read_source(line, fields).id for f in files for line in read_source_lines(f)}
    assert len(ids) == 301  # files of one name keep apart


def test_nested_parquet_columns_become_messages(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [{"messages": TURNS}])
    line = next(read_source_lines(str(tmp_path / "a.parquet")))
    source = read_source(line, guess_fields(line.parse(), {}))
    assert (source.prompt, plain_text(source.trace)) == ("p", "t")


def test_a_build_from_parquet_is_one_from_lines(tmp_path: Path) -> None:
    """Any worker count, and going on after an interruption, too."""
    rows: list[dict[str, object]] = [
        {"question": f"Is {i} odd?", "answer": f"It is {i}.\n#### {i}"} for i in range(200)
    ]
    write_parquet(tmp_path / "a.parquet", rows)
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    build(str(tmp_path / "a.jsonl"), one)
    build(str(tmp_path / "a.parquet"), two, workers=2)
    whole = two.read_bytes()
    assert whole.replace(b"a.parquet", b"a") == one.read_bytes().replace(b"a.jsonl", b"a")
    two.write_bytes(whole[:5000])
    build(str(tmp_path / "a.parquet"), two, resume=True)
    assert two.read_bytes() == whole


def test_broken_parquet_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(DataError, match=r"a.parquet:1: cannot read \([^\n]+\)$"):
        list(read_source_lines(str(tmp_path / "a.parquet")))


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    """A data set with two splits of different sizes."""
    for split, n in (("train", 5), ("test", 2)):
        rows = [{"prompt": f"{split} {i}", "response": "t"} for i in range(n)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def test_hub_data_sets_are_streamed(hub_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = f"hf:{hub_folder}"
    assert list_files(source) == [source]
    lines = list(read_source_lines(source))
    assert len(lines) == 5 and lines[4].origin == f"{source}:5"
    assert lines[0].parse() == {"prompt": "train 0", "response": "t"}
    assert "split train" in capsys.readouterr().err
    assert len(list(read_source_lines(f"{source}:test"))) == 2
    assert len(list(read_source_lines(f"{source}:default:test"))) == 2


def test_hub_streams_are_read_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is taken when it is asked for; a connection cut on the way names the row."""
    import datasets

    taken = []

    def rows() -> Iterator[dict[str, str]]:
        for i in range(4):
            taken.append(i)
            yield {"prompt": f"p{i}", "response": "t"}
        raise ConnectionError("cut\nwith a long story")

    stream = datasets.IterableDataset.from_generator(rows)
    splits = datasets.IterableDatasetDict({"only": stream})
    builder = SimpleNamespace(
        config=SimpleNamespace(data_files={"only": ["hf://datasets/some/name@1f/a.jsonl"]}),
        as_streaming_dataset=lambda: splits,
    )
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_: builder)
    lines = read_source_lines("hf:some/name")
    assert next(lines).origin == "hf:some/name:1" and len(taken) < 4
    with pytest.raises(DataError, match=r"^hf:some/name:5: cannot read \(cut with a long story\)$"):
        list(lines)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hf:{}:none", "no split 'none'; found "),
        ("hf:{}:other:train", "cannot read .*other"),
        ("hf:nobody/nothing-here", "cannot read .*nobody/nothing-here"),
    ],
)
def test_unknown_data_sets_are_one_line(hub_folder: Path, source: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        list(read_source_lines(source.format(hub_folder)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("way", ["absolute", "above", "link", "address", "other"])
def test_files_outside_a_data_set_are_not_read(way: str, tmp_path: Path) -> None:
    """A README may name any path and any address."""
    secret = tmp_path / "secret.jsonl"
    secret.write_text('{"prompt": "secret", "response": "secret"}\n')
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"prompt": "p", "response": "t"}\n')
    path = {
        "absolute": str(secret), "above": "../secret.jsonl", "link": "link.jsonl",
        "address": "http://127.0.0.1:9/secret.jsonl",
        "other": "hf://datasets/some/other@1f/secret.jsonl",
    }[way]  # fmt: skip
    if way == "link":
        (folder / "link.jsonl").symlink_to(secret)
    head = {"configs": [{"config_name": "default", "data_files": path}]}
    (folder / "README.md").write_text(f"---\n{json.dumps(head)}\n---\n")
    with pytest.raises(DataError, match=r"outside the data set|cannot read") as caught:
        print(list(read_source_lines(f"hf:{folder}")))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["hf:", "hf::train", "hf:a:", "hf:a:b:c:d"])
def test_misspelled_data_sets_are_refused(source: str) -> None:
    with pytest.raises(DataError, match="expected hf:dataset"):
        list_files(source)
