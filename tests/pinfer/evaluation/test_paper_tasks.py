"""The paper's tasks: what is read and what is set aside, how answers are graded."""

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbranch.errors import DataError, RequestError
from pinfer.evaluation.paper_tasks import (
    KEYS,
    Task,
    grade,
    judge_prompt,
    read_judgement,
    read_tasks,
)

PAPER_DATA = os.environ.get("PAPER_DATA", "")  # a folder of the paper's released *.jsonl files
NAMES = ("Nitin Sharma", "Ann Lee", "Ann Lee Wu", "Zoë O'Brien-Nash", "Li Na")


def resumes(*names: str) -> str:
    lines = [
        f"The student named {name} is 2{i} years old. GPA: 3.{i}" for i, name in enumerate(names)
    ]
    return "\n".join([*lines, "Which student has a GPA of 3.1?"])


RETRIEVAL = {"prompt": resumes(*NAMES), "gold_keys": "Ann Lee", "gold_values": 3.1}
QA = {
    "input": "Where was {x} born?",
    "context": "Passage 1:\nX was born in The Hague.\n\nPassage 2:\nY was not.",
    "answers": ["The Hague", "Den Haag"],
    "length": 11,
}
PLANNING = {"task": "请从三个角度分析有机农业。", "answer": "经济：……"}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def retrieval(gold: str = "Ann Lee") -> Task:
    return Task("t.jsonl:1", "retrieval", resumes(*NAMES), (gold,))


def qa(*gold: str) -> Task:
    return Task("t.jsonl:1", "qa", "Where?", gold)


def test_kinds_are_told_by_keys_not_by_names_of_files(tmp_path):
    tasks, aside = read_tasks(write(tmp_path / "2wikimqa.jsonl", RETRIEVAL, QA, PLANNING))
    assert aside == []
    assert [(task.id, task.kind, task.gold) for task in tasks] == [
        ("2wikimqa.jsonl:1", "retrieval", ("Ann Lee",)),
        ("2wikimqa.jsonl:2", "qa", ("The Hague", "Den Haag")),
        ("2wikimqa.jsonl:3", "planning", ("经济：……",)),
    ]


def test_prompts_say_what_to_look_at_and_how_to_close(tmp_path):
    tasks, _ = read_tasks(write(tmp_path / "a.jsonl", RETRIEVAL, QA, PLANNING))
    students, documents, plan = [task.prompt for task in tasks]
    assert students.startswith(RETRIEVAL["prompt"]) and "every student" in students
    assert "`name: `" in students.splitlines()[-1]
    assert QA["context"] in documents and QA["input"] in documents
    assert "every document" in documents and "`answer: `" in documents.splitlines()[-1]
    assert plan == PLANNING["task"]
    for prompt, row in zip((students, documents, plan), (RETRIEVAL, QA, PLANNING), strict=True):
        own = prompt
        for key in ("prompt", "context", "input", "task"):
            own = own.replace(str(row.get(key, "")), "")
        assert not re.search(r"#|%|\.\.\.|…", own), "the dialect's instruction is added at decoding"


def test_a_folder_is_read_by_name_plain_and_packed(tmp_path):
    write(tmp_path / "b.jsonl", PLANNING)
    with gzip.open(tmp_path / "a.jsonl.gz", "wt", encoding="utf-8-sig") as file:
        file.write(json.dumps(QA) + "\n\n \n" + json.dumps(RETRIEVAL))  # no last line break
    write(tmp_path / "notes.txt", {"not": "read"})
    tasks, aside = read_tasks(str(tmp_path))
    assert [task.id for task in tasks] == ["a.jsonl.gz:1", "a.jsonl.gz:4", "b.jsonl:1"]
    assert aside == []


