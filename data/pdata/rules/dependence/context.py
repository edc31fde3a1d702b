"""What the checks of independence may ask: facts of one step, what earlier steps have brought in,
and the block against its prompt."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pdata.rules.blocks.labels import UNLABELLED, Kind
from pdata.rules.blocks.steps import Block, Step
from pdata.rules.dependence.formulas import (
    DEFINED,
    TERM,
    Equation,
    equations_of,
    formulas_of,
    wholes_of,
)
from pdata.rules.dependence.number_trace import (
    all_numbers,
    given_numbers,
    operands_of,
    results_of,
    trace_numbers,
    worked_out,
)
from pdata.rules.dependence.titles import (
    NAME,
    label_names,
    remove_names,
    split_title,
    strip_counter,
)
from pdata.rules.dependence.word_chains import stem
from pdata.rules.prompt import Prompt

_QUOTES = ('"', "“", "《")
# titles of one day: who goes somewhere in the morning is there at noon
_TIME = re.compile(
    r"(?:early |late |mid-?)?(?:morning|breakfast|lunch|noon|midday|afternoon|evening|dinner|"
    r"night|overnight)\b|(?:早上|上午|早餐|中午|午餐|下午|傍晚|晚上|晚餐|夜)",
    re.IGNORECASE,
)
# a lead before things that get letters
_NAMES = re.compile(r"\b(?:denote|assign|label|let|define)\b|设|记|表示", re.IGNORECASE)
_OPERATOR = r"(?:[-+*/×·=]|\\(?:times|cdot)\b)"
_LETTER = re.compile(rf"{_OPERATOR} ?([a-z])\b|(?<![\w.\\])([a-z])(?= ?{_OPERATOR})")
_NO_NAMES = frozenset(
    """true false yes none not january february march april may june july august september october
    november december monday tuesday wednesday thursday friday saturday sunday""".split()
)
_IN_BRACKETS = re.compile(r"[\s*`$\\]*[(\[{][^()\[\]{}\n]*[)\]}]")
_CONDITION = re.compile(r"^[^\n:：=]{0,20}=[^\n:：=]{1,20}[:：]")  # "For a = 3:" works out nothing
_WORKS_OUT = re.compile(r"\d\s*(?:[×*·+/^÷]|\s[-–x]\s|\\times)\s*\d")  # (5 x 2), but not (3-5)


@dataclass(frozen=True)
class StepFacts:
    """What a check may ask of one step. body: its text without its own label; given: the numbers
    that the prompt gives it; title: one of its own, and told: what follows it."""

    step: Step
    body: str
    given: Counter[str]

    @cached_property
    def _split(self) -> tuple[str, str]:
        return split_title(self.step)

    @property
    def title(self) -> str:
        return self._split[0]

    @property
    def told(self) -> str:
        return self._split[1]

    @cached_property
    def stems(self) -> set[str]:
        """Its words, cut to their stems."""
        return {stem(word) for word in re.findall(r"[a-z]+", self.step.text.lower())}

    @cached_property
    def formulas(self) -> list[str]:
        """Its formulas in LaTeX."""
        return formulas_of(self.body)

    @cached_property
    def numbers(self) -> list[str]:
        """Everything that may be a number."""
        return all_numbers(self.body)

    @cached_property
    def traced(self) -> tuple[set[str], set[str]]:
        """(numbers that nothing explains, numbers that the step brings in)."""
        return trace_numbers(self.body, self.given)

    @cached_property
    def worked_out(self) -> set[str]:
        """The numbers that it has first as what its own calculation gives."""
        return worked_out(self.body)

    @cached_property
    def digits_given(self) -> set[str]:
        """Digits of the prompt: a digit comes up by chance."""
        return {n for n in self.numbers if len(n) == 1 and n in self.given}

    @cached_property
    def own(self) -> set[str]:
        """The numbers in brackets that it opens with: they are what it is about."""
        match = _IN_BRACKETS.match(strip_counter(self.step.text))
        return set(all_numbers(match[0])) if match and not _WORKS_OUT.search(match[0]) else set()

    @cached_property
    def operands(self) -> set[str]:
        """The numbers that it calculates with."""
        return operands_of(self.body)

    @cached_property
    def names(self) -> list[str]:
        """Capitalised words inside sentences."""
        return NAME.findall(self.body)

    @cached_property
    def letters(self) -> set[str]:
        """Letters that an operator stands by: a · b."""
        return {a or b for a, b in _LETTER.findall(self.body)}

    @cached_property
    def terms(self) -> set[str]:
        """Terms such as 3x."""
        return set(TERM.findall(self.body))


@dataclass(slots=True)
class EarlierSteps:
    """What the steps before the one in hand have brought in."""

    steps: list[Step] = field(default_factory=list)
    numbers: set[str] = field(default_factory=set)
    titles: set[str] = field(default_factory=set)  # those in quotes
    results: set[str] = field(default_factory=set)
    terms: set[str] = field(default_factory=set)
    symbols: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    counts: set[str] = field(default_factory=set)
    all_numbers: set[str] = field(default_factory=set)
    stems: set[str] = field(default_factory=set)
    equations: set[Equation] = field(default_factory=set)
    wholes: set[str] = field(default_factory=set)  # equations between unknowns
    letters: set[str] = field(default_factory=set)  # symbols in use

    @property
    def text(self) -> str:
        return "\n".join(step.text for step in self.steps)


class BlockContext:
    """A block's steps against its prompt, and `earlier`, which grows from step to step.

    listed: the prompt lists an item for every step, which gives it all of its numbers; what most
    steps have, a shared answer or a word of the pattern, is in `common_numbers` and `common_names`.
    """

    def __init__(self, block: Block, prompt: Prompt) -> None:
        self.kind, self.labelled = block.kind, block.kind not in UNLABELLED
        self.known = Prompt(f"{prompt.text}\n{block.lead}")
        self.listed = lists_all(block, prompt)
        given = given_numbers(block, prompt)
        self.steps = [
            StepFacts(s, _body(s, block.kind), g) for s, g in zip(block.steps, given, strict=True)
        ]
        self.common_numbers = _common([step.numbers for step in self.steps])
        self.common_names = _common([step.names for step in self.steps])
        self.survey = all(step.title for step in self.steps)
        self.in_time = self.survey and all(_TIME.match(step.title) for step in self.steps)
        self.common_equations = _common(
            [[e.right for e in equations_of(step.formulas)] for step in self.steps]
        )
        self.common_formulas = _common([step.formulas for step in self.steps])
        self.names_letters = bool(_NAMES.search(block.lead.strip().rsplit("\n", 1)[-1]))
        self.no_names = self.known.words | _NO_NAMES
        self.earlier = EarlierSteps()

    @cached_property
    def stems(self) -> set[str]:
        """The words of the prompt and the lead, cut to their stems."""
        return {stem(word) for word in self.known.words}

    @cached_property
    def openings(self) -> list[str]:
        """The texts of all steps without what counts them."""
        return [strip_counter(step.step.text) for step in self.steps]

    @cached_property
    def known_terms(self) -> set[str]:
        """The terms of the prompt and the lead, where a space may part them: 3 x."""
        return set(TERM.findall(re.sub(r"(?<=\d)\s+(?=[a-z]\b)", "", self.known.text)))

    @cached_property
    def known_formulas(self) -> str:
        """The formulas of the prompt and the lead."""
        return "\n".join(formulas_of(self.known.text))

    def pass_by(self, step: StepFacts) -> None:
        """Count a step among the earlier ones."""
        earlier, words = self.earlier, self.known.words
        earlier.steps.append(step.step)
        if step.title[:1] in _QUOTES:
            earlier.titles.add(step.title)
        earlier.numbers |= step.traced[1]
        if not self.listed:
            earlier.results |= results_of(_CONDITION.sub("", step.body)) - {"0", "1"}
        earlier.terms |= step.terms - words - self.known_terms
        earlier.symbols |= {x for x in DEFINED.findall(step.body) if x.lower() not in words}
        new = {name for name in step.names if name.lower() not in self.no_names}
        earlier.names |= new - self.common_names
        earlier.counts |= {str(n) for n in step.step.label.numbers} or {str(len(earlier.steps))}
        earlier.counts |= set(
            re.findall(r"^\W*\(?(\w{1,3}?)[).、）]", step.step.label.text.lower())
        )
        earlier.all_numbers |= set(step.numbers)
        if not self.survey:
            earlier.stems |= step.stems
        earlier.wholes |= {
            f
            for f in wholes_of(step.formulas)
            if f not in self.known_formulas and f not in self.common_formulas
        }
        if self.names_letters:
            earlier.letters |= {x for x in step.letters if not self.known.mentions(x)}
        earlier.equations |= {
            e
            for e in equations_of(step.formulas)
            if e.right not in self.known_formulas and e.right not in self.common_equations
        }


def lists_all(block: Block, prompt: Prompt) -> bool:
    """Whether the prompt lists an item for every step, with its numbers."""
    return all(prompt.lists(step.label.subject) for step in block.steps)


def _body(step: Step, kind: Kind) -> str:
    """A step's text without its own label. A sentence up to its colon is no label."""
    if kind in UNLABELLED:
        return step.text
    if kind is Kind.counted and not split_title(step)[0]:
        return remove_names(strip_counter(step.text), [n for n in label_names(step) if len(n) < 12])
    return remove_names(step.text, label_names(step))


def _common(steps: Sequence[Sequence[str]]) -> set[str]:
    """What most of at least three steps have."""
    seen = Counter(x for step in steps for x in set(step))
    return {x for x, n in seen.items() if n > 2 and n > len(steps) / 2}
