"""The `pdata` command with its judge, filters, server, report, dialects: as a user types it."""

import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pdata.record import write_jsonl
from pdata.synthetic.generator import make_record

from pbranch.format.markers import MARKERS, Role
from tests.pdata.build.test_distill import generation, load, model, prompts, write_rows
from tests.pdata.judge.test_judge import as_record, forced_fork
from tests.pdata.llm.test_rewriter import BY_MODEL, CASES, LINEAR, brain, make_trace_of
from tests.support.chat_server import serving


def pdata(*arguments: Any, code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [sys.executable, "-m", "pdata.cli", *map(str, arguments)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


def counts_of(*arguments: Any) -> dict[str, Any]:
    return json.loads(pdata(*arguments, "--json").stdout)


def write_linear(path: Path, task: str, n: int, level: int = 4) -> Path:
    write_jsonl(path, [make_record(task, 3, i, level, "train") for i in range(n)])
    return path


@pytest.mark.slow
def test_a_judge_straightens_what_depends(tmp_path: Path) -> None:
    """Chains that were forked all the same are linear again; independent blocks stay."""
    records = [make_record("records", 3, i, 4, "train") for i in range(3)]
    drawn = [make_record("chain", 3, i, 4, "train") for i in range(3)]
    chains = [as_record(record, forced_fork(record)) for record in drawn]
    source, out = tmp_path / "mixed.jsonl", tmp_path / "out.jsonl"
    write_jsonl(source, [*records, *chains])
    plain = counts_of("build", source, "--out", tmp_path / "plain.jsonl")
    assert plain["branches"] == 6
    judged = counts_of("build", source, "--out", out, "--judge-model", "tiny")
    assert (judged["branches"], judged["linear_by_reason"]) == (3, {"dependent steps": 3})
    assert all(len(row["meta"]["independence"]) == 1 for row in load(out))
    assert not pdata("check", out).stdout
    loose = counts_of("build", source, "--out", tmp_path / "loose.jsonl", "--judge-model", "tiny",
                      "--judge-threshold", "99")  # fmt: skip
    assert loose["branches"] == 6
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(out.read_bytes().splitlines(keepends=True)[:4]))
    assert counts_of("build", source, "--out", cut, "--judge-model", "tiny", "--resume") == judged
    assert cut.read_bytes() == out.read_bytes()


def test_filters_and_resume(tmp_path: Path) -> None:
    source = write_linear(tmp_path / "some.jsonl", "records", 12)
    rows = source.read_text().splitlines(keepends=True)
    long = json.loads(rows[0]) | {"id": "long", "completion": "word " * 400 + "\nname: Ann"}
    source.write_text("".join([*rows, rows[3], rows[5], json.dumps(long) + "\n"]))
    options = ["build", source, "--max-words", "300", "--drop-near-duplicates"]
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    found = counts_of(*options, "--out", whole)
    assert found["rejected_by_reason"] == {"near-duplicate": 2, "over-long": 1}
    assert (found["in"], found["out"]) == (15, 12)
    rejected = load(tmp_path / "whole.rejected.jsonl")
    assert rejected[0]["detail"] == "of some.jsonl:4"
    assert pdata(*options, "--out", tmp_path / "w2.jsonl", "--workers", 2)
    assert (tmp_path / "w2.jsonl").read_bytes() == whole.read_bytes()
    cut.write_bytes(b"".join(whole.read_bytes().splitlines(keepends=True)[:7]))
    assert counts_of(*options, "--out", cut, "--resume") == found
    assert cut.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_a_server_rewrites_and_a_killed_run_goes_on(tmp_path: Path) -> None:
    traces = [make_trace_of(n) for n in range(len(CASES))]
    traces = [t for t in traces if t["case"] not in ("always-500", "refused")]
    source, out = tmp_path / "traces.jsonl", tmp_path / "out.jsonl"
    write_rows(source, [{k: t[k] for k in ("prompt", "text", "answer")} for t in traces])
    with serving(brain) as server:
        options = ["build", source, "--map", "completion=text", "--rewriter", "llm", "--base-url",
                   server.url, "--model", "m", "--workers", 8]  # fmt: skip
        found = counts_of(*options, "--out", out)
        assert found["in"] == found["out"] == len(traces)
        forms = {t["case"]: r["meta"] for t, r in zip(traces, load(out), strict=True)}
        for case, meta in forms.items():
            assert (meta["form"] == "linear") == (case in LINEAR), (case, meta)
            assert ("forks" in meta) == (case not in LINEAR), (case, meta)
            by_model = [x["found_by"] == "model" for x in meta.get("forks", ())]
            assert all(by_model) if case in BY_MODEL else not any(by_model), (case, meta)
        asked = sum(server.met.values())
        again = tmp_path / "again.jsonl"
        counts_of(*options, "--out", again, "--cache", tmp_path / "out.replies")
        assert again.read_bytes() == out.read_bytes()
        assert sum(server.met.values()) == asked, "every reply was kept"
        cut = tmp_path / "cut.jsonl"
        process = subprocess.Popen(
            [sys.executable, "-m", "pdata.cli", *map(str, options), "--out", cut],
            stderr=subprocess.DEVNULL,
        )
        while not cut.exists() or cut.read_bytes().count(b"\n") < 5:
            assert process.poll() is None
        process.kill()
        process.wait()
        assert counts_of(*options, "--out", cut, "--resume") == found
        assert cut.read_bytes() == out.read_bytes()
        told = pdata(*options, "--out", tmp_path / "paid.jsonl", "--cache", tmp_path / "paid",
                     "--prices", 10, 100).stderr  # fmt: skip
        assert 0 < float(re.search(r"cost ([\d.]+)", told)[1]) < 10
    gone = pdata(*options, "--out", tmp_path / "gone.jsonl", "--cache", tmp_path / "n", code=1)
    assert "cannot reach" in gone.stderr or "127.0.0.1" in gone.stderr


def test_llm_needs_a_server(tmp_path: Path) -> None:
    done = pdata("build", "-", "--out", tmp_path / "o.jsonl", "--rewriter", "llm", code=2)
    assert "--base-url" in done.stderr


@pytest.mark.slow
def test_distilling_from_a_server_survives_kills(tmp_path: Path) -> None:
    """Killed three times at random, then resumed: both files are those of an undisturbed run."""
    file = prompts(tmp_path / "prompts.jsonl", 60)

    def slowly(messages: list[dict[str, str]]) -> str:
        time.sleep(0.05)
        return model(messages)

    def run(out: Path, url: str) -> list[Any]:
        return ["distill", file, "--out", out, "--base-url", url, "--model", "m", "-n", 2,
                "--workers", 4]  # fmt: skip

    names = ("out.jsonl", "out.rejected.jsonl", "out.generations.jsonl")
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    draw = random.Random(4)
    with serving(slowly, trouble=0.05) as server:
        found = counts_of(*run(tmp_path / "whole" / "out.jsonl", server.url))
        command = run(tmp_path / "cut" / "out.jsonl", server.url)
        for _ in range(3):
            process = subprocess.Popen(
                [sys.executable, "-m", "pdata.cli", *map(str, command), "--resume"],
                stderr=subprocess.DEVNULL,
            )
            time.sleep(draw.uniform(1.0, 3.0))
            process.kill()
            process.wait()
        assert counts_of(*command, "--resume") == found
    for name in names:
        whole, cut = (tmp_path / run / name for run in ("whole", "cut"))
        assert whole.read_text().replace("/whole/", "/cut/") == cut.read_text(), name
    assert found["out"] > 0 and found["rejected"] > 0


def test_distill_and_convert(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "gen.jsonl", [generation(1), generation(2, answer="Ann Lee")])
    found = counts_of("distill", rows, "--out", tmp_path / "kept.jsonl")
    assert (found["in"], found["out"]) == (2, 1)
    assert not pdata("check", tmp_path / "kept.jsonl").stdout
    text = (
        "So. <Parallel><Goal><Outline>1: Ann</Outline><Outline>2: Bert</Outline></Goal>"
        "<Path>1: Ann is tall.</Path><Path>2: Bert is not.</Path><Conclusion>Ann.</Conclusion>"
        "</Parallel> Done."
    )
    write_rows(tmp_path / "m.jsonl", [{"prompt": "Who?", "completion": text}])
    out = tmp_path / "converted.jsonl"
    found = counts_of("convert", tmp_path / "m.jsonl", "--from", "multiverse", "--out", out)
    assert found["out"] == 1 and MARKERS[Role.FORK] in load(out)[0]["completion"]
    wrong = pdata("convert", tmp_path / "m.jsonl", "--from", "multi", "--out", out, code=1)
    assert "multiverse" in wrong.stderr


def test_the_report_is_written(tmp_path: Path) -> None:
    source = write_linear(tmp_path / "some.jsonl", "sums", 5)
    counts_of("build", source, "--out", tmp_path / "out.jsonl")
    done = pdata("stats", tmp_path / "out.jsonl", "--html", tmp_path / "report.html")
    assert "report.html" in done.stderr
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("name", ["no/such/model", "records"])
def test_a_judge_that_is_none_is_one_line(tmp_path: Path, name: str) -> None:
    source = write_linear(tmp_path / "some.jsonl", "sums", 1)
    done = pdata("build", source, "--out", tmp_path / "o.jsonl", "--judge-model", name, code=1)
    assert name in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "o.jsonl").exists()