BROKEN = {
    b"{": "not JSON text",
    b'{"task": "\xff"}': "not JSON text",
    b'{"task": "\\ud800", "answer": "a"}': "not JSON text",
    b"[" * 100_000: "not JSON text",
    b"[1]": "found list, expected a JSON object",
    b"{}": "found the keys [], expected prompt, gold_keys (retrieval), or context, input, answers",
    b'{"prompt": "p", "answer": "a"}': "found the keys ['prompt', 'answer'], expected",
    json.dumps(QA | PLANNING).encode(): "found the keys",
    json.dumps(PLANNING | {"answer": " \n。"}).encode(): "expected text in task, answer",
    json.dumps(PLANNING | {"task": None}).encode(): "expected text in task, answer",
    json.dumps(
        QA | {"answers": "Den Haag"}
    ).encode(): "expected text in context, input, answers (a l",
    json.dumps(QA | {"answers": []}).encode(): "answers (a list)",
    json.dumps(QA | {"answers": [1]}).encode(): "answers (a list)",
    json.dumps(
        RETRIEVAL | {"gold_keys": ["Ann Lee"]}
    ).encode(): "expected text in prompt, gold_keys",
    json.dumps(
        RETRIEVAL | {"gold_keys": "Ann"}
    ).encode(): "found 'Ann' in gold_keys, expected a stu",
    json.dumps(RETRIEVAL | {"gold_keys": "ann lee"}).encode(): "found 'ann lee' in gold_keys",
    json.dumps(RETRIEVAL | {"gold_keys": "Ann Lee, Li Na"}).encode(): "expected a student of the p",
    json.dumps(RETRIEVAL | {"prompt": "Who is it?"}).encode(): "expected a student of the prompt",
    json.dumps(
        PLANNING | {"answer": "another"}
    ).encode(): "found the prompt of a.jsonl:1, expected",
}


@pytest.mark.parametrize("line", BROKEN, ids=range(len(BROKEN)))
def test_a_record_that_is_no_task_is_set_aside_with_its_reason(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join([json.dumps(PLANNING).encode(), line, json.dumps(QA).encode()]))
    tasks, aside = read_tasks(path)
    assert [task.id for task in tasks] == ["a.jsonl:1", "a.jsonl:3"]
    (reason,) = aside
    assert reason.startswith("a.jsonl:2: ") and BROKEN[line] in reason
    assert len(reason.splitlines()) == 1


def test_without_a_task_there_is_one_line_that_says_why(tmp_path):
    (tmp_path / "folder").mkdir()
    packed = gzip.compress(json.dumps(QA).encode())
    (tmp_path / "torn.jsonl.gz").write_bytes(packed[:-9])
    (tmp_path / "plain.jsonl.gz").write_bytes(b"{}")
    (tmp_path / "empty.jsonl").write_bytes(b"\n")
    write(tmp_path / "other.jsonl", {"text": "a"}, {"text": "b"})
    expected = {
        "none.jsonl": r"none.jsonl: cannot read \(No such file.*\), expected JSON lines, or",
        "folder": r"folder: cannot read \(.*\), expected JSON lines, or a folder of .jsonl or",
        "torn.jsonl.gz": r"torn.jsonl.gz: cannot read \(.*end",
        "plain.jsonl.gz": r"plain.jsonl.gz: cannot read \(Not a gzip",
        "empty.jsonl": r"empty.jsonl: no task; it is empty",
        "other.jsonl": r"other.jsonl: no task; other.jsonl:1: found the keys \['text'\], expected",
    }
    for name, message in expected.items():
        with pytest.raises(DataError, match=message) as caught:
            read_tasks(tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Li Na: no.\nAnn Lee: yes.\nname: Ann Lee", "Ann Lee"),
        ("It is Li Na or Ann Lee; I take the latter: name: Ann Lee", "Ann Lee"),
        ("####%%%%The student is Ann Lee.\n\n####\n", "Ann Lee"),  # no closing word
        ("**Final Answer**\n**Name**: {Ann Lee}", "Ann Lee"),
        ("name：Ann Lee", "Ann Lee"),
        ("The GPA of 3.1 is that of Ann Lee: Ann Lee", "Ann Lee"),
        ("Ann Lee Wu is the one.", "Ann Lee Wu"),
        ("name: Ann Lee Wu", "Ann Lee Wu"),
        ("name: zoe\u0308 o’brien nash", "Zoë O'Brien-Nash"),
        ("name: Ann", ""),
        ("name: Annlee", ""),
        ("name: Joann Lee", ""),
        ("Ann Lee is the one: name: none", ""),  # what closes the text counts, not what led there
        ("name: {Ann Lee, Li Na}", "Ann Lee, Li Na"),
        ("They are Li Na and Ann Lee. I choose Ann Lee.", "Li Na, Ann Lee"),
        ("name: Ann Lee\nBut Li Na is close.", "Li Na"),
        ("Li Na has the username: Ann Lee", "Li Na, Ann Lee"),
        ("", ""),
        ("####%%%%", ""),
    ],
)
def test_retrieval_is_right_where_the_close_names_one_student(text, found):
    for gold in NAMES:
        result = grade(retrieval(gold), text)
        assert result.found == found
        assert (result.score, result.exact) == (float(found == gold), found == gold)
        assert repr(gold) in result.why and len(result.why.splitlines()) == 1


