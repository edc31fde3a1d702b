"""Whether the steps of a block depend on each other, told from their words and numbers alone.

A block depends at the first sign: the prompt asks for one thing after the other, a check finds
what a step has of an earlier one, or each step takes up words of the one before. In doubt the
block stays linear. Knows no model; what is measured comes later.
"""

import re
from collections.abc import Callable

from pdata.rules.blocks.labels import Kind
from pdata.rules.blocks.steps import Block
from pdata.rules.dependence.anaphora import (
    find_bare_this,
    find_brought_up,
    find_done,
    find_echo,
    find_measured,
    find_pronoun,
    find_taken_up,
    find_term,
    find_their_number,
    find_this,
    find_this_cn,
    find_worked_on,
)
from pdata.rules.dependence.back_references import (
    CONCLUDES,
    EDGES,
    OPENERS,
    asks_in_turn,
    find_pointer,
    find_pointer_in_survey,
    find_reference,
)
from pdata.rules.dependence.context import BlockContext, StepFacts, lists_all
from pdata.rules.dependence.formulas import (
    find_asked,
    find_brought_in,
    find_undefined,
    find_use,
    find_value_taken,
)
from pdata.rules.dependence.sequences import find_sequence
from pdata.rules.dependence.titles import (
    find_compared,
    find_mentions,
    find_name,
    find_sibling,
    split_title,
    strip_counter,
)
from pdata.rules.dependence.word_chains import find_chain, find_table
from pdata.rules.prompt import Prompt

# their steps start with words of their own; under a title, "next" may be about anything
_PLAIN = (Kind.counted, Kind.bulleted, Kind.worked)
# a lead whose steps build on one another, whatever they are
_TAKES_TURNS = re.compile(r"\b(?:repeatedly|successively)\b|反复|不断地", re.IGNORECASE)
_ANNOUNCED = 300  # characters
_LISTED = (Kind.counted, Kind.bold, Kind.heading)
__all__ = ["CHECKS", "BlockContext", "Check", "find_dependence", "lists_all"]


# (context, step) -> what the step has of an earlier one, None where nothing shows. In a docstring
# each line is a block, its steps apart by | and its prompt, if any, ahead of ||: in those after +
# the check finds its sign in the last step, in those after - it does not.
Check = Callable[[BlockContext, StepFacts], str | None]


def check_pointer(context: BlockContext, step: StepFacts) -> str | None:
    """A phrase that points back, or words at the start that go on from what was said.

    + Oak: it is tall. | Elm: similarly, it is tall.
    + 1. Boil the water. | 2. Then pour it.
    - Oak: it is tall. | Elm: then it is tall.
    """
    if not context.earlier.steps:
        return None
    if step.title and context.kind is not Kind.titled:
        pointer = find_pointer_in_survey(step.told, context.known) or CONCLUDES.match(step.told)
    else:
        pointer = find_pointer(step.body, context.known)
        if not pointer and context.kind in _PLAIN:
            pointer = _opener(step.body, context.steps[0].body)
        elif not pointer and context.kind is Kind.named:
            pointer = _opener(step.step.text, context.steps[0].step.text)
    return f"says {pointer[0].strip(EDGES).lower()!r}" if pointer else None


def _opener(body: str, first: str) -> re.Match[str] | None:
    """An opening that goes on from the step before; not one that the first step has as well."""
    match = OPENERS.match(body)
    pattern = match and OPENERS.match(first)
    same = match and pattern and match[0].strip(EDGES) == pattern[0].strip(EDGES)
    return None if same else match


