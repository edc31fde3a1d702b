"""No command writes over what it reads; a run goes on with what it was begun with; one writer."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pdata.build.convert import convert
from pdata.build.distill import Criteria, distill
from pdata.build.outputs import check_out
from pdata.build.pipeline import build
from pdata.cli import app
from pdata.record import rejected_path
from pdata.report.html import write_html
from typer.testing import CliRunner

from pbranch.errors import DataError
from pbranch.files.jsonl import LineFile
from tests.pdata.build.test_distill import generation, load, write_rows

ROW = {"prompt": "q", "response": "1. a is red.\n2. b is blue.", "id": "x"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "t.jsonl", [ROW, {**ROW, "prompt": "r"}, "{broken"])


def refused(call: Callable[[], Any], source: Path) -> None:
    before = source.read_bytes()
    with pytest.raises(DataError, match="is the source itself"):
        call()
    assert source.read_bytes() == before


def test_links_to_the_source_are_refused(source: Path) -> None:
    hard, soft = source.parent / "h.jsonl", source.parent / "s.jsonl"
    os.link(source, hard)
    soft.symlink_to(source)
    for out in (hard, soft):
        refused(lambda out=out: build(str(source), out), source)
        refused(lambda out=out: convert(str(source), out, "paper"), source)
        refused(lambda out=out: distill(source, out), source)
        refused(lambda out=out: write_html(source, out), source)
        refused(lambda out=out: build(str(source), out, resume=True), source)


@pytest.mark.parametrize("name", ["o.rejected.jsonl", "o.run"])
def test_what_lies_next_to_the_output_is_no_source(tmp_path: Path, name: str) -> None:
    source = write_rows(tmp_path / name, [ROW])
    refused(lambda: build(str(source), tmp_path / "o.jsonl"), source)
    refused(lambda: distill(source, tmp_path / "o.jsonl"), source)


def test_the_page_of_a_file_is_not_its_rejected_ones(source: Path) -> None:
    build(str(source), source.parent / "o.jsonl")
    aside = source.parent / "o.rejected.jsonl"
    refused(lambda: write_html(source.parent / "o.jsonl", aside), aside)


def test_the_cache_of_replies_is_no_source(source: Path) -> None:
    server = ["--base-url", "http://127.0.0.1:9/v1", "--model", "m"]
    out = source.parent / "o.jsonl"
    asked = write_rows(source.parent / "o.generations.jsonl", [ROW])
    for arguments, read in (
        (["build", source, "--rewriter", "llm", "--cache", source], source),
        (["distill", asked], asked),
    ):
        before = read.read_bytes()
        done = CliRunner().invoke(app, [*map(str, arguments), "--out", str(out), *server])
        assert "is the source itself" in str(done.exception)
        assert read.read_bytes() == before and not out.exists()
    for name in ("o.jsonl", "o.rejected.jsonl"):
        with pytest.raises(DataError, match="is written as"):
            check_out(out, str(source), source.parent / name)


def test_an_output_in_the_folder_that_is_read_is_refused(source: Path, tmp_path: Path) -> None:
    """The next run would read it."""
    with pytest.raises(DataError, match="would be a source of the next run"):
        build(str(source.parent), source.parent / "new.jsonl")
    (tmp_path / "out").mkdir()
    assert build(str(source.parent), tmp_path / "out" / "new.jsonl").total["in"] == 3


def test_two_writers_of_one_output(source: Path) -> None:
    out = source.parent / "o.jsonl"
    build(str(source), out)
    before = out.read_bytes(), rejected_path(out).read_bytes()
    for held in (out, rejected_path(out)):
        with LineFile(held, True):
            for resume in (False, True):
                with pytest.raises(DataError, match="another process is writing it"):
                    build(str(source), out, resume=resume)
    assert held.read_bytes() == before[1] and build(str(source), out).total["in"] == 3


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "max words": ({"max_words": 3}, "--max-words none, now 3"),
    "wrong": ({"drop_wrong": True}, "--drop-wrong false, now true"),
    "near": ({"drop_near_duplicates": True}, "--drop-near-duplicates false"),
    "map": ({"overrides": ["completion=prompt"]}, "--map"),
    "rewriter": ({"settings": {"--rewriter": "llm"}}, '--rewriter none, now "llm"'),
}


@pytest.mark.parametrize(("options", "said"), CHANGES.values(), ids=CHANGES)
def test_resuming_with_other_settings(source: Path, options: dict[str, Any], said: str) -> None:
    out = source.parent / "o.jsonl"
    build(str(source), out)
    cut(out)
    before = out.read_bytes()
    with pytest.raises(DataError, match=said):
        build(str(source), out, resume=True, **options)
    assert out.read_bytes() == before
    assert build(str(source), out, resume=True).total["in"] == 3


def cut(out: Path) -> None:
    """As a kill leaves it: the first line, and a torn one."""
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(lines[0] + lines[1][:9])


def replace_source(source: Path) -> None:
    write_rows(source, [{**ROW, "prompt": "other"}, ROW, ROW])


def insert_line(source: Path) -> None:
    source.write_text('{"prompt": "new", "response": "1."}\n' + source.read_text())


@pytest.mark.parametrize("change", [replace_source, insert_line])
def test_resuming_with_another_source(source: Path, change: Callable[[Path], None]) -> None:
    out = source.parent / "o.jsonl"
    build(str(source), out)
    cut(out)
    change(source)
    with pytest.raises(DataError, match=r"made with source .*; --resume goes on with the same"):
        build(str(source), out, resume=True)
    elsewhere = source.parent / "other"
    elsewhere.mkdir()
    same_name = write_rows(elsewhere / "t.jsonl", [ROW])
    with pytest.raises(DataError, match="made with source"):
        build(str(same_name), out, resume=True)
    assert build(str(source), out).total["in"] == len(source.read_text().splitlines())


def test_resuming_on_a_file_of_others(source: Path) -> None:
    """No line of another file is taken for one of the run's, nor does it end in a traceback."""
    out = source.parent / "o.jsonl"
    build(str(source), out)
    (good, *_) = load(out)
    other = {**good, "meta": {"origin": "y.jsonl:1"}}
    strange = {
        r"o\.jsonl:1: missing key": {"something": "else"},
        r"o\.jsonl:1: of y\.jsonl:1, expected lines of t": other,
        r"o\.jsonl:1: of t\.jsonl:x": {**good, "meta": {"origin": "t.jsonl:x"}},
        r"o\.jsonl:1: no meta\.form": {**good, "meta": {"origin": "t.jsonl:1"}},
        r"o\.jsonl:1: meta\.separators": {**good, "meta": {**good["meta"], "separators": 5}},
    }
    for said, row in strange.items():
        write_rows(out, [row])
        before = out.read_bytes()
        with pytest.raises(DataError, match=said):
            build(str(source), out, resume=True)
        assert out.read_bytes() == before
    write_rows(out, [{**good, "meta": {**good["meta"], "form": "linear", "linear": ["[/red]"]}}])
    assert build(str(source), out, resume=True).total["in"] == 3


def test_distilling_goes_on_with_the_same(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "g.jsonl", [generation(i) for i in range(3)])
    out = tmp_path / "o.jsonl"
    counts = distill(source, out)
    cut(out)
    with pytest.raises(DataError, match="made with unknown false, now true"):
        distill(source, out, criteria=Criteria(unknown=True), resume=True)
    assert distill(source, out, resume=True) == counts
    with open(source, "a") as file:
        file.write("{}\n")
    with pytest.raises(DataError, match="made with source"):
        distill(source, out, resume=True)
