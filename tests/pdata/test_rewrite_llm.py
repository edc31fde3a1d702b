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
from hypothesis import given
from hypothesis import strategies as st
from pdata.distance import relative_distance
from pdata.proposal import Branch, Edit, Fault, build_trace, split_sentences
from pdata.rewrite_llm import LLMRewriter

from pbranch.errors import DataError
from pbranch.text import parse
from pbranch.tree import Fork, plain_text
from tests.pdata.loopback import make_client, run, serving

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("Ann Lee", "Bert Moor", "Cleo Dane")
CASES = """
right malformed-first fenced edits wrong-schema overlap-first left-out number-edit flipped-sign
swallowed-answer dependent voted-down unfaithful too-long refused always-500 no-groups no-blocks
telling-topic-first equal-topics topic-put-in unread-votes out-of-range empty-body cut-off
""".split()
# what must become of each; forked by the model, by rules, or linear
BY_MODEL = {"right", "malformed-first", "fenced", "edits", "overlap-first", "telling-topic-first",
            "topic-put-in"}  # fmt: skip
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
    if len([m for m in messages if m["content"].startswith("Now turn")]) == 0:
        spans = [(1, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
        steps = [{"first": a, "last": b, "about": "plums"} for a, b in spans]
        return json.dumps({"steps": steps, "groups": [] if case == "no-groups" else [[2, 3, 4]]})
    reply = json.dumps({"blocks": [] if case == "no-blocks" else [_block(case, trace, again)]})
    if case == "malformed-first" and not again:
        return reply[:-3]
    if case == "cut-off":
        return reply[: len(reply) // 2]
    if case == "fenced":
        return f"<think>a {{brace}} in a thought</think>\nHere it is:\n```json\n{reply}\n```"
    return json.dumps({"blocks": "three"}) if case == "wrong-schema" else reply


def _block(case: str, trace: dict[str, Any], again: bool) -> dict[str, Any]:
    spans = [[2, 3], [4, 5], [6, 7]]
    topics, edits = list(NAMES), [[], [], []]
    count = re.findall(r"has (\d+) plums", trace["prompt"])[1]
    match case:
        case "edits":
            edits[1] = [{"source": "Similarly, as above, that", "replacement": "That"}]
        case "overlap-first" if not again:
            spans[1][0] = 3
        case "left-out":
            spans[1][1] = 4
        case "number-edit":
            edits[1] = [{"source": f"are {count} plums", "replacement": "are 100 plums"}]
        case "flipped-sign":
            edits[1] = [{"source": "plums", "replacement": "plums = plums"}]
        case "swallowed-answer":
            spans[2][1] = 9
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
            spans[2][1] = 99
        case "empty-body":
            line = trace["text"].split("\n")[2]
            body = line.removeprefix(NAMES[1])
            edits[1] = [{"source": body.replace(count, ""), "replacement": ""}]
    return {"branches": [{"topic": t, "first": a, "last": b, "edits": e}
                         for t, (a, b), e in zip(topics, spans, edits, strict=True)]}  # fmt: skip


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
        assert (server.met - before)["ok"] <= 60 // len(CASES) + 1, "more than the pings"
        assert out.read_bytes() == undisturbed


def test_killed_at_any_moment_and_resumed_gives_the_same_file(tmp_path, undisturbed):
    write_traces(tmp_path / "traces.jsonl", 60)
    out, cache = tmp_path / "out.jsonl", tmp_path / "c.sqlite"
    draw, kills = random.Random(5), 0
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "data")))
    with serving(brain, status=status, trouble=0.1, seed=2) as server:
        command = [sys.executable, "-m", "tests.pdata.loopback", server.url,
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
    trace = make_trace_of(CASES.index("overlap-first"))
    with serving(brain) as server, make_client(server.url) as client:
        LLMRewriter(client).rewrite(trace["text"], trace["prompt"], trace["answer"])
        (retry,) = [b["messages"][-1]["content"] for b in server.bodies
                    if b["messages"][-1]["content"].startswith("That cannot")]  # fmt: skip
        assert "overlapping spans" in retry and "'Bert Moor' (3 to 5)" in retry
        ballots = [b for b in server.bodies if "A problem and" in b["messages"][0]["content"]]
        assert len(ballots) == 3
        assert all(b["response_format"]["json_schema"]["strict"] for b in server.bodies)


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
    assert (found.reason, found.detail) == ("dependent steps", "no")


TEXT = "First some words.\n\nCase 1: x is 3, so 3 + 4 = 7.\n\nCase 2: as in Case 1, it is 9.\nDone."


def build(*branches: Branch, text: str = TEXT, prompt: str = "Is it 3 or 9?"):
    return build_trace(split_sentences(text), [branches], prompt)[0]


def test_branches_keep_every_character():
    tree = build(Branch("Case 1", 2, 2), Branch("Case 2", 3, 3))
    assert plain_text(tree) == TEXT
    fork = next(tree.forks())
    assert fork.topics == ("Case 1", "Case 2") and fork.separator == "\n\n"
    assert isinstance(tree.parts[1], Fork)


def test_an_edit_may_take_a_sibling_out_and_nothing_else():
    edit = Edit("as in Case 1, it", "it")
    tree = build(Branch("Case 1", 2, 2), Branch("Case 2", 3, 3, (edit,)))
    assert plain_text(tree) == TEXT.replace("as in Case 1, it", "it")


@pytest.mark.parametrize(
    "edit, reason",
    [
        (Edit("it is 9", "it is 8"), "edit changes a number"),
        (Edit("it is 9", "it is"), "edit changes a number"),
        (Edit("it is 9", "it is 9, not 3"), None),  # the problem names 3
        (Edit("it is 9", "it is -9"), "edit changes a number"),
        (Edit("it is 9", "it = 9"), "edit changes a number"),
        (Edit("was 9", "is 9"), "edit does not fit"),
        (Edit("", "is 9"), "edit does not fit"),
        (Edit("i", "o"), "edit does not fit"),
    ],
)
def test_edits_change_no_number_and_no_sign(edit, reason):
    branches = Branch("Case 1", 2, 2), Branch("Case 2", 3, 3, (edit,))
    if reason is None:
        build(*branches)
        return
    with pytest.raises(Fault) as fault:
        build(*branches)
    assert fault.value.reason == reason


def test_numbers_keep_their_order():
    text = "Look.\nA: 3 is less than 5.\nB: it is so.\nDone."
    swap = (Edit("3 is less than 5", "5 is less than 3"),)
    with pytest.raises(Fault, match="changes a number"):
        build(Branch("A", 2, 2, swap), Branch("B", 3, 3), text=text, prompt="3 and 5")


@pytest.mark.parametrize(
    "topics, reason",
    [
        (("Case 1", "Case 1 "), "equal topics"),
        (("The case x is 3", "The case it is 7"), "unfit topic"),
        (("", "Case 2"), "unfit topic"),
        (("Case 1", "a topic that goes on for more than eight words"), "unfit topic"),
        (("Step 8", "Step 9"), None),
    ],
)
def test_topics_are_short_distinct_and_tell_nothing(topics, reason):
    branches = Branch(topics[0], 2, 2), Branch(topics[1].strip(), 3, 3)
    if reason is None:
        assert next(build(*branches).forks()).topics == topics
        return
    with pytest.raises(Fault) as fault:
        build(*branches)
    assert fault.value.reason == reason


def test_what_stands_before_a_topic_in_its_line_is_part_of_it():
    text = "Two of them:\n1. **Red**: it is warm.\n2. **Blue**: it is cold.\nDone."
    tree = build(Branch("Red", 2, 2), Branch("Blue", 3, 3), text=text)
    assert next(tree.forks()).topics == ("1. **Red**", "2. **Blue**")
    assert plain_text(tree) == text


def test_a_title_that_holds_the_topic_is_the_topic():
    text = "Both:\nHeight of Ann: tall.\nHeight of Bert: they say that Ann: is small.\nDone."
    tree = build(Branch("Ann", 2, 2), Branch("Bert", 3, 3), text=text)
    assert next(tree.forks()).topics == ("Height of Ann", "Height of Bert")
    tree = build(Branch("tall", 2, 2), Branch("small", 3, 3), text=text)
    assert [b.lead[:13] for b in next(tree.forks()).branches] == ["tall: Height ", "small: Height"]


@pytest.mark.parametrize("end", ["</think>", "```"])
def test_a_branch_does_not_end_within_a_block_of_thinking_or_code(end):
    text = f"Two:\nA: one.\nB: two.\n{end}\nDone."
    with pytest.raises(Fault, match="in two"):
        build(Branch("A", 2, 2), Branch("B", 3, 4), text=text)
    assert build(Branch("A", 2, 2), Branch("B", 3, 3), text=text)


def test_several_blocks():
    text = " Start.\nA: one.\nB: two.\n\nC: red.\nD: blue.\nE: end."
    blocks = [[Branch("A", 2, 2), Branch("B", 3, 3)], [Branch("C", 4, 4), Branch("D", 5, 5)]]
    tree, found = build_trace(split_sentences(text), blocks, "")
    assert plain_text(tree) == text and len(list(tree.forks())) == 2
    assert [b.tail for b in found] == ["\n\nC: red.\nD: blue.\nE: end.", "\nE: end."]
    blocks = [[Branch("C", 4, 4), Branch("D", 5, 5)], [Branch("A", 2, 2), Branch("B", 3, 3)]]
    with pytest.raises(Fault, match="overlapping"):
        build_trace(split_sentences(text), blocks, "")


@given(st.text("ab. \n!1A。$", max_size=60))
def test_sentences_are_the_text(text):
    sentences = split_sentences(text)
    assert "".join(sentences) == text
    assert all(s.strip() for s in sentences) or not text.strip()


def levenshtein(a: str, b: str) -> int:
    previous = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        current = [i]
        for j, y in enumerate(b, 1):
            current.append(min(previous[j] + 1, current[-1] + 1, previous[j - 1] + (x != y)))
        previous = current
    return previous[-1]


@given(st.text("ab ", max_size=40), st.text("ab ", max_size=40))
def test_distance_is_the_textbook_one(a, b):
    assert relative_distance(a, b) == levenshtein(a, b) / max(len(a), len(b), 1)


def test_distance_of_long_texts_is_quick():
    draw = random.Random(0)
    a = "".join(draw.choices("abcdefgh ", k=30_000))
    b = a[:1000] + "now" + a[1007:15_000] + a[15_200:-500] + "end" + a[-500:]
    began = time.monotonic()
    assert 200 / 30_000 < relative_distance(a, b) < 215 / 30_000
    assert time.monotonic() - began < 5