def test_a_run_that_keeps_nothing_fails_and_says_why(tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    write_rows(tmp_path / "a.jsonl", [{"prompt": "q", "response": "  "}, {"prompt": "q"}])
    done = pdata("build", tmp_path / "a.jsonl", "--out", out, "--json", code=1)
    assert "no trace was kept: 2 broken line; the first is a.jsonl:1: key 'response'" in done.stderr
    assert json.loads(done.stdout)["in"] == json.loads(done.stdout)["rejected"] == 2
    done = pdata("convert", tmp_path / "a.jsonl", "--from", "paper", "--out", out, code=1)
    assert "no trace was kept" in done.stderr
    write_rows(tmp_path / "b.jsonl", [{"prompt": "q", "response": "It is ash."}])
    kept = (tmp_path / "b.jsonl").read_bytes()
    wrong = pdata("build", tmp_path / "b.jsonl", "--out", out, "--map", "prompt=promt", code=1)
    assert "did you mean prompt?" in wrong.stderr and (tmp_path / "b.jsonl").read_bytes() == kept
    (tmp_path / "c.jsonl").write_text("")
    assert (
        "no row in this file" in pdata("build", tmp_path / "c.jsonl", "--out", out, code=1).stderr
    )


def test_what_is_built_from_any_file_passes_the_check(tmp_path: Path) -> None:
    """The guess is said with an example; ids of two files are apart; nothing is lost."""
    rows = [{"id": "a", "question": f"q{i}", "cot": f"We count the woods: {i}.", "answer": str(i)}
            for i in range(70)]  # fmt: skip
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").write_text(json.dumps(rows))
    (tmp_path / "in" / "b.csv").write_text("id,prompt,response\na,q,It is ash.\na,q,x,y\n")
    out = tmp_path / "o.jsonl"
    done = pdata("build", tmp_path / "in", "--out", out, "--json", "--workers", 2)
    counts = json.loads(done.stdout)
    assert (counts["in"], counts["out"], counts["rejected"]) == (72, 71, 1)
    assert "a.json: prompt=question, completion=cot, answer=answer, id=id" in done.stderr
    assert "  trace: We count the woods: 0." in done.stderr
    assert "no problem found" in pdata("check", out).stderr
    whole = out.read_bytes()
    out.write_bytes(whole[: len(whole) // 2])
    pdata("build", tmp_path / "in", "--out", out, "--resume")
    assert out.read_bytes() == whole
