"""The tasks in natural English: right by an independent reading, forked or not, split, readable."""

import gzip
import hashlib
import random
import re
from collections.abc import Iterator
from fractions import Fraction

import pytest
from pdata.cli import app
from pdata.grading.closing_form import find_closing, grade
from pdata.record import Record, dump_line, read_records
from pdata.rules.rewriter import rewrite
from pdata.synthetic.generator import make_record, synthesise
from pdata.synthetic.natural import listing, phrasing, questions, retrieval, rules, worlds
from pdata.synthetic.natural.phrasing import HELD_OUT, article, of_split
from pdata.synthetic.natural.tasks import NATURAL_TASKS, cases, chain, resume, sums
from pdata.synthetic.wording import SPLITS
from pdata.validate import check_record, find_problems
from typer.testing import CliRunner

from pbranch.errors import DataError
from tests.support.repository import ROOT

INDEPENDENT = ("records", "sums", "cases", "resume")
DATA = ROOT / "data" / "smollm2" / "branches.jsonl.gz"
NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?!\w)")
# of 200 records, half of them with 7 steps, before there was any other wording
PLAIN = {
    "records": "47c20898e6e32c95",
    "sums": "5d02165473582cfc",
    "cases": "f60f32399b5eb088",
    "chain": "b7260a57f8d37c54",
    "mix": "f1a7ac266a8087fd",
    "recall": "85c5d9f92775f9e3",
}


def make(task: str, n: int, split: str = "train", wording: str = "natural") -> list[Record]:
    return [make_record(task, 3, i, None, split, wording) for i in range(n)]


def prompt_of(record: Record) -> str:
    return record.messages[0]["content"]


def first_line(record: Record) -> str:
    return record.completion.split("\n")[0]


def steps_of(record: Record) -> dict[str, str]:
    """Topic: text of its step."""
    lines = [line for line in record.completion.split("\n") if line][1:]
    steps = dict(zip(record.meta["topics"], lines, strict=False))
    assert all(text.startswith(topic) for topic, text in steps.items()), record.completion
    return steps


def numbers_in(text: str) -> list[Fraction]:
    return [Fraction(x) for x in NUMBER.findall(text)]


def items_of(record: Record) -> dict[str, str]:
    """Topic: the line of the prompt that has it, without the topic; {} where not each has one."""
    items = {}
    for topic in record.meta["topics"]:
        lines = [x for x in prompt_of(record).split("\n") if re.search(rf"\b{topic}\b", x)]
        others = (t for t in record.meta["topics"] if t != topic)
        if len(lines) != 1 or any(re.search(rf"\b{t}\b", lines[0]) for t in others):
            return {}
        items[topic] = re.sub(r"^\(?\d+[.)] ", "", lines[0]).replace(topic, "")
    return items


def rest_of(record: Record) -> str:
    """The prompt without the lines of its items."""
    lines = prompt_of(record).split("\n")
    return "\n".join(x for x in lines if not any(t in x for t in record.meta["topics"]))


def bounds_of(record: Record) -> list[Fraction]:
    """The numbers of the question; the intro says how many items there are."""
    found = numbers_in(rest_of(record))
    found.remove(Fraction(record.meta["steps"]))
    return found


def holds(record: Record, value: Fraction, values: list[Fraction]) -> bool:
    """Whether a value is what the prompt asks for."""
    kind, bounds = record.meta["question"], bounds_of(record)
    if kind in ("largest", "smallest"):
        assert not bounds
        return value == (max(values) if kind == "largest" else min(values))
    if kind == "range":
        low, high = bounds
        return low < value < high
    (bound,) = bounds
    if kind == "equal":
        return value == bound
    number = next(x for x in NUMBER.findall(rest_of(record)) if Fraction(x) == bound)
    words = ABOVE if kind == "above" else BELOW
    assert re.search(rf"\b(?:{words}) {re.escape(number)}", rest_of(record)), prompt_of(record)
    return (value > bound) == (kind == "above") and value != bound


def solve_lookup(record: Record, items: dict[str, str]) -> str:
    """By the number of each item that its step takes up; in all of them it is the same one."""
    steps = steps_of(record)
    columns = list(zip(*(numbers_in(text) for text in items.values()), strict=True))
    read = [
        column
        for column in columns
        if all(x in numbers_in(steps[t]) for t, x in zip(items, column, strict=True))
    ]
    answers = {t for c in read for t, x in zip(items, c, strict=True) if holds(record, x, list(c))}
    assert record.answer in answers
    return answers.pop() if len(answers) == 1 else record.answer


def solve_sums(record: Record, items: dict[str, str]) -> str:
    values = {topic: sum(numbers_in(text)) for topic, text in items.items()}
    if record.meta["question"] == "total":
        return str(sum(values.values()))
    (answer,) = (t for t, x in values.items() if holds(record, x, list(values.values())))
    return answer


