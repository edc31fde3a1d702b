"""Whether the steps of a block hand something on from each to the next, told from their words.

In a chain, what comes up late in one step is taken up early in the next one. Steps that follow one
pattern, or share a vocabulary, have as many words that go the other way.
"""

import re
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import pairwise

LATE, EARLY = 0.5, 0.25  # parts of a step
SHARE = 3 / 4  # of the neighbours in a chain that are linked
MAX_CN = 100  # characters; in longer texts of Chinese, pairs of them come up by chance
_FUNCTION_CN = frozenset("的了在是和与可以对为等将会及其中而也就个一不有从到要能")
_COUNTER = re.compile(
    r"^[\s*#•+-]*(?:(?:\w+ )?[(（]?(?:\d{1,2}|[A-Za-z])(?:[.):）](?=[\s*])|、)|"
    r"[A-Z]\w+(?:st|nd|rd|th) \w+:)[*\s]*"
)
_TOKEN = re.compile(r"[A-Za-z][\w'’.\-]*\w|\d[\d,]*(?:[.:]\d+)?|[A-Za-z]|[一-鿿]+")
FUNCTION = frozenset(
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

# a row of a table of outcomes: "2: Town", "3-4: Modest"
_ROW = re.compile(
    r"^[ \t]+(?:[-*•+] )?(?:\d{1,2}(?: ?[-–~] ?\d{1,2})?|[A-Fa-f])[:.)：、]\**[ \t]*\**"
    r"([^\W\d][^\n:：,.，。]{1,30}?)\**(?:[ \t]*[:：(（—–-][^\n]*)?$|"
    r"^[^\n|]{0,2}\|[ \t]*\d{1,2}[^\n|]*\|[ \t]*([^\W\d][^\n|]{1,30}?)[ \t]*\|",
    re.MULTILINE,
)
_ROWS = 3  # that a step goes through


@dataclass(frozen=True, slots=True)
class Place:
    """Where a word first and last stands in a step, from 0 to 1; `telling`: a number, a name or a
    file, which hardly comes up twice by chance."""

    first: float
    last: float
    telling: bool


Step = dict[str, Place]  # content words and where they stand


def find_chain(texts: Sequence[str], known: str = "") -> str | None:
    """The words that link neighbouring steps, None where they form no chain; those that the prompt
    and the lead have, `known`, link nothing."""
    if len(texts) < 3:
        return None
    steps = [_places(_COUNTER.sub("", text)) for text in texts]
    given = _places(known)
    for places in steps:
        for number in [w for w in places.keys() & given.keys() if w[0].isdigit()]:
            del places[number]
    seen_in = Counter(word for places in steps for word in places)
    links: list[str] = []  # one a pair of neighbours, none of them twice
    for a, b in pairwise(steps):
        links += sorted(_links(a, b, seen_in) - given.keys() - {*links})[:1]
    pairs = len(steps) - 1
    back = sum(bool(_handed(b, a, seen_in)) for a, b in pairwise(steps))
    if len(links) < SHARE * pairs or back > pairs / 2:
        return None
    far = [
        bool(_links(a, b, seen_in, set().union(*steps[i + 1 : j])))
        for i, a in enumerate(steps)
        for j, b in enumerate(steps[i + 2 :], i + 2)
    ]
    return None if sum(far) > SHARE / 2 * len(far) else ", ".join(links)


def find_table(body: str, earlier: Sequence[str], known: str) -> str | None:
    """The outcomes of a table in an earlier step that a step goes through by name."""
    own = {(m[1] or m[2]).lower() for m in _ROW.finditer(body)}
    text = body.lower()
    for step in earlier:
        names = [(m[1] or m[2]).lower() for m in _ROW.finditer(step)]
        said = [
            name
            for name in dict.fromkeys(names)
            if name not in own
            and name not in known
            and re.search(rf"(?<![a-z]){re.escape(name)}(?![a-rt-z])", text)
        ]
        if len(said) >= _ROWS:
            return ", ".join(said)
    return None


def _links(a: Step, b: Step, seen_in: Counter[str], between: Set[str] = frozenset()) -> set[str]:
    """Words that one step hands to the other and that are in none between: see `_handed`; or those
    that tell much, or the only one that the two share."""
    shared = {w for w in a.keys() & b.keys() - between if seen_in[w] == 2}
    telling = {w for w in shared if a[w].telling and a[w].last >= b[w].first}
    handed = _handed(a, b, seen_in) - between
    return handed or telling


def _handed(a: Step, b: Step, seen_in: Counter[str]) -> set[str]:
    """Words that few steps have, late in the first and early in the second."""
    shared = (w for w in a.keys() & b.keys() if seen_in[w] <= 3)
    return {w for w in shared if a[w].last >= LATE and b[w].first <= EARLY}


def _places(body: str) -> Step:
    """Content words and where they stand."""
    tokens: list[tuple[str, bool]] = []
    for match in _TOKEN.finditer(body):
        token = match[0]
        if "一" <= token[0] <= "鿿":
            pairs = (a + b for a, b in pairwise(token) if not {a, b} & _FUNCTION_CN)
            tokens += [(pair, False) for pair in pairs if len(body) < MAX_CN]
            continue
        inner = match.start() > 0 and body[match.start() - 1] in " \"'“("
        name = token[0].isupper() and inner and not body[: match.start()].rstrip().endswith(".")
        digits = token[0].isdigit() and len(token) > 1
        file = "_" in token or "." in token
        if token.lower() in FUNCTION:
            continue
        word = token.replace(",", "") if token[0].isdigit() else stem(token.lower())
        tokens.append((word, name or digits or file))
    places: Step = {}
    for i, (word, telling) in enumerate(tokens):
        at, known = i / max(len(tokens) - 1, 1), places.get(word)
        first = known.first if known else at
        places[word] = Place(first, at, telling or bool(known and known.telling))
    return places


def stem(word: str) -> str:
    """Without the commonest endings, so that `boil` and `boiled` are one."""
    word = re.sub(r"['’]s?$", "", word)
    return re.sub(r"(?<=\w{3})(?:ing|ed|es|e|s)$", "", word)
