"""The `llm` rewriter against a server that misbehaves: no trace lost, none wrongly forked."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pdata.llm.rewriter import LLMRewriter

from pbranch.errors import DataError
from pbranch.format.tagged_text import parse
from pbranch.format.tree import plain_text
from tests.support.chat_server import make_client, run, serving
from tests.support.repository import ROOT

NAMES = ("Ann Lee", "Bert Moor", "Cleo Dane")
CASES = """
right malformed-first fenced edits wrong-schema left-out-first left-out number-edit flipped-sign
swallowed-answer dependent voted-down unfaithful too-long refused always-500 no-groups no-blocks
telling-topic-first equal-topics topic-put-in unread-votes out-of-range empty-body cut-off
made-up-first made-up twice
""".split()
# what must become of each; forked by the model, by rules, or linear
BY_MODEL = {"right", "malformed-first", "fenced", "edits", "left-out-first", "telling-topic-first",
            "topic-put-in", "made-up-first"}  # fmt: skip
LINEAR = {"dependent", "voted-down", "no-groups", "no-blocks", "unread-votes"}


def make_trace_of(n: int) -> dict[str, Any]:
    """Trace n: three people are looked at, and who has the most is said."""
    case = CASES[n % len(CASES)]
    draw = random.Random(n)
    counts = draw.sample(range(10, 99), 3)
    people = ", ".join(f"{who} has {k} plums" for who, k in zip(NAMES, counts, strict=True))
    prompt = f"Problem {n}: {people}. Who has the most?"
    best = NAMES[counts.index(max(counts))]
    steps = [f"{who}: there are {k} plums. That is what the problem says, without any doubt."
             for who, k in zip(NAMES, counts, strict=True)]  # fmt: skip
    if case == "dependent":  # each step goes on with the result of the one before it
        total, steps = 0, []
        for who, k in zip(NAMES, counts, strict=True):
            steps.append(f"{who}: the sum was {total}, and {total} + {k} = {total + k} is the new "
                         "one. That holds without any doubt.")  # fmt: skip
            total += k
    if case == "edits":
        steps[1] = steps[1].replace("That is", "Similarly, as above, that is")
    if case == "topic-put-in":
        steps = [s.replace(who + ":", "Here") for who, s in zip(NAMES, steps, strict=True)]
    lines = ["We look at each of them.", *steps, f"So {best} it is.", f"answer: {best}"]
    return {"n": n, "case": case, "prompt": prompt, "text": "\n".join(lines), "answer": best}


def brain(messages: list[dict[str, str]]) -> str:
    """What the model says: right, but for what the case of the trace asks for."""
    first, again = messages[0]["content"], messages[-1]["content"].startswith("That cannot")
    found = re.search(r"Problem (\d+):", first)
    if not found:
        return "ok"
    n = int(found[1])
    case, trace = CASES[n % len(CASES)], make_trace_of(n)
    if first.startswith("A problem and a solution"):
        vote = {"reason": "as I see it", "independent": case != "voted-down",
                "same_content": case != "unfaithful"}  # fmt: skip
        return "I agree." if case == "unread-votes" else json.dumps(vote)
    if len([m for m in messages if m["content"].startswith("Now each")]) == 0:
        return json.dumps({"steps": _outline(case, trace, again)})
    reply = json.dumps({"branches": [] if case == "no-blocks" else _branches(case, trace, again)})
    if case == "malformed-first" and not again:
        return reply[:-3]
    if case == "cut-off":
        return reply[: len(reply) // 2]
    if case == "fenced":
        return f"<think>a {{brace}} in a thought</think>\nHere it is:\n```json\n{reply}\n```"
    return json.dumps({"branches": "three"}) if case == "wrong-schema" else reply


def _outline(case: str, trace: dict[str, Any], again: bool) -> list[dict[str, Any]]:
    lines = trace["text"].split("\n")
    begins = [" ".join(line.split()[:4]) for line in lines]
    groups = [0, *([0] * 3 if case == "no-groups" else [1] * 3), 0, 0]
    if case == "swallowed-answer":
        groups[4:] = [1, 1]
    if case == "made-up" or (case == "made-up-first" and not again):
        begins[2] = "Nobody has said this."
    return [{"begins": b, "group": g} for b, g in zip(begins, groups, strict=True)]


def _branches(case: str, trace: dict[str, Any], again: bool) -> list[dict[str, Any]]:
    numbers, topics, edits = [1, 2, 3], list(NAMES), [[], [], []]
    count = re.findall(r"has (\d+) plums", trace["prompt"])[1]
    match case:
        case "edits":
            edits[1] = [{"source": "Similarly, as above, that", "replacement": "That"}]
        case "number-edit":
            edits[1] = [{"source": f"are {count} plums", "replacement": "are 100 plums"}]
        case "flipped-sign":
            edits[1] = [{"source": "plums", "replacement": "plums = plums"}]
        case "swallowed-answer":
            numbers, topics, edits = [*range(1, 6)], [*NAMES, "So", "answer"], [[]] * 5
        case "unfaithful":
            edits[1] = [{"source": "without any doubt", "replacement": "but it is wrong"}]
        case "too-long":
            padding = "and this is said once more for whoever has not listened, "
            edits[1] = [{"source": "without", "replacement": padding * 4 + "without"}]
        case "telling-topic-first" if not again:
            topics[0] = "Ann Lee has 7777"
        case "equal-topics":
            topics = ["Plums"] * 3
        case "out-of-range":
            numbers[2] = 99
        case "twice":
            numbers[2] = 2
        case "empty-body":
            line = trace["text"].split("\n")[2]
            body = line.removeprefix(NAMES[1])
            edits[1] = [{"source": body.replace(count, ""), "replacement": ""}]
    given = [{"branch": n, "topic": t, "edits": e}
             for n, t, e in zip(numbers, topics, edits, strict=True)]  # fmt: skip
    if case == "left-out" or (case == "left-out-first" and not again):
        del given[1]
    return given


def status(body: dict[str, Any]) -> int | None:
    """Two traces that the server never answers."""
    found = re.search(r"Problem (\d+):", body["messages"][0]["content"])
    case = CASES[int(found[1]) % len(CASES)] if found else ""
    return {"refused": 400, "always-500": 500}.get(case)


def write_traces(path: Path, n: int) -> list[dict[str, Any]]:
    traces = [make_trace_of(i) for i in range(n)]
    path.write_text("".join(json.dumps(t) + "\n" for t in traces))
    return traces


def check_outcome(trace: dict[str, Any], row: dict[str, Any]) -> None:
    """What was written for a trace is what its case asks for."""
    case, tree = trace["case"], parse(row["tagged"], row["separators"])
    forks = list(tree.all_forks())
    told = case, row["reason"], row["detail"]
    if case in LINEAR:
        assert not forks and row["reason"] in ("no steps", "dependent steps"), told
        assert (row["reason"] == "no steps") == case.startswith("no-"), told
    elif case in BY_MODEL:
        assert [len(f.branches) for f in forks] == [3] and not row["detail"], told
        assert not row["by_rules"], told
    else:  # the rules see it, and find the three steps themselves
        assert row["by_rules"] and len(forks) == 1 and row["detail"], told
    changes = {
        "edits": lambda t: t.replace("Similarly, as above, that", "That"),
        "topic-put-in": lambda t: t.replace("\nHere", "\n%s: Here") % NAMES,
    }
    expected = changes.get(case, lambda t: t)(trace["text"])
    assert plain_text(tree) == expected, told


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> bytes:
    """The file of a run in which nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_traces(folder / "traces.jsonl", 60)
    with serving(brain, status=status) as server:
        run(server.url, folder / "traces.jsonl", folder / "out.jsonl", folder / "c.sqlite")
    return (folder / "out.jsonl").read_bytes()