def solve_cases(record: Record, items: dict[str, str]) -> str:
    rule = [
        ((before or after), Fraction(x or y))
        for before, x, y, after in CONDITION.findall(re.sub(r"\(\d\)", "", rest_of(record)))
    ]
    passes = {}
    for topic, text in items.items():
        numbers = numbers_in(text)
        assert len(numbers) == len(rule) > 0, prompt_of(record)
        passes[topic] = all(
            x > bound if re.fullmatch(LEAST, word) else x < bound
            for x, (word, bound) in zip(numbers, rule, strict=True)
        )
    kind = record.meta["question"]
    if kind == "all":
        return "yes" if all(passes.values()) else "no"
    if kind == "count":
        return str(sum(passes.values()))
    (answer,) = (topic for topic, ok in passes.items() if ok == (kind == "passes"))
    return answer


def solve_chain(record: Record, items: dict[str, str]) -> str:
    (value,) = numbers_in(rest_of(record))
    for text in items.values():
        (change,) = numbers_in(text)
        assert bool(re.search(MORE, text)) != bool(re.search(LESS, text)), text
        value += change if re.search(MORE, text) else -change
    return str(value)


SOLVERS = {
    "records": solve_lookup,
    "resume": solve_lookup,
    "sums": solve_sums,
    "cases": solve_cases,
    "chain": solve_chain,
}
ABOVE = "above|over|higher than|more than|exceeds|greater than"
BELOW = "below|under|lower than|less than|smaller than"
LEAST = (
    "at least|no less than|not below|or more|at the least|not under|more than|or higher|and up|"
    "a minimum of|above|over|not lower than|higher than|not less than"
)
CONDITION = re.compile(
    r"((?:not |no )?(?:at most|at least|above|below|over|under|(?:more|less|higher|lower) than)|"
    rf"up to|a (?:max|min)imum of) ({NUMBER.pattern})|({NUMBER.pattern})[^\d;,.]*? "
    r"(or less|or more|at the most|at the least|at most|at least|or lower|or higher|and up)"
)
MORE = (
    r"get on|come in|board|join|paid in|refund|flow in|pump|delivered|van|puts|adds|wins|added|"
    r"are loaded|on board|goes? up|floors up|brought|arrive|more come|\badd\b|larger"
)
LESS = (
    r"get off|people leave|travellers leave|step out|withdrawn|bill|flow out|used|sold|customers|"
    r"takes out|keeps|loses|penalty|unloaded|stay|goes? down|floors down|lent|borrow|go home|"
    r"subtract|smaller"
)


@pytest.mark.parametrize("task", PLAIN)
def test_the_plain_wording_is_what_it_was(task: str) -> None:
    found = hashlib.sha256()
    for split in SPLITS:
        for level in (None, 7):
            for i in range(50):
                found.update(dump_line(make_record(task, 3, i, level, split)).encode())
    assert found.hexdigest()[:16] == PLAIN[task]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", NATURAL_TASKS)
def test_answers_agree_with_an_independent_reading(task: str, split: str) -> None:
    read = 0
    for record in [*make(task, 300, split), *make(task, 60, split, "easy")]:
        assert grade(record.completion, record.answer) and record.answer_ok
        assert not grade(record.completion, f"{record.answer}x")
        assert not list(check_record(record))
        if items := items_of(record):
            assert record.answer == SOLVERS[task](record, items), prompt_of(record)
            read += 1
    assert read > 150  # of 360; others stand in one running text


@pytest.mark.parametrize("task", NATURAL_TASKS)
def test_rules_fork_all_tasks_but_the_chain(task: str) -> None:
    drawn = [*make(task, 150), *make(task, 60, "heldout"), *make(task, 60, wording="easy")]
    whole = 0
    for record in drawn:
        trace = rewrite(record.completion, prompt_of(record)).trace
        widths = [len(fork.topics) for fork in trace.all_forks()]
        assert task != "chain" or not widths, record.completion
        whole += widths == [record.meta["steps"]]
    assert task == "chain" or whole >= 0.97 * len(drawn)


@pytest.mark.parametrize("task", INDEPENDENT)
def test_steps_need_no_sibling_and_are_of_a_length(task: str) -> None:
    for record in make(task, 200):
        steps = steps_of(record)
        assert len(steps) == record.meta["steps"]
        for topic, text in steps.items():
            assert 10 <= len(text.split()) <= 85, text
            others = (t for t in steps if t != topic)
            assert not any(re.search(rf"\b{re.escape(t)}\b", text) for t in others), text


def kinds_of_wordings() -> Iterator[tuple[object, ...]]:
    """What texts are chosen from: tuples in capitals, and tuples of worlds and mappings."""
    modules = (
        phrasing,
        listing,
        questions,
        retrieval,
        rules,
        worlds,
        cases,
        chain,
        sums,
        resume,
    )
    for module in modules:
        for name, value in vars(module).items():
            groups = value.values() if isinstance(value, dict) else [value]
            if name.isupper():
                yield from (g for g in groups if isinstance(g, tuple) and len({*g}) == len(g) > 2)
    for world in (*chain.WORLDS, *sums.WORLDS):
        yield world.intros


