"""Syllable names, splits and the wording that tasks share.

A word, or the numbers of an item, belong to one split by a stable hash of their text, so held-out
problems can share neither with training ones, whatever their seeds. Knows no task.
"""

import random
from collections.abc import Sequence
from zlib import crc32

SPLITS = ("train", "heldout")
# few enough for a tokenizer to know each as a token: a name is two of them
SYLLABLES = tuple(c + v for c in "bdklmnrstv" for v in "aeiou")
# ordinary words that the syllables can spell; as names they would read as part of the wording
RESERVED = frozenset(
    "base bode case date dike dole done fate fine kite lake late life like line live made make "
    "male mate mine mole more move name none nose note nude rate rise role rule safe sale same "
    "save side site size some take tale time tire tone vole vote".split()
)
LEADS = (
    "",
    "Let me go through them one by one.",
    "Here is each one in turn.",
    "Going down the list:",
    "I take them one at a time.",
    "Checking each one:",
)

# What a step says of an item that is asked for, and of any other, always right before its label;
# and conclusions that say it again: finding the label is then a matter of copying what followed
VERDICTS = ("keeps", "drops")
CHOSEN = (
    "So it keeps {a}. name: {a}",
    "In the end it keeps {a}. name: {a}",
    "Of all of them it keeps {a}. name: {a}",
)


def split_of(content: str) -> str:
    """The split that `content` (a word, or an item's numbers) belongs to; one in 8 is held out."""
    return "heldout" if crc32(content.encode()) % 8 == 0 else "train"


def draw_word(rng: random.Random, split: str) -> str:
    """A capitalised word of two syllables, of that split."""
    while True:
        word = rng.choice(SYLLABLES) + rng.choice(SYLLABLES)
        if word not in RESERVED and split_of(word) == split:
            return word.capitalize()


def draw_names(rng: random.Random, n: int, split: str) -> list[str]:
    """`n` names, no two with the same first syllable."""
    names: dict[str, str] = {}
    while len(names) < n:
        name = draw_word(rng, split)
        names.setdefault(name[:2], name)
    return list(names.values())


def draw_labels(rng: random.Random, n: int) -> list[str]:
    """`n` short labels: letters in alphabetical order, or 1 to n."""
    if rng.random() < 0.5:
        return sorted(rng.sample("ABCDEFGHJKLMNPQRSTUVWXYZ", n))
    return [str(i + 1) for i in range(n)]


def write_list(rng: random.Random, heads: Sequence[str], bodies: Sequence[str]) -> str:
    """The items of a prompt in one of a few layouts."""
    form, glue = rng.choice(
        (("{}: {}", "\n"), ("- {}: {}", "\n"), ("* {}: {}", "\n"), ("{}: {}", "; "))
    )
    return glue.join(form.format(h, b) for h, b in zip(heads, bodies, strict=True))


def write_prompt(rng: random.Random, intro: str, listing: str, question: str) -> str:
    """Intro, list and question; the question may come before the list."""
    if rng.random() < 0.3:
        return f"{intro} {question}\n{listing}"
    return f"{intro}\n{listing}\n{question}"
