"""The synthetic tasks: seeded, split, self-contained, and right by an independent reading."""

import gzip
import operator
import random
import re
import statistics

import pytest
from pdata.cli import app
from pdata.grading.closing_form import find_closing, grade
from pdata.record import Record, read_records, write_jsonl
from pdata.synthetic.generator import MIXES, make_record, synthesise
from pdata.synthetic.tasks import TASKS
from pdata.synthetic.wording import split_of
from typer.testing import CliRunner

from pbranch.errors import DataError

INDEPENDENT = ("records", "sums", "cases")
ITEM = re.compile(r"(?:^|; )[-*]? ?([A-Z][A-Za-z0-9]*(?: [A-Z0-9][A-Za-z0-9]*)?): ([^;\n]+)", re.M)


def make(task: str, n: int, split: str = "train", level: int | None = None) -> list[Record]:
    return [make_record(task, 3, i, level, split) for i in range(n)]


def prompt_of(record: Record) -> str:
    return record.messages[0]["content"]


def items_of(record: Record) -> dict[str, str]:
    """Topic: text of that item in the prompt, in the order listed."""
    items = {k: v for k, v in ITEM.findall(prompt_of(record)) if k in record.meta["topics"]}
    assert set(items) == set(record.meta["topics"]), prompt_of(record)
    return items


def steps_of(record: Record) -> list[str]:
    lines = record.completion.split("\n")
    return lines[-1 - record.meta["steps"] : -1]


def solve_records(record: Record) -> str:
    prompt, items = prompt_of(record), items_of(record)
    question = ITEM.sub("", prompt)
    bounds = [float(x) for x in re.findall(r"\d\.\d", question)]
    found: list[str] = []
    for name, text in items.items():
        (value,) = (float(x) for x in re.findall(r"\d\.\d", text))
        if len(bounds) == 2:
            ok = bounds[0] < value < bounds[1]
        else:
            ok = value > bounds[0] if " above " in question else value < bounds[0]
        found += [name] if ok else []
    (answer,) = found
    return answer


def solve_sums(record: Record) -> str:
    values = {k: eval(v) for k, v in items_of(record).items()}
    kind = record.meta["question"]
    if kind == "total":
        return str(sum(values.values()))
    target = int(re.search(rf"{kind} (\d+)", prompt_of(record))[1])
    holds = {"equal to": operator.eq, "more than": operator.gt, "less than": operator.lt}[kind]
    (answer,) = (k for k, v in values.items() if holds(v, target))
    return answer


def solve_cases(record: Record) -> str:
    rule = re.findall(r"(\w+) (?:is |must be )?at (most|least) (\d+)", prompt_of(record))
    assert len(rule) == 2
    verdicts = {}
    for label, text in items_of(record).items():
        numbers = dict(re.findall(r"(\w+) (\d+)", text))
        verdicts[label] = all(
            int(numbers[k]) <= int(b) if way == "most" else int(numbers[k]) >= int(b)
            for k, way, b in rule
        )
    if record.meta["question"] == "all":
        return "yes" if all(verdicts.values()) else "no"
    (only,) = (k for k, v in verdicts.items() if v == (record.meta["question"] == "passes"))
    return only


def solve_chain(record: Record) -> str:
    items = items_of(record)
    head = re.sub(ITEM, "", prompt_of(record))
    (value,) = (int(x) for x in re.findall(r"\d+", head))
    for text in items.values():
        number = int(re.search(r"\d+", text)[0])
        if re.search("add|in$|on$|win", text):
            value += number
        elif re.search("subtract|out$|off$|lose", text):
            value -= number
        else:
            value *= number
        assert 0 <= value <= 99
    return str(value)


SOLVERS = {"records": solve_records, "sums": solve_sums, "cases": solve_cases, "chain": solve_chain}


@pytest.mark.parametrize("split", ["train", "heldout"])
@pytest.mark.parametrize("task", TASKS)
def test_answers_agree_with_an_independent_reading(task: str, split: str) -> None:
    for record in make(task, 500 if split == "train" else 150, split):
        assert record.answer == SOLVERS[task](record), prompt_of(record)
        assert grade(record.completion, record.answer)
        assert not grade(record.completion, record.answer + "x")


