"""Grades: text, mathematics, conclusions. `build`, `convert` and `distill` agree on a trace."""

import importlib.util
import json
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest
from pdata.build.convert import convert
from pdata.build.distill import Criteria, distill
from pdata.build.pipeline import build
from pdata.grading.answer_match import Verdict, grade_text, grade_trace
from pdata.grading.math_equal import is_equal
from pdata.sources.dialects import read_dialect

from pbranch.format.tagged_text import parse, render
from pbranch.format.tree import plain_text

NAMES = ("Ann Lee", "Bert Moor", "Cleo Dane")
PROMPT = "Ann Lee has 3 plums, Bert Moor has 5 and Cleo Dane has 7. Who has the most?"
STEPS = "\n".join(f"####Plums of {n}: {k} of them are there to be counted, and no more than that, "
                  "which is easy to see." for n, k in zip(NAMES, "357", strict=True))  # fmt: skip
AGAIN = STEPS.replace("Plums of ", "Again, plums of ")
FORKED = STEPS + "\n####%%%%\n{}"
DEPENDENT = "1. Take the 3.\n2. Add 5 to the previous result.\n3. Add 7 to that.\n\n{}"
CASES: list[tuple[str, str, str | None, bool | None]] = [  # trace, what it ends with, gold, grade
    (FORKED, "name: Cleo Dane", "Cleo Dane", True),
    (FORKED, 'So the answer is "name: cleo dane".', "Cleo Dane", True),
    (FORKED, "name: Bert Moor", "Cleo Dane", False),
    (FORKED, "It is Cleo Dane.", "Cleo Dane", True),
    (FORKED, "It is Bert Moor or Cleo Dane.", "Cleo Dane", False),
    (FORKED, "It is one of them.", "Cleo Dane", False),
    (FORKED, "It is Cleo Dane.", "Dora Lind", None),
    (FORKED, "", "Cleo Dane", None),
    (FORKED, "name: Cleo Dane", None, None),
    (FORKED, f"Once more.\n{AGAIN}\n####%%%%\nIt is Cleo Dane.", "Cleo Dane", False),
    (FORKED, "answer: 1/2", "0.5", True),
    (FORKED, "answer: 0.6", "1/2", False),
    (FORKED, "answer: Lee Ann", "Ann Lee", False),  # as products of letters they are equal
    (DEPENDENT, "answer: 15", "15", True),
    (DEPENDENT, "So \\boxed{30/2}", "15", True),
    (DEPENDENT, "So it is 15.", "15", None),
    ("I just see it. {}", "name: Cleo Dane", "Cleo Dane", True),
    ("I just see it. {}", "It is Cleo Dane.", "Cleo Dane", None),
]


@pytest.fixture
def mathematics(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for math-verify that knows fractions; to it, too, a name is a product."""

    def parse(text: str) -> list[object]:
        try:
            return [Fraction(text.strip("$"))]
        except ValueError:
            return [sorted(text.replace(" ", ""))]

    fake = SimpleNamespace(parse=parse, verify=lambda gold, found: gold == found)
    monkeypatch.setitem(sys.modules, "math_verify", fake)


@pytest.mark.usefixtures("mathematics")
@pytest.mark.parametrize(("trace", "end", "gold", "right"), CASES, ids=range(len(CASES)))
def test_the_commands_agree(
    tmp_path: Path, trace: str, end: str, gold: str | None, right: bool | None
) -> None:
    text = trace.format(end)
    row = {"prompt": PROMPT, "response": text, "gold": gold}
    tree = read_dialect(text, "paper")
    tagged = {"prompt": PROMPT, "answer": gold, "tagged_text": render(tree),
              "finish_reason": "stop"}  # fmt: skip
    (tmp_path / "in.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "gen.jsonl").write_text(json.dumps(tagged) + "\n")
    outs = [tmp_path / f"{name}.jsonl" for name in ("built", "converted", "distilled")]
    build(str(tmp_path / "in.jsonl"), outs[0])
    convert(str(tmp_path / "in.jsonl"), outs[1], "paper")
    distill(tmp_path / "gen.jsonl", outs[2], criteria=Criteria(forked=False, unknown=True))
    records = [json.loads(out.read_text()) for out in outs if out.stat().st_size]
    assert [record["answer_ok"] for record in records] == [right] * (2 if right is False else 3)
    assert {record["completion"] for record in records[1:]} == {render(tree)}
    built = parse(records[0]["completion"], records[0]["meta"].get("separators"))
    assert plain_text(built) == text
    topics = [[t.removeprefix("####") for t in fork.topics] for fork in built.all_forks()]
    assert topics == [list(fork.topics) for fork in tree.all_forks()]
    if right is False:
        (reason,) = (tmp_path / "distilled.rejected.jsonl").read_text().splitlines()
        assert json.loads(reason)["reason"] == "wrong answer"


@pytest.mark.usefixtures("mathematics")
def test_what_a_grade_was_found_by() -> None:
    tree = read_dialect(FORKED.format("It is Cleo Dane."), "paper")
    assert grade_trace(tree, "Cleo Dane", PROMPT) == Verdict(True, "conclusion")
    assert grade_trace(tree, "Cleo Dane", PROMPT, ()) == Verdict()
    assert grade_trace(tree, "Plums of Cleo Dane", "") == Verdict(False, "conclusion")
    assert grade_text("answer: 2/4", "0.5") == Verdict(True, "mathematics")
    assert grade_text("answer: 0.5", "0.5") == Verdict(True, "closing")
    assert grade_text("answer: 0.4", "0.5") == Verdict(False, "closing")
    assert grade_text("no closing form", "0.5") == Verdict()


@pytest.mark.skipif(not importlib.util.find_spec("math_verify"), reason="math-verify is missing")
def test_math_verify_as_it_is() -> None:
    assert is_equal("0.5", "1/2") and is_equal(r"\frac{1}{2}", "0.5") and is_equal("x+1", "1+x")
    assert not is_equal("0.6", "1/2") and not is_equal("", "1/2")
    assert not is_equal("Ann Lee", "Lee Ann") and not is_equal("no", "on")
