"""Whether the steps of a block hand something on from each to the next, told from their words.

In a chain, what comes up in one step is taken up by the next one and by no other. Needs at least
three steps, and words that are set apart by spaces.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

SHARE = 2 / 3  # of the neighbours in a chain that are linked
ALIKE = 0.4  # neighbours that share more of their words are written after one pattern
_WORD = re.compile(r"[A-Za-z][A-Za-z'’]*")
_FUNCTION = frozenset(
    """a about above after again all also am an and any are as at away back be because been before
    being below both but by can could did do does done down each either else even every few first
    for from get gets got had has have he her here hers him his how i if in into is it its itself
    just last later let like made make makes many may me more most much must my near new next no
    nor not now of off on once one only onto or other our out over own per put same second she
    should since so some still such take takes than that the their them then there these they third
    this those through to too two under until up upon us use used uses very was way we well were
    what when where which while who whom whose why will with without would yes yet you
    your""".split()
)


def find_chain(bodies: Sequence[str]) -> str | None:
    """The words that link neighbouring steps, None where they form no chain."""
    words = [_words(body) for body in bodies]
    if len(words) < 3:
        return None
    seen_in = Counter(word for places in words for word in places)
    near = [_link(a, b, seen_in) for a, b in pairwise(words)]
    if sum(map(bool, near)) < SHARE * len(near):
        return None
    pairs = [(i, j) for i in range(len(words)) for j in range(i + 2, len(words))]
    far = sum(bool(_link(words[i], words[j], seen_in)) for i, j in pairs)
    if far / len(pairs) > SHARE / 2:
        return None  # these steps share words at any distance
    return ", ".join(link for link in near if link)


def _link(a: dict[str, float], b: dict[str, float], seen_in: Counter[str]) -> str:
    """A word that only these two steps have: late in the first and early in the second, unless
    they are so unlike one another that its place says nothing."""
    shared = a.keys() & b.keys()
    alike = len(shared) > ALIKE * min(len(a), len(b))
    links = (w for w in shared if seen_in[w] == 2 and (not alike or a[w] >= 0.5 > b[w]))
    return min(links, default="")


def _words(body: str) -> dict[str, float]:
    """Content words, each with its first place in the body, from 0 to 1."""
    found = [m[0].lower() for m in _WORD.finditer(body)]
    places: dict[str, float] = {}
    for i, word in enumerate(found):
        if word not in _FUNCTION:
            places.setdefault(_stem(word), i / max(len(found) - 1, 1))
    return places


def _stem(word: str) -> str:
    """Without the commonest endings, so that `boil` and `boiled` are one."""
    word = re.sub(r"['’]s?$", "", word)
    return re.sub(r"(?<=\w{3})(?:ing|ed|es|s)$", "", word)
