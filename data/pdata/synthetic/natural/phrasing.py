"""Choosing a wording by split; numbers, articles, leads, and how a prompt asks for its answer."""

import random
from collections.abc import Collection, Sequence
from functools import cache
from typing import TypeVar
from zlib import crc32

from pdata.synthetic.wording import split_of

T = TypeVar("T")
HELD_OUT = 8  # at least one in so many wordings of a kind is held out


@cache
def of_split(wordings: tuple[T, ...], split: str) -> tuple[T, ...]:
    """The wordings of one kind that belong to `split`, by a stable order of their text: the first
    eighth of them, and at least one, is held out."""
    order = sorted(wordings, key=lambda w: crc32(repr(w).encode()))
    cut = -(-len(order) // HELD_OUT)
    return tuple(order[:cut] if split == "heldout" else order[cut:])


def choose(rng: random.Random, wordings: tuple[T, ...], split: str) -> T:
    """One of the wordings of a kind that belong to `split`."""
    return rng.choice(of_split(wordings, split))


@cache
def words_of(text: str, split: str) -> tuple[str, ...]:
    """The words of a list in one text that belong to `split`."""
    return of_split(tuple(text.split()), split)


MADE_UP = 0.5  # share of names, or of their words, that are made up


def make_name(
    rng: random.Random, parts: tuple[str, str], split: str, known: Collection[str] = ()
) -> str:
    """A name of a beginning and an end that belongs to `split` and is none of `known`. Made-up
    names have to be copied from the prompt: those of a short list would soon be known by heart."""
    starts, ends = (part.split() for part in parts)
    while True:
        name = rng.choice(starts) + rng.choice(ends)
        if split_of(name) == split and name not in known:
            return name


def decimal(value: int, places: int) -> str:
    """`value`, counted in units of the last place, in digits: 368 with 2 places is 3.68."""
    if not places:
        return str(value)
    whole, rest = divmod(value, 10**places)
    return f"{whole}.{rest:0{places}}"


def article(noun: str) -> str:
    """`noun` with the article that it takes: a phone, an age, an hour."""
    vowel = noun[0].lower() in "aeiou" and not noun.startswith(("uni", "one", "use", "eu"))
    return f"{'an' if vowel or noun.startswith('hour') else 'a'} {noun}"


def capital(text: str) -> str:
    """`text` with its first letter as a capital."""
    return text[0].upper() + text[1:]


def enumerate_words(items: Sequence[str]) -> str:
    """The items as a sentence has them: a, b and c."""
    *head, last = items
    return f"{', '.join(head)} and {last}" if head else last


# ways to ask for the closing form; {k}: name or answer, {w}: what stands behind it
FORMS = (
    'Give your final answer in the form "{k}: {w}".',
    "End with a line of the form {k}: {w}.",
    'Close with "{k}: " and then {w}.',
    'Please finish with "{k}: {w}".',
    "Write {k}: {w} at the end.",
    'Your last words should be "{k}: {w}".',
    'State the result as "{k}: {w}".',
    "Answer at the end in this format: {k}: {w}",
    'Explain briefly, then conclude with "{k}: {w}".',
    'Think first; the final line has the format "{k}: {w}".',
    "The reply must end like this: {k}: {w}",
    'Put "{k}: {w}" at the very end.',
    'Show how you get there and finish with "{k}: {w}".',
    "I want the answer in this form: {k}: {w}",
    'After your reasoning, write "{k}: {w}".',
    'Reply with a short reasoning that closes with "{k}: {w}".',
)
PLACEHOLDERS = ("{{answer}}", "<{w}>", "[{w}]", "{W}", "{w}")

# leads for any task
LEADS = (
    "Let me go through them one by one.",
    "I check each of them on its own.",
    "Here is each one in turn.",
    "One at a time:",
    "Each of them gets a look of its own.",
    "I take the list from the top.",
    "Let us look at each entry.",
    "Let us look at every one of them separately.",
    "Each one by itself:",
    "I will work through all of them.",
    "Every entry is worked out by itself.",
    "First each one alone, then the answer.",
    "Here is what each of them gives.",
    "To answer this, I go down the list.",
    "Here they are, each by itself:",
    "I look at all of them separately and then conclude.",
)

# what a prompt asks, {c}, in the words in which the steps check it; stands before the lead
PLANS = (
    "Asked: {c}.", "What counts: {c}.", "Wanted: {c}.", "The task: {c}.", "To find: {c}.",
    "Needed: {c}.", "Looking for: {c}.", "In short: {c}.",
)  # fmt: skip


def open_with_plan(style: random.Random, condition: str, lead: str, split: str) -> str:
    """The first line of a trace: `condition`, what is asked, and then the lead."""
    return f"{choose(style, PLANS, split).format(c=condition)} {lead}"


def ask_form(rng: random.Random, key: str, what: str, split: str) -> str:
    """The request to close with `key: …`; `what` says what stands behind the colon: the number."""
    blank = choose(rng, PLACEHOLDERS, split).format(w=what, W=what.upper())
    return choose(rng, FORMS, split).format(k=key, w=blank)