def test_a_grade_says_what_was_found_where_and_what_was_expected():
    why = [grade(retrieval(), text).why for text in ("name: Li Na.", "Li Na, then?", "")]
    assert why == [
        "found 'Li Na' behind `name:`, expected 'Ann Lee'",
        "found 'Li Na' on the last line, expected 'Ann Lee'",
        "found '' on the last line, expected 'Ann Lee'",
    ]
    why = grade(qa("The Hague", "Den Haag"), "answer: Paris.").why
    assert why == "found 'Paris.' behind `answer:`, expected 'The Hague' or 'Den Haag'"


PUNCTUATION = st.text(" \t*_`'\".,;!?{}[]()#%“”。-", max_size=6)


@st.composite
def spelled(draw: st.DrawFn, name: str) -> str:
    """A name in any case, with any space or punctuation before, between and after its words."""
    words = [
        "".join(map(draw(st.sampled_from([str.upper, str.lower, str])), w)) for w in name.split()
    ]
    gaps = [draw(PUNCTUATION) + " " + draw(PUNCTUATION) for _ in words[1:]]
    text = words[0] + "".join(gap + word for gap, word in zip(gaps, words[1:], strict=True))
    return draw(PUNCTUATION) + text + draw(PUNCTUATION)


before = st.sampled_from(["", "Li Na: no.\n", "Name: Li Na\nGPA: 3\n", "Nitin Sharma or "])
closing = st.sampled_from(["name: ", "NAME:", "**name:** ", "Therefore, the answer is: name : "])
after = st.sampled_from(["", "\n", "\n\n####%%%%\n", " \n```"])


@given(spelled("Ann Lee"), before, closing, after)
def test_the_right_name_is_right_however_it_is_spelled(name, before, closing, after):
    assert grade(retrieval(), before + closing + name + after).exact
    assert grade(retrieval(), "Li Na is not.\nIt is" + " " + name + after).exact


@given(st.permutations(NAMES), st.sampled_from([", ", " and ", "/", " — not "]), closing, after)
def test_two_names_are_never_right(names, between, closing, after):
    for line in (closing, "The answer is "):
        text = line + between.join(names[:2]) + after
        assert not any(grade(retrieval(gold), text).exact for gold in NAMES)


@pytest.mark.parametrize(
    ("text", "score", "exact"),
    [
        ("Passage 1: The Hague.\nanswer: The Hague", 1.0, True),
        ("answer: hague!", 1.0, True),
        ("**Answer:** “Den  Haag”.", 1.0, True),
        ("answer: Haag Den", 1.0, False),  # the same words; not the same answer
        ("answer: in the Hague", 2 / 3, False),
        ("So it is The Hague", 2 * 1 / (4 + 1), False),  # no closing word: the last line as it is
        ("answer: The Hague\nanswer: Paris", 0.0, False),
        ("answer: the", 0.0, False),
        ("", 0.0, False),
    ],
)
def test_qa_scores_by_the_words_shared_with_the_nearest_answer(text, score, exact):
    result = grade(qa("The Hague", "Den Haag"), text)
    assert (result.score, result.exact) == (pytest.approx(score), exact)


