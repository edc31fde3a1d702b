"""`pdata build`: nothing lost, answers graded, broken lines aside, resumable, any worker count."""

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pdata.build.pipeline import build
from pdata.cli import app
from pdata.grading.answer_match import grade_text
from pdata.record import rejected_path
from pdata.synthetic.generator import make_record
from pdata.validate import find_problems
from typer.testing import CliRunner

from pbranch.errors import DataError
from pbranch.format.markers import MARKERS, Role
from pbranch.format.tagged_text import parse
from pbranch.format.tree import plain_text

NAMES = ("Ann Lee", "Bert Moor", "Cleo Dane")
PROMPT = "Ann Lee has 3 plums, Bert Moor has 5 and Cleo Dane has 7. Who has the most?"
STEPS = "\n".join(f"####Plums of {n}: {k} of them are there to be counted, and no more than that, "
                  "which is easy to see." for n, k in zip(NAMES, "357", strict=True))  # fmt: skip
TAIL = "Of all the three people with plums, the one who has the most of them is easy to tell. "


def row(closing: str, steps: str = STEPS, gold: str = "Cleo Dane") -> dict[str, str]:
    trace = f"{steps}\n####%%%%\n{TAIL}{closing}"
    return {"prompt": PROMPT, "normal_response": trace, "gold_keys": gold}