def test_an_eighth_of_every_kind_of_wording_is_held_out() -> None:
    kinds = list(kinds_of_wordings())
    assert len(kinds) > 50
    for kind in kinds:
        train, heldout = (of_split(kind, split) for split in SPLITS)
        assert not {*train} & {*heldout} and {*train} | {*heldout} == {*kind}
        assert len(heldout) >= len(kind) / HELD_OUT and train


def test_splits_share_no_names_and_no_wordings() -> None:
    words: dict[str, set[str]] = {}
    leads: dict[str, set[str]] = {}
    for split in SPLITS:
        drawn = [r for task in ("records", "resume", "sums") for r in make(task, 300, split)]
        topics = " ".join(t for r in drawn for t in r.meta["topics"])
        words[split] = set(topics.split()) - GENERIC
        leads[split] = {re.sub(r"^[\w ]+: .*?\. (?=[A-Z])", "", first_line(r)) for r in drawn}
        assert leads[split] <= {*of_split(phrasing.LEADS, split)}
    assert not words["train"] & words["heldout"] and len(words["heldout"]) > 80
    assert leads["train"] and leads["heldout"]


GENERIC = set("House Letters Hotel Lake MS Blend Bread Garden".split())


@pytest.mark.parametrize("task", NATURAL_TASKS)
def test_texts_are_clean(task: str) -> None:
    for split in SPLITS:
        for record in make(task, 200, split):
            text = f"{prompt_of(record)}\n{record.completion}"
            blanks = text.replace("{answer}", "it")
            assert not re.search(r"[{}]|  |\.\.|,,| [,.;]|\bNone\b", blanks), text
            wrong = re.search(r"\b[Aa] (?=[aeio])(?!and )\w+|\b[Aa]n (?![aeioh])\w+", text)
            assert not wrong, (wrong, text)
            assert not re.search(r"\b1 (?:ones|tens|hundreds|tenths|hundredths)\b", text)
            key = re.search(r"(name|answer): \S.*$", record.completion)[1]
            assert f"{key}: " in prompt_of(record) and find_closing(record.completion)


def test_easy_problems_are_short_and_far_apart() -> None:
    for task in ("records", "resume"):
        for record in make(task, 100, wording="easy"):
            assert record.meta["steps"] <= 4
            assert record.meta["question"] in ("above", "below", "largest", "smallest")
    rules_ = [r for r in make("cases", 100, wording="easy") if items_of(r)]
    assert all(len(numbers_in(x)) == 1 for r in rules_ for x in items_of(r).values())


def test_levels_are_drawn_or_given() -> None:
    assert {r.meta["steps"] for r in make("records", 300)} >= {2, 3, 4, 5, 6, 7, 8, 10}
    for task in NATURAL_TASKS:
        for split in SPLITS:
            for level in range(2, 13):
                record = make_record(task, 1, 0, level, split, "natural")
                assert len(record.meta["topics"]) == len({*record.meta["topics"]}) == level


@pytest.mark.parametrize(
    ("noun", "text"), [("age", "an age"), ("GPA", "a GPA"), ("hour", "an hour")]
)
def test_articles(noun: str, text: str) -> None:
    assert article(noun) == text


def test_held_out_prompts_of_both_wordings(monkeypatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from evaluate import held_out

    lines = "".join(dump_line(record) for record in held_out(240))
    assert hashlib.sha256(lines.encode()).hexdigest()[:16] == "ddecf4c8ce48089d"
    natural = held_out(50, wording="natural", most_steps=8)
    assert {r.meta["task"] for r in natural} == {*NATURAL_TASKS}
    assert {r.meta["split"] for r in natural} == {"heldout"}
    assert {r.meta["steps"] for r in natural} == set(range(2, 9))


def test_command_line_and_what_it_refuses(tmp_path) -> None:
    out = tmp_path / "r.jsonl"
    args = ["synth", "resume", "--n", "9", "--seed", "1", "--out", str(out), "--wording", "natural"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, result.output
    found = [record for _, record in read_records(out)]
    assert found == [make_record("resume", 1, i, None, "train", "natural") for i in range(9)]
    for task, wording, said in (
        ("resume", "plain", "plain tasks: records"),
        ("mix", "natural", "natural tasks: records"),
        ("records", "fancy", "unknown wording 'fancy'; wordings: plain"),
    ):
        with pytest.raises(DataError, match=said):
            synthesise(task, 1, 0, tmp_path / "x.jsonl", wording=wording)
    assert list(tmp_path.iterdir()) == [out]


def test_the_shipped_traces_are_clean_and_still_what_is_made() -> None:
    assert not list(find_problems(DATA))
    shipped = [record for _, record in read_records(DATA)]
    assert len(shipped) > 5000
    for record in random.Random(0).sample(shipped, 40):
        task, wording, seed, index = re.fullmatch(r"(\w+)-(\w+)-s(\d+)-(\d+)", record.id).groups()
        again = make_record(task, int(seed), int(index), None, "train", wording)
        assert again.messages == record.messages and again.answer == record.answer
        assert ("fork" in record.completion) == (task != "chain")
    with gzip.open(DATA) as file:
        assert len(file.read()) < 20_000_000
