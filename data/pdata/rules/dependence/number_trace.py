"""The numbers of steps: what a step is given, what it works out, and what nothing explains.

In doubt a number is explained. Knows no words but those that state a result.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from pdata.rules.blocks.steps import Block
from pdata.rules.dependence.titles import remove_names
from pdata.rules.prompt import Prompt

_NUMBER = re.compile(r"(?<![\w.,])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w])")
_OPERATOR = re.compile(r"(?:\s*%|\s*[A-Za-z]+)?\s*(?:[+*×·/÷^−–-]|\\times|\\div|\btimes\b)\s*")
_STATES = re.compile(
    r"(?:[=≈→:]|\b(?:is|are|was|were|gives?|get|gets|makes?|equals?|leaves?|leaving|becomes?|"
    r"(?:area|total|sum|average|remainder|amount|value|cost|price|speed) of|"
    r"comes to|amounts to|adds up to|yields?|obtain|totals?))[^\w.]*$"
)
# 1,2,3 are three numbers
_ANY_NUMBER = re.compile(r"(?:\d{1,3}(?:,\d{2,3})*,\d{3}(?!,?\d)|\d+)(?:\.\d+)?|\.\d+")
# a digit behind a letter is part of a word: x2, SGVsbG8; r^2 is a formula
_RESULT = re.compile(rf"(?<![A-Za-z\d])(?<![a-zπ)]\^)(?:{_ANY_NUMBER.pattern})")
# \frac{11a}{c}, 4 \sin B: no number comes out
_FACTOR = re.compile(
    r"\s*\$?\s*(?:\\[dt]?frac\{\d+[a-z]\b|\d+ ?\\(?:sin|cos|tan|cot|sec|csc|ln|log|sqrt|theta)\b)"
)
_CALCULATES = re.compile(
    r"[\d)}]\s*(?:[-+*×·/÷^−–]|x\s|\\(?:times|cdot|div))|\\[dt]?(?:frac|binom)|\\choose|\d!|\d\(|[)}]\("
)
_EQUALS = re.compile(r"=|≈|\\approx")
_CALCULATED = re.compile(r"<<[^<>\n]*=([^<>=\n]*)>>")

Role = Literal["operand", "result", "stated", "plain"]


@dataclass(frozen=True, slots=True)
class Use:
    """A number in a step: what it is there for, and which run of operators it stands in."""

    number: str
    role: Role
    run: int


def all_numbers(text: str) -> list[str]:
    """Everything that may be a number, each in one spelling."""
    return [normalise(m[0]) for m in _ANY_NUMBER.finditer(text)]


def results_of(text: str) -> frozenset[str]:
    """The number after each sign of equality; of a calculator's mark <<a=b>>, only b."""
    text = _CALCULATED.sub(r" = \1 ", text)
    sides = (side for side in _EQUALS.split(text)[1:] if not _FACTOR.match(side))
    first = (_RESULT.search(side) for side in sides)
    return frozenset(normalise(m[0]) for m in first if m)


def worked_out(text: str) -> set[str]:
    """The numbers that a text has first behind a calculation of its own: 3 · 4 = 12."""
    found: set[str] = set()
    seen: set[str] = set()
    for line in text.splitlines():
        sides = _EQUALS.split(line)
        for i, side in enumerate(sides):
            numbers = all_numbers(side)
            if i and numbers and numbers[0] not in seen and _CALCULATES.search(sides[i - 1]):
                found.add(numbers[0])
            seen.update(numbers)
    return found


def normalise(digits: str) -> str:
    """One spelling of a number: no commas, no zeros at the end of decimals."""
    digits = digits.replace(",", "").lstrip("0") or "0"
    digits = "0" + digits if digits[0] == "." else digits
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def given_numbers(block: Block, prompt: Prompt) -> list[Counter[str]]:
    """By step: numbers of its own item in the prompt, and those outside of all items.

    An item runs from a mention of the step's subject to the next mention or the end of the line.
    A step whose subject the prompt does not know is given every number.
    """
    subjects = [step.label.subject for step in block.steps]
    starts = sorted((at, i) for i, s in enumerate(subjects) for at, _ in prompt.mentions(s))
    items: list[Counter[str]] = [Counter() for _ in subjects]
    shared, cursor, text = Counter(all_numbers(block.lead)), 0, prompt.text
    for k, (start, i) in enumerate(starts):
        if start < cursor:  # inside a longer name
            continue
        line_end = text.find("\n", start)
        ends = [starts[k + 1][0]] if k + 1 < len(starts) else []
        end = min([*ends, line_end if line_end >= 0 else len(text)])
        shared.update(all_numbers(text[cursor:start]))
        items[i].update(all_numbers(remove_names(text[start:end], [subjects[i]])))
        cursor = end
    shared.update(all_numbers(text[cursor:]))
    everything = Counter(all_numbers(text)) + Counter(all_numbers(block.lead))
    mentioned = {i for _, i in starts}
    return [items[i] + shared if i in mentioned else everything for i in range(len(subjects))]


def trace_numbers(body: str, given: Counter[str]) -> tuple[set[str], set[str]]:
    """(numbers that neither the prompt nor this step explains, numbers that this step introduces).

    Operands are counted within one expression: 27 - 27 needs two of them.
    """
    unexplained: set[str] = set()
    derived: set[str] = set()
    introduced: set[str] = set()
    spent: Counter[tuple[int, str]] = Counter()
    for n, use in enumerate(_uses(body)):
        number = use.number
        if use.role == "result":
            derived.add(number)
            introduced.add(number)
            continue
        spent[use.run, number] += 1
        needed = spent[use.run, number] if use.role == "operand" else 1
        explained = number in derived or given[number] >= needed
        if use.role == "stated":
            introduced.add(number)
            explained = explained or n > 0  # a statement that follows from what was said before it
        if not explained and (use.role == "operand" or len(number) > 1):
            unexplained.add(number)  # a digit by itself comes up by chance
    return unexplained, introduced


def operands_of(body: str) -> set[str]:
    """The numbers that a step calculates with."""
    return {use.number for use in _uses(body) if use.role == "operand"}


def _uses(body: str) -> Iterator[Use]:
    text = re.sub(r"(?<=\d)\((?=\d)", "*", body)  # 2(8)
    text = re.sub(r"[()\[\]$€£\\{}]", "", text)
    numbers = list(_NUMBER.finditer(text))
    gaps = [text[a.end() : b.start()] for a, b in pairwise(numbers)]
    joined = [bool(_OPERATOR.fullmatch(gap)) for gap in gaps]
    run = 0
    for k, match in enumerate(numbers):
        before, after = k > 0 and joined[k - 1], k < len(gaps) and joined[k]
        ahead = gaps[k - 1] if k else text[: match.start()]
        run += not before
        role: Role = "plain"
        if before or after:
            role = "operand"
        elif _STATES.search(ahead):
            worked_out = k > 1 and joined[k - 2] and not re.search(r"[.;]\s", ahead)
            role = "result" if worked_out else "stated"
        yield Use(normalise(match[0]), role, run)
