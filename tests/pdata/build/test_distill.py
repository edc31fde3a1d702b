"""`pdata distill`: right, whole and forked generations become records, the shortest of each."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from pdata.build.distill import Criteria, ask, distill
from pdata.grading.math_equal import is_equal
from pdata.record import Record, write_jsonl
from pdata.validate import find_problems

from pbranch.errors import DataError
from pbranch.format.tagged_text import parse, render
from pbranch.format.tree import Fork, Trace, make_trace, plain_text
from tests.support.chat_server import make_client, serving

NAMES = ("Ann Lee", "Bert Moor", "Cleo Dane")


def tagged(answer: str = "Cleo Dane", words: int = 3, topics: tuple[str, ...] = NAMES) -> str:
    body = " ".join(["plum"] * words)
    branches = tuple(make_trace(f"{topic}: {body}.") for topic in topics)
    fork: tuple[Fork, ...] = (Fork(topics, branches),) if topics else ()
    return render(make_trace("We look.", *fork, f"\nSo it is.\nanswer: {answer}"))


def generation(n: int, text: str | None = None, **changes: Any) -> dict[str, Any]:
    """A line of `pinfer generate --json`, as far as distilling looks at it."""
    row = {
        "id": f"p{n}", "prompt": f"Problem {n}?", "answer": "Cleo Dane",
        "tagged_text": tagged() if text is None else text, "finish_reason": "stop", "limits": [],
        "stats": {"grammar_interventions": 0},
    }  # fmt: skip
    return {**row, **changes}


def write_rows(path: Path, rows: list[Any]) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(line + "\n" for line in lines))
    return path


def load(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


NO_ANSWER = render(Trace(parse(tagged()).parts[:2]))
REJECTED: list[tuple[Any, str]] = [
    (generation(1, finish_reason="length"), "unfinished"),
    (generation(2, limits=["max_branch_tokens"]), "unfinished"),
    (generation(3, stats={"grammar_interventions": 2}), "grammar interventions"),
    (generation(4, NO_ANSWER), "unknown answer"),
    (generation(5, tagged()[:60]), "broken format"),
    (generation(6, tagged(topics=("Ann Lee", "Ann Lee"))), "broken format"),
    (generation(7, tagged(topics=())), "no fork"),
    (generation(8, tagged("Ann Lee")), "wrong answer"),
    (generation(9, answer=None), "unknown answer"),
    (generation(10, finish_reason="error", error="the prompt is too long"), "error"),
    (generation(11, tagged_text=None), "broken line"),
    (generation(12, messages=[{"role": "user"}]), "broken line"),
    ("{torn", "error"),
    ("[1, 2]", "error"),
]


def test_what_is_rejected_and_why(tmp_path):
    rows, reasons = [row for row, _ in REJECTED], [reason for _, reason in REJECTED]
    file = write_rows(tmp_path / "g.jsonl", [generation(0), *rows])
    counts = distill(file, tmp_path / "out.jsonl")
    found = load(tmp_path / "out.rejected.jsonl")
    assert [row["reason"] for row in found] == reasons
    assert [row["origin"] for row in found] == [f"g.jsonl:{n}" for n in range(2, 2 + len(rows))]
    assert (counts["in"], counts["out"], counts["rejected"]) == (len(rows) + 1, 1, len(rows))
    assert sum(counts["rejected_by_reason"].values()) == len(rows)


def test_what_is_kept_is_a_record(tmp_path):
    chat = generation(1, messages=[{"role": "user", "content": "Which?"}])
    del chat["prompt"]
    file = write_rows(tmp_path / "g.jsonl", [generation(0), chat, generation(2, id=None)])
    assert distill(file, tmp_path / "out.jsonl")["out"] == 3
    assert not list(find_problems(tmp_path / "out.jsonl"))
    rows = load(tmp_path / "out.jsonl")
    assert rows[0]["messages"] == [{"role": "user", "content": "Problem 0?"}]
    assert rows[0]["completion"] == tagged() and rows[0]["answer_ok"] is True
    assert rows[0]["meta"]["form"] == "branches" and rows[0]["meta"]["generations"] == 1
    assert rows[1]["messages"] == chat["messages"]


def test_options_keep_linear_ones_and_unknown_answers(tmp_path):
    rows = [generation(0, tagged(topics=())), generation(1, answer=None)]
    file = write_rows(tmp_path / "g.jsonl", rows)
    assert distill(file, tmp_path / "a.jsonl")["out"] == 0
    assert distill(file, tmp_path / "b.jsonl", criteria=Criteria(forked=False))["out"] == 1
    assert distill(file, tmp_path / "c.jsonl", criteria=Criteria(unknown=True))["out"] == 1
    assert load(tmp_path / "b.jsonl")[0]["meta"]["form"] == "linear"
    assert load(tmp_path / "c.jsonl")[0]["answer_ok"] is None


def test_wrong_answers_are_kept_where_asked_for_but_never_before_a_right_one(tmp_path):
    rows = [
        generation(0, tagged("Ann Lee")),
        generation(1, tagged("Ann Lee", words=1)),
        generation(1, tagged(words=9)),
    ]
    counts = distill(
        write_rows(tmp_path / "g.jsonl", rows),
        tmp_path / "out.jsonl",
        criteria=Criteria(wrong=True),
    )
    kept = load(tmp_path / "out.jsonl")
    assert counts["rejected_by_reason"] == {"not the best": 1}
    assert [(row["id"], row["answer_ok"]) for row in kept] == [("p0", False), ("p1", True)]


def test_markers_that_mode_linear_barred_are_no_fault(tmp_path):
    stats = {"grammar_interventions": 2}
    rows = [
        generation(0, tagged(topics=()), stats=stats | {"mode": "linear"}),
        generation(1, tagged(topics=()), stats=stats | {"mode": "parallel"}),
    ]
    file = write_rows(tmp_path / "g.jsonl", rows)
    counts = distill(file, tmp_path / "out.jsonl", criteria=Criteria(forked=False))
    assert counts["rejected_by_reason"] == {"grammar interventions": 1}
    assert [row["id"] for row in load(tmp_path / "out.jsonl")] == ["p0"]


def test_of_several_right_ones_the_shortest_path_is_kept(tmp_path):
    """Wherever in the file they stand; a wrong one does not win by being short."""
    rows = [generation(0, tagged(words=9)), generation(1, tagged(words=5)),
            generation(0, tagged("Ann Lee", words=1)), generation(0, tagged(words=4)),
            generation(1, tagged(words=7)), generation(0, tagged(words=4))]  # fmt: skip
    counts = distill(write_rows(tmp_path / "g.jsonl", rows), tmp_path / "out.jsonl")
    kept = load(tmp_path / "out.jsonl")
    assert [row["meta"]["origin"] for row in kept] == ["g.jsonl:2", "g.jsonl:4"]
    assert [row["meta"]["generations"] for row in kept] == [2, 4]
    assert counts["rejected_by_reason"] == {"not the best": 3, "wrong answer": 1}
    assert counts["prompts"] == 2


def test_an_interrupted_run_goes_on(tmp_path):
    rows = [generation(i // 2, tagged(words=3 + i % 2)) for i in range(20)]
    file = write_rows(tmp_path / "g.jsonl", rows)
    whole = distill(file, tmp_path / "whole.jsonl")
    for name in ("", ".rejected"):
        data = (tmp_path / f"whole{name}.jsonl").read_bytes()
        (tmp_path / f"cut{name}.jsonl").write_bytes(data[: len(data) // 2])  # within a line
    assert distill(file, tmp_path / "cut.jsonl", resume=True) == whole
    for name in ("", ".rejected"):
        cut, full = (tmp_path / f"{stem}{name}.jsonl" for stem in ("cut", "whole"))
        assert cut.read_bytes() == full.read_bytes()


def test_wrong_files_are_errors(tmp_path):
    with pytest.raises(DataError, match=r"none\.jsonl"):
        distill(tmp_path / "none.jsonl", tmp_path / "out.jsonl")
    file = write_rows(tmp_path / "g.jsonl", [generation(0)])
    for out in ("g.jsonl", "out.txt"):
        with pytest.raises(DataError, match=out):
            distill(file, tmp_path / out)
    with pytest.raises(DataError, match="give a file"):
        distill(Path("-"), tmp_path / "out.jsonl")


def test_rejected_lines_are_those_of_build_and_older_ones_are_known(tmp_path):
    """A rejected generation once stood under `generation`, as an object."""
    good, bad = generation(0), generation(1, tagged("Ann Lee"))
    file, out = write_rows(tmp_path / "g.jsonl", [good, bad, "{torn"]), tmp_path / "out.jsonl"
    whole = distill(file, out)
    first, second = load(tmp_path / "out.rejected.jsonl")
    assert list(first) == list(second) == ["origin", "reason", "detail", "text"]
    assert json.loads(first["text"]) == bad and second["text"] == "{torn"
    old = {**first, "generation": bad}
    del old["text"]
    write_rows(tmp_path / "out.rejected.jsonl", [old])
    assert distill(file, out, resume=True) == whole
    assert load(tmp_path / "out.rejected.jsonl") == [old, second]


def prompts(path: Path, n: int) -> Path:
    asked = (({"role": "user", "content": f"Problem {i}?"},) for i in range(n))
    write_jsonl(path, (Record(f"p{i}", m, "", "Cleo Dane") for i, m in enumerate(asked)))
    return path


def model(messages: list[dict[str, str]]) -> str:
    if not messages[-1]["content"].startswith("Problem"):
        return "ok"
    n = int(messages[-1]["content"].split()[1].rstrip("?"))
    return tagged("Cleo Dane" if n % 3 else "Ann Lee")


def test_generations_come_from_a_server_that_misbehaves(tmp_path):
    file, out = prompts(tmp_path / "prompts.jsonl", 20), tmp_path / "g.jsonl"

    def status(body):
        return 413 if body["messages"][-1]["content"] == "Problem 4?" else None

    with serving(model, trouble=0.3, status=status) as server, make_client(server.url) as client:
        assert ask(file, out, client, n=2) == 40
        asked = sum(server.met.values())
        whole = out.read_bytes()
        out.write_bytes(whole[: len(whole) // 2])
        assert ask(file, out, client, n=2, resume=True) == 40
        assert out.read_bytes() == whole
        # what the cache knows is not asked again; the one that is refused may be
        assert sum(server.met.values()) - asked <= server.met["413"]
    counts = distill(out, tmp_path / "out.jsonl")
    assert (counts["out"], counts["prompts"]) == (12, 20)
    assert counts["rejected_by_reason"] == {"wrong answer": 14, "not the best": 12, "error": 2}
    kept = load(tmp_path / "out.jsonl")
    assert all(plain_text(parse(r["completion"])).endswith("answer: Cleo Dane") for r in kept)


def test_generations_of_other_prompts_are_not_gone_on_with(tmp_path):
    file, out = prompts(tmp_path / "prompts.jsonl", 4), tmp_path / "g.jsonl"
    with serving(model) as server, make_client(server.url) as client:
        ask(file, out, client)
        with pytest.raises(DataError, match=r"g\.jsonl:2"):
            ask(file, out, client, n=2, resume=True)


@pytest.mark.skipif(not importlib.util.find_spec("math_verify"), reason="math-verify is missing")
def test_the_same_mathematics():
    assert is_equal("0.5", "1/2") and is_equal(r"\frac{1}{2}", "0.5")
    assert not is_equal("0.6", "1/2") and not is_equal("", "1/2")


def test_a_refused_prompt_is_a_line_with_its_reason(tmp_path):
    file, out = prompts(tmp_path / "prompts.jsonl", 1), tmp_path / "g.jsonl"
    with (
        serving(model, status=lambda b: 400 if "Problem" in str(b) else None) as server,
        make_client(server.url) as client,
    ):
        ask(file, out, client)
    (row,) = load(out)
    assert row["finish_reason"] == "error" and "400" in row["error"]