def test_no_trace_is_lost_and_none_wrongly_forked(tmp_path, undisturbed):
    traces = write_traces(tmp_path / "traces.jsonl", 60)
    out, cache = tmp_path / "out.jsonl", tmp_path / "c.sqlite"
    with serving(brain, status=status, trouble=0.2, seed=1) as server:
        run(server.url, tmp_path / "traces.jsonl", out, cache)
        assert len(set(server.met) - {"ok", "400"}) >= 7, server.met
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert [row["n"] for row in rows] == list(range(60))
        for trace, row in zip(traces, rows, strict=True):
            check_outcome(trace, row)
        assert out.read_bytes() == undisturbed
        # a second run asks nothing but what never got an answer
        before = server.met.copy()
        out.unlink()
        run(server.url, tmp_path / "traces.jsonl", out, cache)
        assert set(server.met - before) <= {"ok", "400", "500"}
        unanswered = sum(t["case"] in ("refused", "always-500") for t in traces)
        assert (server.met - before)["ok"] <= unanswered, "more than whether it answers at all"
        assert out.read_bytes() == undisturbed


def test_killed_at_any_moment_and_resumed_gives_the_same_file(tmp_path, undisturbed):
    write_traces(tmp_path / "traces.jsonl", 60)
    out, cache = tmp_path / "out.jsonl", tmp_path / "c.sqlite"
    draw, kills = random.Random(5), 0
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "data")))
    with serving(brain, status=status, trouble=0.1, seed=2) as server:
        command = [sys.executable, "-m", "tests.support.chat_server", server.url,
                   tmp_path / "traces.jsonl", out, cache]  # fmt: skip
        while True:
            killed_after = len(server.bodies) + draw.randrange(1, 120)
            child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths})
            while child.poll() is None and (kills == 6 or len(server.bodies) < killed_after):
                time.sleep(0.002)
            time.sleep(draw.random() * 0.01)
            if child.poll() is not None:
                assert child.returncode == 0
                break
            child.send_signal(signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL
            kills += 1
    assert kills >= 3
    assert out.read_bytes() == undisturbed


def test_a_server_that_goes_away_ends_the_run_and_can_be_resumed(tmp_path, undisturbed):
    write_traces(tmp_path / "traces.jsonl", 60)
    files = tmp_path / "traces.jsonl", tmp_path / "out.jsonl", tmp_path / "c.sqlite"
    gone = []

    def leave(body: dict[str, Any]) -> int | None:
        gone.append(1)
        return 503 if len(gone) > 100 else status(body)

    with serving(brain, status=leave) as server, pytest.raises(DataError, match="--resume"):
        run(server.url, *files)
    written = files[1].read_bytes()
    assert undisturbed.startswith(written) and len(written) < len(undisturbed)
    with serving(brain, status=status) as server:
        run(server.url, *files)
    assert files[1].read_bytes() == undisturbed


def test_the_reason_goes_back_to_the_model():
    trace = make_trace_of(CASES.index("left-out-first"))
    with serving(brain) as server, make_client(server.url) as client:
        LLMRewriter(client).rewrite(trace["text"], trace["prompt"])
        (retry,) = [b["messages"][-1]["content"] for b in server.bodies
                    if b["messages"][-1]["content"].startswith("That cannot")]  # fmt: skip
        assert "branches left out: between branches 1 and 3" in retry
        ballots = [b for b in server.bodies if "A problem and" in b["messages"][0]["content"]]
        assert len(ballots) == 3
        assert all(b["response_format"]["json_schema"]["strict"] for b in server.bodies)


@pytest.mark.parametrize("left_out, forked", [(1, [2]), (2, [])])
def test_branches_that_are_left_out_at_an_end_stay_text(left_out, forked):
    trace = make_trace_of(0)

    def model(messages):
        reply = json.loads(brain(messages))
        if "branches" in reply:
            del reply["branches"][-left_out:]
        return json.dumps(reply)

    with serving(model) as server, make_client(server.url) as client:
        found = LLMRewriter(client).rewrite(trace["text"], trace["prompt"])
    assert [len(fork.branches) for fork in found.trace.all_forks()] == forked
    assert plain_text(found.trace) == trace["text"]


@pytest.mark.parametrize("votes, asked", [(0, 0), (1, 1), (5, 5)])
def test_as_many_votes_as_wanted(votes, asked):
    trace = make_trace_of(0)
    with serving(brain) as server, make_client(server.url) as client:
        found = LLMRewriter(client, votes=votes).rewrite(trace["text"], trace["prompt"])
        assert not found.reason and server.met["ok"] == 2 + asked


def test_one_vote_against_is_enough():
    trace, votes = make_trace_of(0), iter([True, True, False] * 9)

    def model(messages):
        if messages[0]["content"].startswith("A problem and"):
            return json.dumps({"reason": "no", "independent": next(votes), "same_content": True})
        return brain(messages)

    with serving(model) as server, make_client(server.url) as client:
        found = LLMRewriter(client).rewrite(trace["text"], trace["prompt"])
    assert (found.reason, found.detail) == ("dependent steps", "vote 3: no")