def check_reference(context: BlockContext, step: StepFacts) -> str | None:
    """The number of an earlier step, or what only an earlier step explains.

    + 1. The road is wet. | 2. Rain is likely from (1) alone.
    + 1. You may guess 5 times. | 2. Who wins within their 5 tries gets a prize.
    + 1. The moon moves between 28 south and 28 north. | 2. Ships see it within this belt only.
    + 1. Ben likes tea. | 2. It grows in the hills.
    + 1. Rows of size 1 hold a nut. | 2. Rows of size 2 hold rows of size 1.
    + 1. One clerk has a list of free rooms. | 2. A guest sees the free rooms first.
    - 1. The road is wet. | 2. Rain is likely in part of May.
    - 1. Rows of size 1 hold a nut. | 2. Rows of size 2 hold two nuts.
    - 1. One clerk has a list of free rooms. | 2. A guest sees the large rooms first.
    - 1. You may guess 5 times. | 2. Who wins within 3 tries gets a prize.
    - 1. Tea calms people. | 2. Coffee wakes people, and this effect lasts.
    - 1. It is cheap. | 2. It is strong.
    """
    earlier = context.earlier
    if not earlier.steps:
        return None
    told = step.told if step.title else step.body
    whole = strip_counter(step.step.text) if step.title else step.body
    found = find_reference(whole, earlier.counts, earlier.text, context.known.text)
    found = found or find_sibling(step.step.text, [s.text for s in earlier.steps])
    found = found or find_taken_up(told, earlier.text, context.known.lower)
    found = found or find_measured(told, earlier.text, context.known.lower)
    found = found or find_their_number(told, step.given, earlier.all_numbers, earlier.text)
    found = found or find_echo(told, earlier.text, context.known.text)
    found = found or find_table(told, [s.text for s in earlier.steps], context.known.lower)
    if context.kind in _PLAIN:
        title = step.title or strip_counter(step.step.text)
        found = found or find_term(title, earlier.text, context.known.lower)
    if not found and not step.title and context.kind in _PLAIN:
        body = strip_counter(step.step.text)
        found = find_this(body, context.stems) or find_this_cn(
            body, context.known.text, earlier.text
        )
        found = found or find_brought_up(body, context.stems, earlier.text)
        found = found or find_bare_this(body, context.openings[0])
        found = found or find_pronoun(body, context.openings, context.known.text)
    if not found and context.survey:
        found = find_worked_on(told, context.stems, [split_title(s)[0] for s in earlier.steps])
    elif not found:
        found = find_done(told, context.stems, earlier.stems)
    return f"says {found.strip()!r}" if found else None


def check_asked(context: BlockContext, step: StepFacts) -> str | None:
    """What only the question of an earlier part asks for; see `find_asked`.

    + (1) Find the slope. (2) Where is it 0? || 1. It is 3. | 2. By the slope it is far off.
    - (1) Find the slope. (2) Where is it 0? || 1. It is 3. | 2. By the table it is far off.
    """
    parts, at = context.known.parts, len(context.earlier.steps) + 1
    if at == 1 or len(parts) != len(context.steps) + 1 or context.kind is not Kind.counted:
        return None
    asked = find_asked(step.body, parts[at], "\n".join(parts[1:at]), parts[0])
    return f"takes {asked!r} of an earlier part" if asked else None


def check_label(context: BlockContext, step: StepFacts) -> str | None:
    """The label of an earlier step.

    + Oak: it is tall. | Elm: it is as tall as Oak.
    + (A) "oak": a tree. | (B) "elk": no tree, so it fits worse than "oak".
    - Oak: it is tall. | Elm: it is as tall as oaks.
    - Old oak: it is tall. | Elm: it is as tall as an oak.
    """
    quoted = (title for title in sorted(context.earlier.titles) if title in step.body)
    if title := next(quoted, None):
        return f"mentions {title}"
    titles = [split_title(s)[0] or s.label.text for s in context.earlier.steps]
    if found := find_compared(step.title or step.step.label.text, step.body, titles, context.known):
        return f"says {found!r}"
    if not context.labelled:
        return None
    labels = (
        name for s in context.earlier.steps for name in find_mentions(step.body, s, context.known)
    )
    # a common word of a title is no name of the step
    common = context.survey or context.kind in _LISTED
    label = next((x for x in labels if not (common and x.isascii() and x.islower())), None)
    return f"mentions {label!r}" if label else None


def check_number(context: BlockContext, step: StepFacts) -> str | None:
    """A number that nothing explains but an earlier step.

    + Oak: 12 + 5 is 17. | Elm: 17 + 2 is 19.
    - Oak: 12 + 5 is 17. | Elm: 15 + 2 is 17.
    """
    unexplained = step.traced[0]
    if context.survey:  # its numbers are facts; what is worked out is another matter
        unexplained = {n for n in unexplained if n in step.operands}
    shared = sorted((unexplained & context.earlier.numbers) - context.common_numbers - step.own)
    return f"uses {shared[0]} of an earlier step" if shared else None


