"""Whether the steps of a block depend on each other, told from their words and numbers alone.

A block depends at the first sign: the prompt asks for one thing after the other, a check finds
what a step has of an earlier one, or each step takes up words of the one before. In doubt the
block stays linear. Knows no model; what is measured comes later.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pdata.rules.blocks.labels import UNLABELLED, Kind
from pdata.rules.blocks.steps import Block, Step
from pdata.rules.dependence.back_references import (
    DEFINED,
    EDGES,
    OPENERS,
    TERM,
    asks_in_turn,
    find_mentions,
    find_pointer,
    find_undefined,
    label_names,
    remove_names,
)
from pdata.rules.dependence.number_trace import (
    all_numbers,
    given_numbers,
    results_of,
    trace_numbers,
)
from pdata.rules.dependence.word_chains import find_chain
from pdata.rules.prompt import Prompt

# their steps start with words of their own; under a title, "next" may be about anything
_PLAIN = (Kind.counted, Kind.bulleted, Kind.worked)
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{2,}\b")
_NO_NAMES = frozenset(("true", "false", "yes", "none", "not"))


@dataclass(frozen=True)
class StepFacts:
    """What a check may ask of one step. body: its text without its own label; given: the numbers
    that the prompt gives it."""

    step: Step
    body: str
    given: Counter[str]

    @cached_property
    def numbers(self) -> list[str]:
        """Everything that may be a number."""
        return all_numbers(self.body)

    @cached_property
    def traced(self) -> tuple[set[str], set[str]]:
        """(numbers that nothing explains, numbers that the step brings in)."""
        return trace_numbers(self.body, self.given)

    @cached_property
    def names(self) -> list[str]:
        """Capitalised words inside sentences."""
        return _NAME.findall(self.body)

    @cached_property
    def terms(self) -> set[str]:
        """Terms such as 3x."""
        return set(TERM.findall(self.body))


@dataclass(slots=True)
class EarlierSteps:
    """What the steps before the one in hand have brought in."""

    steps: list[Step] = field(default_factory=list)
    numbers: set[str] = field(default_factory=set)
    results: set[str] = field(default_factory=set)
    terms: set[str] = field(default_factory=set)
    symbols: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)


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
            StepFacts(s, remove_names(s.text, label_names(s)) if self.labelled else s.text, g)
            for s, g in zip(block.steps, given, strict=True)
        ]
        self.common_numbers = _common([step.numbers for step in self.steps])
        self.common_names = _common([step.names for step in self.steps])
        self.no_names = self.known.words | _NO_NAMES
        self.earlier = EarlierSteps()

    def pass_by(self, step: StepFacts) -> None:
        """Count a step among the earlier ones."""
        earlier, words = self.earlier, self.known.words
        earlier.steps.append(step.step)
        earlier.numbers |= step.traced[1]
        if not self.listed:
            earlier.results |= results_of(step.body) - {"0", "1"}
        earlier.terms |= step.terms - words
        earlier.symbols |= set(DEFINED.findall(step.body)) - words
        new = {name for name in step.names if name.lower() not in self.no_names}
        earlier.names |= new - self.common_names


# (context, step) -> what the step has of an earlier one, None where nothing shows. In a docstring
# each line is a block, its steps apart by |: in those after + the check finds its sign in the last
# step, in those after - it does not.
Check = Callable[[BlockContext, StepFacts], str | None]


def check_pointer(context: BlockContext, step: StepFacts) -> str | None:
    """A phrase that points back, or words at the start that go on from what was said.

    + Oak: it is tall. | Elm: similarly, it is tall.
    + 1. Boil the water. | 2. Then pour it.
    - Oak: it is tall. | Elm: then it is tall.
    """
    if not context.earlier.steps:
        return None
    opening = step.body if context.kind in _PLAIN else ""
    pointer = find_pointer(step.body, context.known) or OPENERS.match(opening)
    return f"says {pointer[0].strip(EDGES).lower()!r}" if pointer else None


def check_label(context: BlockContext, step: StepFacts) -> str | None:
    """The label of an earlier step.

    + Oak: it is tall. | Elm: it is as tall as Oak.
    - Oak: it is tall. | Elm: it is as tall as oaks.
    """
    if not context.labelled:
        return None
    labels = (name for s in context.earlier.steps for name in find_mentions(step.body, s))
    label = next(labels, None)
    return f"mentions {label!r}" if label else None


def check_number(context: BlockContext, step: StepFacts) -> str | None:
    """A number that nothing explains but an earlier step.

    + Oak: 12 + 5 is 17. | Elm: 17 + 2 is 19.
    - Oak: 12 + 5 is 17. | Elm: 15 + 2 is 17.
    """
    shared = sorted((step.traced[0] & context.earlier.numbers) - context.common_numbers)
    return f"uses {shared[0]} of an earlier step" if shared else None


def check_result(context: BlockContext, step: StepFacts) -> str | None:
    """What an earlier step worked out, wherever it stands.

    + Oak: 12 + 5 = 17. | Elm: 15 + 2 = 17.
    - Oak: 12 + 5 = 17. | Elm: 15 + 3 = 18.
    """
    shared = sorted({*step.numbers} & context.earlier.results - context.common_numbers)
    return f"has {shared[0]}, a result of an earlier step" if shared else None


def check_term(context: BlockContext, step: StepFacts) -> str | None:
    """A term of an earlier step.

    + Oak: it is 3x high. | Elm: it is 3x wide.
    - Oak: it is 3x high. | Elm: it is 4x wide.
    """
    shared = sorted(step.terms & context.earlier.terms)
    return f"uses {shared[0]} of an earlier step" if shared else None


def check_symbol(context: BlockContext, step: StepFacts) -> str | None:
    """A symbol that an earlier step defines, and this one does not before it uses it.

    + Oak: let k = 3. | Elm: k is odd.
    - Oak: let k = 3. | Elm: let k = 5, k is odd.
    """
    shared = sorted(find_undefined(step.body) & context.earlier.symbols)
    return f"uses {shared[0]} as an earlier step defines it" if shared else None


def check_name(context: BlockContext, step: StepFacts) -> str | None:
    """A name that first came up in an earlier step.

    + Oak: it is owned by Zoltan. | Elm: we ask Zoltan.
    - Oak: it is owned by Zoltan. | Elm: we ask Dora.
    """
    shared = sorted(n for n in context.earlier.names if re.search(rf"(?<!\w){n}(?!\w)", step.body))
    return f"uses {shared[0]!r} of an earlier step" if shared else None


CHECKS: tuple[Check, ...] = (
    check_pointer, check_label, check_number, check_result, check_term, check_symbol, check_name,
)  # fmt: skip


def find_dependence(block: Block, prompt: Prompt) -> str | None:
    """Why a later step of `block` seems to need an earlier one; None when nothing says so."""
    if asks_in_turn(prompt):
        return "the prompt asks for one thing after the other"
    context = BlockContext(block, prompt)
    for number, step in enumerate(context.steps, 1):
        for check in CHECKS:
            if sign := check(context, step):
                return f"step {number} {sign}"
        context.pass_by(step)
    if context.listed:
        return None
    links = find_chain([step.text for step in block.steps], all_numbers(context.known.text))
    return f"each step takes up words of the one before: {links}" if links else None


def lists_all(block: Block, prompt: Prompt) -> bool:
    """Whether the prompt lists an item for every step, with its numbers."""
    return all(prompt.lists(step.label.subject) for step in block.steps)


def _common(steps: Sequence[Sequence[str]]) -> set[str]:
    """What most of at least three steps have."""
    seen = Counter(x for step in steps for x in set(step))
    return {x for x, n in seen.items() if n > 2 and n > len(steps) / 2}