def write_rows(path: Path, rows: list[Any]) -> Path:
    lines = (r if isinstance(r, str) else json.dumps(r) for r in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def synthetic(path: Path, n: int = 150) -> Path:
    """Records of all tasks with a broken line and a chain in between."""
    tasks = ("records", "sums", "cases", "chain")
    rows: list[Any] = [make_record(tasks[i % 4], 3, i, 4, "train").to_json() for i in range(n)]
    rows[20] = "{broken"
    rows[70] = {"nothing": "here"}
    return write_rows(path, rows)


def load(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def distance(a: str, b: str) -> int:
    """Levenshtein distance."""
    previous = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        current = [i]
        for j, y in enumerate(b, 1):
            current.append(min(previous[j] + 1, current[-1] + 1, previous[j - 1] + (x != y)))
        previous = current
    return previous[-1]


def test_real_forms(tmp_path: Path) -> None:
    marker = MARKERS[Role.JOIN]
    rows = [
        row("name: Cleo Dane"),
        row('So the answer is "name: cleo dane".'),
        row("name: Bert Moor"),
        row("It is Cleo Dane."),
        row("It is Bert Moor or Cleo Dane."),
        row("It is one of them."),
        row(f"Note {marker} here. name: Cleo Dane"),
        row("name: Cleo Dane", steps="I just see it."),
    ]
    for strip in (False, True):
        used = [{**r, "normal_response": r["normal_response"].replace("####", "")} for r in rows]
        source = write_rows(tmp_path / "in.jsonl", used if strip else rows)
        out = tmp_path / f"out{strip}.jsonl"
        counts = build(str(source), out).as_dict()
        assert counts["in"] == counts["out"] + counts["rejected"] == 8
        assert (counts["branches"], counts["linear_by_reason"]) == (7, {"no steps": 1})
        records = load(out)
        assert [r["answer_ok"] for r in records] == [
            True,
            True,
            False,
            True,
            False,
            False,
            True,
            True,
        ]
        assert list(find_problems(out)) == []
        for record, original in zip(records, used if strip else rows, strict=True):
            plain = plain_text(parse(record["completion"], record["meta"].get("separators")))
            text = original["normal_response"]
            assert distance(plain, text) <= 0.05 * len(text)


def test_wrong_answers_can_be_rejected(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", [row("name: Cleo Dane"), row("name: Ann Lee")])
    counts = build(str(source), tmp_path / "out.jsonl", drop_wrong=True).as_dict()
    assert (counts["out"], counts["rejected_by_reason"]) == (1, {"wrong answer": 1})
    rejected = load(tmp_path / "out.rejected.jsonl")[0]
    assert rejected["origin"] == "in.jsonl:2" and "Cleo Dane" in rejected["detail"]


@pytest.mark.parametrize(
    ("text", "answer", "verdict"),
    [
        ("So it is 12. answer: 12.", "12", True),
        ("**Final answer:** name: {Zed}", "zed", True),
        ("thus \\boxed{1,200}", "1200", True),
        ("we add\n#### 72", "72", True),
        ("we add\n#### 72", "73", False),
        ("it is twelve", "12", None),
    ],
)
def test_answers(text: str, answer: str, verdict: bool | None) -> None:
    assert grade_text(text, answer).right is verdict


def test_broken_lines_are_set_aside_and_the_run_goes_on(tmp_path: Path) -> None:
    source = synthetic(tmp_path / "in.jsonl")
    counts = build(str(source), tmp_path / "out.jsonl").as_dict()
    assert counts["in"] == 150 and counts["rejected_by_reason"] == {"broken line": 2}
    assert [r["origin"] for r in load(tmp_path / "out.rejected.jsonl")] == [
        "in.jsonl:21",
        "in.jsonl:71",
    ]
    chains = [r for r in load(tmp_path / "out.jsonl") if r["meta"]["task"] == "chain"]
    assert chains and all(r["meta"]["form"] == "linear" for r in chains)
    assert counts["answer_ok"] == counts["out"]


@pytest.mark.parametrize("workers", [2, 3])
def test_any_worker_count_gives_the_same_files(tmp_path: Path, workers: int) -> None:
    source = synthetic(tmp_path / "in.jsonl", 300)
    for name, n in (("one.jsonl", 1), ("many.jsonl", workers)):
        build(str(source), tmp_path / name, workers=n)
    for one, many in (("one.jsonl", "many.jsonl"), ("one.rejected.jsonl", "many.rejected.jsonl")):
        assert (tmp_path / one).read_bytes() == (tmp_path / many).read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.33, 0.9, 1.0])
def test_resume_equals_an_undisturbed_run(tmp_path: Path, share: float) -> None:
    source = synthetic(tmp_path / "in.jsonl")
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    counts = build(str(source), whole).as_dict()
    for path, torn in ((whole, cut), (rejected_path(whole), rejected_path(cut))):
        data = path.read_bytes()
        torn.write_bytes(data[: int(len(data) * share)])
    assert build(str(source), cut, resume=True).as_dict() == counts
    assert cut.read_bytes() == whole.read_bytes()
    assert rejected_path(cut).read_bytes() == rejected_path(whole).read_bytes()


def test_full_disk_is_one_line_and_leaves_a_valid_file(tmp_path: Path) -> None:
    source, out = synthetic(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"
    limit = 20_000
    done = subprocess.run(
        [sys.executable, "-m", "pdata.cli", "build", str(source), "--out", str(out)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert len(errors) == 1 and str(out) in errors[0]
    assert 0 < out.stat().st_size <= limit and list(find_problems(out)) == []
    build(str(source), out, resume=True)
    build(str(source), tmp_path / "whole.jsonl")
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_command_line(tmp_path: Path) -> None:
    source, out = write_rows(tmp_path / "in.jsonl", [row("name: Cleo Dane")]), tmp_path / "o.jsonl"
    runner = CliRunner()
    done = runner.invoke(app, ["build", str(source), "--out", str(out), "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout)["branches"] == 1
    assert "completion=normal_response" in done.stderr
    done = runner.invoke(app, ["build", str(source), "--out", str(out), "--rewriter", "magic"])
    assert done.exit_code == 2 and "rules" in done.stderr
    done = runner.invoke(app, ["stats", str(out), "--json"])
    assert json.loads(done.stdout)["all"]["branches_mean"] == 3


def test_standard_input(tmp_path: Path) -> None:
    source, out = write_rows(tmp_path / "in.jsonl", [row("name: Cleo Dane")]), tmp_path / "o.jsonl"
    with open(source, "rb") as stdin:
        command = [sys.executable, "-m", "pdata.cli", "build", "-", "--out", str(out)]
        subprocess.run(command, stdin=stdin, check=True, capture_output=True)
    assert load(out)[0]["meta"]["origin"] == "stdin:1"


def test_unclear_sources_and_outputs_are_refused(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"foo": "a", "bar": "b"}])
    with pytest.raises(DataError, match=r"found foo, bar; give --map"):
        build(str(source), tmp_path / "out.jsonl")
    assert build(
        str(source), tmp_path / "out.jsonl", overrides=["prompt=foo", "completion=bar"]
    ).total["out"] == 1  # fmt: skip
    with pytest.raises(DataError, match="is the source itself"):
        build(str(source), source)
    aside = write_rows(tmp_path / "some.rejected.jsonl", [{"prompt": "a", "response": "b"}])
    with pytest.raises(DataError, match="is the source itself"):
        build(str(aside), tmp_path / "some.jsonl")
    assert aside.stat().st_size
    with pytest.raises(DataError, match=r"expected a .jsonl"):
        build(str(source), tmp_path / "out.txt")


@pytest.mark.parametrize("workers", [1, 2])
def test_ids_are_unique(tmp_path: Path, workers: int) -> None:
    """Whatever the source's ids, over all of its files, after an interruption, too."""
    (tmp_path / "in").mkdir()
    for name in "ab":
        rows = [{"id": i, "prompt": f"{name} {n}", "response": f"It is {n}."}
                for n, i in enumerate(["x", "x", "", "x-2", 7, None, "x"])]  # fmt: skip
        write_rows(tmp_path / "in" / f"{name}.jsonl", rows)
    out = tmp_path / "out.jsonl"
    build(str(tmp_path / "in"), out, workers=workers)
    whole = out.read_bytes()
    ids = [record["id"] for record in load(out)]
    assert len(ids) == len(set(ids)) == 14 and ids[:5] == ["x", "x-2", "a-000003", "x-2-2", "7"]
    assert list(find_problems(out)) == []
    for lines in (1, 5, 9):
        out.write_bytes(b"".join(whole.splitlines(keepends=True)[:lines]) + b'{"id"')
        build(str(tmp_path / "in"), out, workers=workers, resume=True)
        assert out.read_bytes() == whole