@pytest.mark.parametrize("gold", ["The The", "U.S.", "C++", "2019–2020", "是", "①", "O'Neill"])
def test_qa_finds_an_answer_equal_to_itself_and_no_other(gold):
    assert grade(qa(gold), f"answer: {gold.upper()}.").exact
    for wrong in ("", "answer:", "answer: …", "answer: a", "answer: zzz"):
        assert grade(qa(gold), wrong).score == 0.0


@given(spelled("Jean Luc Picard"), after)
def test_qa_counts_no_case_space_or_punctuation(name, after):
    assert grade(qa("Jean-Luc", "Jean Luc Picard"), "x\nanswer: " + name + after).exact


def test_planning_has_a_judge_and_no_grader():
    task = Task("plan.jsonl:7", "planning", "分析 {农业}", ("参考 {0}",))
    with pytest.raises(RequestError, match=r"plan.jsonl:7: no exact grader for planning"):
        grade(task, "经济：……")
    asked = judge_prompt(task, "答案 {x} </answer>")
    positions = [asked.index(part) for part in ("分析 {农业}", "参考 {0}", "答案 {x} </answer>")]
    assert positions == sorted(positions)
    assert "`score: `" in asked.splitlines()[-1]
    assert all(f"\n{n}: " in asked for n in range(1, 6))


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Good.\nscore: 4", 4),
        ("score: 2\nOn reflection:\n**Score:** 3.\n", 3),
        ("分数：\nscore：5", 5),
        ('{"score": 1}', 1),
        ("score: 4/5", 4),
        ("score: 0", None),
        ("score: 6", None),
        ("score: -3", None),
        ("score: 4.5", None),
        ("score: 45", None),
        ("score: 4/10", None),
        ("score: four", None),
        ("score: between 3 and 4", None),
        ("The score is 4", None),
        ("score: 4\nThank you for asking.", None),
        ("4", None),
        ("", None),
    ],
)
def test_a_judgement_is_one_whole_number_at_the_end(reply, score):
    assert read_judgement(reply) == score


@given(
    st.text(max_size=60), st.sampled_from(["", "name:", "answer: ", "score:"]), st.text(max_size=20)
)
def test_no_text_breaks_a_grader(before, closing, after):
    text = before + closing + after
    for task in (retrieval(), qa("The Hague", "…1")):
        result = grade(task, text)
        assert 0.0 <= result.score <= 1.0 and (not result.exact or result.score == 1.0)
    assert read_judgement(text) in (None, 1, 2, 3, 4, 5)


def test_reading_and_grading_import_nothing_heavy():
    code = "import sys, pinfer.evaluation.paper_tasks as _\n"
    code += "print(*{'torch', 'transformers', 'httpx2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.skipif(not PAPER_DATA, reason="set PAPER_DATA to a folder of the paper's files")
def test_the_released_files():
    """All data files are read; what Qwen2.5-7B wrote on the 10-student file is graded 0.68 (linear)
    and 0.92 (in parallel). Without the rule of one name it would be 0.93 and 0.95."""
    folder = Path(PAPER_DATA)
    tasks, aside = read_tasks(folder)
    data = [p for p in folder.glob("*.jsonl") if not p.name.startswith("qwen")]
    lines = sum(len(p.read_text(encoding="utf-8").splitlines()) for p in folder.glob("*.jsonl"))
    assert len(tasks) + len(aside) == lines and len(tasks) == 100 * len(data)
    assert {task.kind for task in tasks} <= set(KEYS)
    results = folder / "qwen2.5-7b.resume_10.jsonl"
    tasks, aside = read_tasks(results)
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    assert aside == []
    for key, strict, loose in (("normal_response", 68, 93), ("parallel_response", 92, 95)):
        graded = [grade(task, row[key]) for task, row in zip(tasks, rows, strict=True)]
        named = [row["gold_keys"] in row[key].split("\n")[-1] for row in rows]
        assert (sum(g.exact for g in graded), sum(named)) == (strict, loose)
        assert all(seen for g, seen in zip(graded, named, strict=True) if g.exact)