@pytest.mark.parametrize("task", TASKS)
def test_steps_start_with_their_topic_and_need_no_sibling(task: str) -> None:
    for record in make(task, 200):
        topics = record.meta["topics"]
        assert len(set(topics)) == len(topics) == record.meta["steps"]
        for topic, step in zip(topics, steps_of(record), strict=True):
            assert step.startswith(topic)
            assert not re.search(r"\b(also|too|likewise|similarly|again|same)\b", step, re.I)
            others = [t for t in topics if t != topic]
            assert not any(re.search(rf"\b{re.escape(t)}\b", step) for t in others), step


def test_names_of_records_differ_from_their_first_letters_on() -> None:
    for record in make("records", 200):
        assert len({t[:3] for t in record.meta["topics"]}) == record.meta["steps"]


def test_another_order_changes_no_step() -> None:
    for i in range(200):
        for task in INDEPENDENT:
            first, second = (
                TASKS[task](random.Random(i), 6, "train", order) for order in ("listed", "shuffled")
            )
            assert set(first.steps) == set(second.steps) and first.prompt == second.prompt
    for task in TASKS:
        for record in make(task, 50):
            assert list(items_of(record)) == record.meta["topics"]


def test_splits_share_neither_names_nor_numbers() -> None:
    seen: dict[str, dict[str, set[str]]] = {}
    for split in ("train", "heldout"):
        words: set[str] = set()
        numbers: set[str] = set()
        for record in make("records", 300, split):
            words |= set(" ".join(record.meta["topics"]).split())
        for record in make("sums", 300, split):
            numbers |= set(items_of(record).values())
        for record in make("cases", 300, split):
            numbers |= {",".join(re.findall(r"\d+", v)) for v in items_of(record).values()}
        assert all(split_of(n) == split for n in numbers)
        assert all(split_of(w.lower()) == split for w in words)
        seen[split] = {"words": words, "numbers": numbers}
    for kind in ("words", "numbers"):
        assert not seen["train"][kind] & seen["heldout"][kind]


def test_levels_are_uneven_and_long_enough() -> None:
    for task in INDEPENDENT:
        records = make(task, 200)
        assert {r.meta["steps"] for r in records} == set(range(2, 13))
        words = [len(re.findall(r"\d|\w+|[^\w\s]", s)) for r in records for s in steps_of(r)]
        assert statistics.median(words) >= 24 and len(set(words)) > 5


def test_mix_holds_every_kind() -> None:
    records, total = make("mix", 2000), sum(MIXES["mix"].values())
    for kind, weight in MIXES["mix"].items():
        share = sum(r.meta["kind"] == kind for r in records) / len(records)
        assert weight / total / 2 < share < 1.5 * weight / total + 0.02
    assert {r.meta["task"] for r in records} == {*TASKS, "sums", "copies"}
    for record in records:
        if record.meta["kind"] == "copies":
            assert len(set(record.completion.split("\n"))) == record.meta["steps"]
        elif record.meta["kind"] == "sums":
            sums = re.findall(r"(\d+ [-+*] \d+) (?:=|is|we get) (\d+)", record.completion)
            assert len(sums) == record.meta["steps"] and str(len(sums)) in prompt_of(record)
            assert all(eval(work) == int(value) <= 99 for work, value in sums)
            assert record.answer is None and record.answer_ok is None
        elif record.meta["kind"] == "labels":
            assert record.answer is None and record.answer_ok is None
            labels = record.completion.split("\n")[-1]
            assert re.split("[,;] ", labels.removesuffix(".")) == list(items_of(record))
        elif record.meta["kind"] == "single":
            assert record.answer is None and record.answer_ok is None
            assert record.completion.startswith(record.meta["topics"][0])
        else:
            assert grade(record.completion, record.answer)
        if record.meta["kind"] == "given":
            assert "\n" not in record.completion
        if record.meta["kind"] == "ordered":
            assert ", ".join(record.meta["topics"]) in prompt_of(record)