def check_result(context: BlockContext, step: StepFacts) -> str | None:
    """What an earlier step worked out, wherever it stands.

    + Oak: 12 + 5 = 17. | Elm: 17 is odd.
    - Oak: 12 + 5 = 17. | Elm: 15 + 2 = 17.
    - Oak: 12 + 5 = 17. | Elm: 15 + 3 = 18.
    """
    explained = (
        context.common_numbers
        | context.known.digits_in_words
        | step.own
        | step.worked_out
        | step.digits_given
    )
    shared = sorted({*step.numbers} & context.earlier.results - explained)
    return f"has {shared[0]}, a result of an earlier step" if shared else None


def check_formula(context: BlockContext, step: StepFacts) -> str | None:
    r"""A formula that an earlier step works out.

    + Oak: $3 - y = \frac{1}{y}$. | Elm: $\frac{1}{y} + y$ is positive.
    + Oak: so a = -1. | Elm: when a = -1, it is flat.
    + Oak: $x + y = z$ holds. | Elm: solve $x + y = z$ for x.
    - Oak: $x + y = z$ holds. | Elm: solve $x - y = z$ for x.
    - Oak: $3 - y = \frac{1}{y}$. | Elm: $4 - y = \frac{1}{y}$.
    """
    found = find_use(step.formulas, context.earlier.equations)
    if not found:
        found = next((f for f in step.formulas if f in context.earlier.wholes), None)
    if not found and not context.listed:
        found = find_value_taken(step.body, context.earlier.text, context.known.text)
    return f"uses {found} of an earlier step" if found else None


def check_term(context: BlockContext, step: StepFacts) -> str | None:
    """A term of an earlier step.

    + Oak: it is 3x high. | Elm: it is 3x wide.
    - Oak: it is 3x high. | Elm: it is 4x wide.
    """
    if context.listed:
        return None  # each step works on terms of its own item
    shared = sorted(step.terms & context.earlier.terms)
    return f"uses {shared[0]} of an earlier step" if shared else None


def check_symbol(context: BlockContext, step: StepFacts) -> str | None:
    """A symbol that an earlier step defines, and this one does not before it uses it.

    + Oak: let k = 3. | Elm: k is odd.
    - Oak: let k = 3. | Elm: let k = 5, k is odd.
    """
    shared = sorted(find_undefined(step.body) & context.earlier.symbols)
    shared = shared or sorted(step.letters & context.earlier.letters)
    if not shared and (letter := find_brought_in(step.body, context.earlier.text, context.known)):
        shared = [letter]
    return f"uses {shared[0]} as an earlier step defines it" if shared else None


def check_name(context: BlockContext, step: StepFacts) -> str | None:
    """A name that first came up in an earlier step.

    + Oak: it is owned by Zoltan. | Elm: we ask Zoltan.
    - Oak: it is owned by Zoltan. | Elm: we ask Dora.
    - Oak: the Field of Gold is near. | Elm: the Field of Tin is near.
    - Oak: its owner is one Zoltan. | Elm: its owner is one Zoltan.
    """
    if context.survey and context.kind is not Kind.titled and not context.in_time:
        return None  # items with titles of their own share names by chance
    shared = find_name(step.body, context.earlier.names, context.earlier.text)
    return f"uses {shared!r} of an earlier step" if shared else None


CHECKS: tuple[Check, ...] = (
    check_pointer, check_reference, check_asked, check_label, check_number, check_result,
    check_formula, check_term, check_symbol, check_name,
)  # fmt: skip
MOST_STEPS = 200  # of a block: each is compared with all before it


def find_dependence(block: Block, prompt: Prompt) -> str | None:
    """Why a later step of `block` seems to need an earlier one; None when nothing says so."""
    if len(block.steps) > MOST_STEPS:
        return f"{len(block.steps)} steps, of which at most {MOST_STEPS} are compared"
    if asks_in_turn(prompt):
        return "the prompt asks for one thing after the other"
    if _TAKES_TURNS.search(block.lead.strip().rsplit("\n", 1)[-1][-_ANNOUNCED:]):
        return "its lead announces one thing after the other"
    context = BlockContext(block, prompt)
    for number, step in enumerate(context.steps, 1):
        for check in CHECKS:
            if sign := check(context, step):
                return f"step {number} {sign}"
        context.pass_by(step)
    if sequence := find_sequence(block, prompt):
        return sequence
    if context.listed or context.survey:
        return None
    links = find_chain([step.text for step in block.steps], context.known.text)
    return f"each step takes up words of the one before: {links}" if links else None
