"""`pdata check` names every problem with its line; `pdata stats` counts by hand-made traces."""

import json
from pathlib import Path
from typing import Any

import pytest
from pdata.cli import app
from pdata.report.statistics import collect_stats, measure
from pdata.validate import find_problems
from typer.testing import CliRunner

from pbranch.errors import DataError
from pbranch.format.markers import MARKERS, Role
from pbranch.format.tagged_text import parse

FORK, TOPIC, SPAWN, BRANCH, END, JOIN = (MARKERS[r] for r in Role)


def block(*items: tuple[str, str]) -> str:
    outline = "".join(TOPIC + topic for topic, _ in items)
    return f"{FORK}{outline}{SPAWN}" + "".join(BRANCH + t + b + END for t, b in items) + JOIN


GOOD = f"Look. {block(('one', ': a b c'), ('two', ': a'))} So one."


def record(completion: str, **keys: Any) -> dict[str, Any]:
    row = {
        "id": f"x{len(completion)}", "messages": [{"role": "user", "content": "p"}],
        "completion": completion, "answer": None, "answer_ok": None, "source": "t", "meta": {},
        "schema": 1,
    }  # fmt: skip
    return {**row, **keys}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{r if isinstance(r, str) else json.dumps(r)}\n" for r in rows))
    return path


def test_good_records_have_no_problem(tmp_path: Path) -> None:
    good = write(tmp_path / "a.jsonl", record(GOOD), record("No branches."))
    assert list(find_problems(good)) == []
    assert CliRunner().invoke(app, ["check", str(good)]).exit_code == 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "not JSON"),
        ('{"id": "\\ud800"}', "half of a surrogate pair"),
        (record(GOOD, schema=2), "expected 1, found 2"),
        ({**record(GOOD), "extra": 1}, "unknown key 'extra'"),
        (record(GOOD.replace(JOIN, "")), "expected"),
        (record(block(("one", ": a"))), "one branch"),
        (record(block(("one", ": a"), ("One", ": b"))), "equal topics"),
        (record(block(("one", ": a"), ("", "b"))), "empty topic"),
        (record(block(("one", ": a"), ("two", " "))), "empty body"),
        (record(GOOD, meta={"form": "linear"}), "meta.form"),
        (record(GOOD, meta={"separators": [1]}), "meta.separators"),
        (record(GOOD, meta={"separators": ["a", "b"]}), "2 separators"),
        (record("  "), "empty"),
    ],
)
def test_problems_name_file_and_line(tmp_path: Path, row: Any, message: str) -> None:
    path = write(tmp_path / "a.jsonl", record("fine"), row)
    problems = list(find_problems(path))
    assert len(problems) == 1 and problems[0].startswith(f"{path}:2: ") and message in problems[0]
    assert CliRunner().invoke(app, ["check", str(path)]).exit_code != 0


def test_repeated_ids_are_a_problem(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", record("fine", id="a"), record("too", id="a"))
    assert "stands in line 1" in next(find_problems(path))


def test_sizes_count_outline_and_headers() -> None:
    size = measure(parse(GOOD))
    # trunk 3, outline 2, branches 4 and 2, each with its header
    assert (size.linear, size.serial, size.critical) == (9, 11, 9)
    assert size.widths == (2,) and size.branches == (4, 2)
    nested = measure(parse(block(("p", " " + GOOD), ("q", ": x"))))
    assert nested.critical == 2 + 1 + 9 and nested.widths == (2, 2)


def test_stats_by_task(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        record(GOOD, meta={"task": "t"}, answer_ok=True),
        record("Plain words.", meta={"task": "u"}, answer_ok=False),
    )
    stats = collect_stats(path)
    assert list(stats) == ["all", "t", "u"]
    assert (stats["all"]["forked_share"], stats["t"]["ideal_ratio"]) == (0.5, 1.222)
    assert stats["u"]["ideal_ratio"] is None and stats["all"]["answer_ok_share"] == 0.5
    with pytest.raises(DataError, match=r"a.jsonl:1: "):
        collect_stats(write(tmp_path / "a.jsonl", record(GOOD.replace(JOIN, ""))))