def test_exercises_are_right_and_left_to_chance_as_little_as_said() -> None:
    kinds = {record.meta["kind"] for record in make("recall", 300)}
    assert kinds == set(MIXES["recall"])
    for record in (r for mixture in ("mix", "recall") for r in make(mixture, 300)):
        if record.meta["kind"] == "listed":
            sums = re.findall(r"(\d+ [-+*] \d+) (?:=|is|we get) (\d+)", record.completion)
            assert all(eval(work) == int(value) for work, value in sums)
            assert [w for w, _ in sums] == re.findall(r"\d+ [-+*] \d+", prompt_of(record))
        elif record.meta["kind"] == "copies":
            lines = record.completion.split("\n")
            assert len(lines) == record.meta["steps"] and record.answer is None
            pairs = dict(line.split(": ") for line in lines)
            listed = {f"{key}: {value}" for key, value in pairs.items()}
            listed |= {f"{value}: {key}" for key, value in pairs.items()}
            assert sum(line in prompt_of(record) for line in listed) == len(lines)


def test_same_arguments_same_record_whatever_the_workers(tmp_path) -> None:
    assert make_record("mix", 5, 7, None, "train") == make_record("mix", 5, 7, None, "train")
    assert make_record("mix", 5, 7, None, "train") != make_record("mix", 6, 7, None, "train")
    for workers, name in ((1, "a.jsonl.gz"), (2, "b.jsonl.gz")):
        synthesise("mix", 1200, 5, tmp_path / name, workers=workers)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    rows = list(read_records(tmp_path / "a.jsonl.gz"))
    assert len(rows) == 1200 and all(isinstance(r, Record) for _, r in rows)
    assert rows[7][1] == make_record("mix", 5, 7, None, "train")


def test_unknown_task_level_and_split_are_named(tmp_path) -> None:
    with pytest.raises(DataError, match="did you mean records"):
        synthesise("record", 1, 0, tmp_path / "x.jsonl")
    with pytest.raises(DataError, match="level 13"):
        synthesise("records", 1, 0, tmp_path / "x.jsonl", level=13)
    assert not list(tmp_path.iterdir())


def test_broken_lines_are_named_and_the_run_goes_on(tmp_path) -> None:
    path = tmp_path / "t.jsonl"
    assert write_jsonl(path, make("sums", 2)) == 2
    bad = make("sums", 1)[0].to_json()
    del bad["meta"]
    with path.open("a") as f:
        f.write(
            '{"id": \n\n{"id": 3}\n' + str(bad).replace("'", '"').replace("None", "null") + "\n[]\n"
        )
    rows = list(read_records(path))
    assert [n for n, _ in rows] == [1, 2, 3, 5, 6, 7]
    errors = [str(r) for _, r in rows if isinstance(r, DataError)]
    assert "t.jsonl:3: not JSON" in errors[0] and "'id': expected str" in errors[1]
    assert len(errors) == 4
    with pytest.raises(DataError, match="cannot read"):
        list(read_records(tmp_path / "none.jsonl"))


def test_a_truncated_archive_is_an_error_that_names_the_line(tmp_path) -> None:
    path = tmp_path / "t.jsonl.gz"
    write_jsonl(path, make("sums", 50))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"t\.jsonl\.gz:\d+"):
        list(read_records(path))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So it is Lina Varo. name: Lina Varo", "Lina Varo"),
        ("name: A\nanswer: 42.", "42."),
        ("Answer: **", "**"),
        ("no closing form", None),
    ],
)
def test_find_closing(text: str, answer: str | None) -> None:
    assert find_closing(text) == answer


def test_command_line(tmp_path) -> None:
    out = tmp_path / "c.jsonl.gz"
    args = ["synth", "chain", "--n", "20", "--seed", "1", "--out", str(out), "--level", "4"]
    result = CliRunner().invoke(app, [*args, "--split", "heldout"])
    assert result.exit_code == 0, result.output
    with gzip.open(out, "rt") as f:
        assert len(f.readlines()) == 20
    assert CliRunner().invoke(app, ["synth", "chain", "--n", "5"]).exit_code == 2
    assert isinstance(CliRunner().invoke(app, ["synth", "chian", *args[2:]]).exception, DataError)
