"""Words of a step that only another step explains: references by number, "this range" and "their 5
tries" that nothing before them in the step or in the prompt is, "the chopped onions" where another
step chops them.

Knows words and numbers, no blocks; which steps count as earlier ones independence.py says.
"""

import re
from collections.abc import Collection, Sequence, Set
from itertools import pairwise

from pdata.rules.dependence.word_chains import stem
from pdata.rules.prompt import NUMBER_WORDS

_CUE = (
    r"(?:\b(?:from|by|in|of|using|see|combining|and|with|to|since|under|via|apply(?:ing)?)\s*|"
    r"(?:[由从据合和与及用将把在因]|因为|由于)\s*)"
)
_CN = "一二三四五六七八九十"
# "from (1)", "in step 2", "part (b)", 由(1), 第一问
_REFERENCE = re.compile(
    rf"{_CUE}[(（](\d{{1,2}}|[a-h]|[ivIV]{{1,3}}|[{_CN}])[)）]|"
    # the label of a sub-case has no cue
    rf"{_CUE}(?:case|[情][况形])\s*[(（]?(\d{{1,2}}|[a-h]\b|[{_CN}])[)）]?(?!\d)|"
    rf"\b(?:steps?|points?|parts?|equations?|eqs?\.|items?|rules?|statements?|tips?|lines?|no\.) "
    rf"(?:no\. ?|number )?\(?(\d{{1,2}}|[a-h]\b(?! \w))\)?|"
    rf"第\s*[(（]?(\d{{1,2}}|[{_CN}])[)）]?(?:步|问|小题|点)|步骤\s*(\d{{1,2}}|[{_CN}])",
    re.IGNORECASE,
)
_STEP = re.compile(r"step|[步问]", re.IGNORECASE)
# what a step is about, by number: "of length 2", 长度为2
_KEY = re.compile(r"((?<!\w)(?:of|with) [a-z]{3,}|[一-鿿]{2}为)\s?(\d{1,3})(?!\d)")
_KEYED = 60  # characters
_CIRCLED = re.compile(rf"(?:{_CUE}|入|立)([①-⑳])")
# where the first clause of a step ends; what follows may point at it
_CLAUSE_END = re.compile(
    r"[,;:.!?—\n(]|\b(?:and|which|who|so|but|because|where|while|that|if|when|as)\b|[，。；：！？]"
)
# "Second, is ginger one of those?": what counts a step is no clause of it
_COUNTS = re.compile(
    r"[\s*_]*(?:(?:first|second|third|fourth|fifth|next|finally|last)(?:ly)?,|"
    r"(?:首先|其次|再次|最后|第[一二三四五])[，,])",
    re.IGNORECASE,
)
_THIS = re.compile(
    r"(?<=\s)(?:this|these|those|such)\s+(?!(?:is|was|are|were|does|did|do|can|could|would|will|has|"
    r"have|may|might|should|must|makes?|means?|gives?|leads?|helps?|allows?|way)\b|\w+n['’]t)"
    r"((?:[a-z-]+\s+)?[a-z-]{3,})"
)
_THIS_CN = re.compile(
    r"(?:这些|这种|这个|这一|上述|(?<!应)该|(?<![因彼在从由到])此(?![外前后时次]))([一-鿿]{2,4})"
)
# what "this" is about is at hand: the time, the text itself, the item that is told
_AT_HAND = frozenset(
    """age area article case chapter city context country day essay evening example game guide kind
    level list manner month morning option paper part passage plan poem point problem question
    recipe regard respect scenario section sentence sort step story task text time topic type way
    week world year""".split()
)
_THEIR_NUMBER = re.compile(
    r"\b(?P<whose>their|its|his|her|these|those|the|all)\s+(?P<n>\d{1,3}|"
    rf"{'|'.join(NUMBER_WORDS)})\s+(?P<noun>[a-z]{{3,}})"
)
_DONE = re.compile(
    r"\b(?:the|your)\s+(?:newly[ -])?([a-z]{3,}(?:ed|en|ied)|resulting|leftover)\s+([a-z]{3,})"
)
_DEFINITE = re.compile(
    r"\b[Tt]he ([a-z-]{3,} (?!(?:and|but|for|from|with|would|will|can|could|may|must|was|were|has|"
    r"that|which|into|when|where|who|are|does|did|then|than|also|only|itself|not)\b)[a-z-]{3,})\b"
)
_MEASURE = re.compile(
    r"\b(?:area|volume|perimeter|circumference|surface) of an? "
    r"([a-z]{3,}(?: [a-z]{3,})?) (?:is|equals|=)|"
    r"([一-鿿]{1,4}[形体锥柱球圆])的(?:面积|体积|周长|表面积)(?:公式)?[是为等]"
)
# what a part of an exam takes as known
_TAKEN = re.compile(
    r"\b(?:by|from|since|using|given|because of|due to|with|based on) (?:the|its|their|our) "
    r"((?:[a-z]+ ){0,2}[a-z]+)|"
    r"(?:由于?|根据|因为|利用|结合|依据|基于)([^，。；：:\n]{2,16})",
    re.IGNORECASE,
)
_ASKING = re.compile(
    r"\b(?:find|show|prove|determine|calculate|compute|what|how|which)\b|[?？求证]|讨论|判断|写出|计算",
    re.IGNORECASE,
)
_ASKS = frozenset("determine calculate prove explain where which their there".split())
_ASKS_CN = frozenset("求证明讨论写出判断计算的在和当若时为是有与其，。；：()（） $")
_SYMBOLS = re.compile(
    r"\\(?:sin|cos|tan|cot)\s*(?:\\angle\s*)?\{?[A-Za-z]\b|"
    r"(?<![A-Za-z\\_{])[A-Z](?:_\{?\w\}?)?(?![A-Za-z])"
)
# a symbol that is brought in anew
_LETS = re.compile(r"(?:设|令|记|\b[Ll]et\b|\b[Dd]enote\b)[^，。,.\n]*")
_NEAR = 200  # characters
_PRONOUN = re.compile(
    r"[\s*_]*(it(?!(?:'s| is| was| may be| can be) (?:not )?\w+ (?:to|that))|they|he|she|both|"
    r"either|them|its|their)\b",
    re.IGNORECASE,
)
_ABOUT = re.compile(r"[\s*_]*(?:(?:the|a|an|this) )?([A-Za-z][\w'’-]*)", re.IGNORECASE)
_PRONOUN_CN = re.compile(
    r"[\s*_]*(这(?![个种位些名条款项张])|其(?!次|他|它|中|实|余)|它们?|他们?|她们?|前者|后者|上述)"
)
# a name inside a sentence
NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{2,}\b")
_CAPITAL = r"[A-Z][\w'’&.-]*"
# "Field of Gold" is one name
_PHRASE = re.compile(rf"{_CAPITAL}(?: (?:(?:of|the|and|for|in) ){{0,2}}{_CAPITAL})*")
_AHEAD = 2  # words that introduce a name


def find_reference(body: str, counts: Collection[str], before: str, known: str) -> str | None:
    """A reference to an earlier step by its number; `counts`: those of the earlier steps, `before`:
    their text, `known`: that of the prompt and the lead."""
    for match in _REFERENCE.finditer(body):
        number = next(g for g in match.groups() if g).lower()
        number = str(_CN.index(number) + 1) if number in _CN and number not in counts else number
        if number in counts and f"tag{{{number}}}" not in known:
            if match[1] or _STEP.search(match[0]) or match[0].lower() not in known.lower():
                return match[0]
    circled = (m for m in _CIRCLED.finditer(body) if m[1] not in known + body[: m.start(1)])
    return next((m[0] for m in circled if m[1] in before), None)


def find_sibling(body: str, earlier: Sequence[str]) -> str | None:
    """A word with the number that an earlier step is about: "of length 2", where each of the steps
    opens with "of length" and a number of its own."""
    keys = [_KEY.search(text[:_KEYED]) for text in (*earlier, body)]
    about = [(m[1], m[2]) for m in keys if m]
    if len(about) < len(keys) or len({*about}) < len(keys) or len({word for word, _ in about}) > 1:
        return None
    return next((m[0] for m in _KEY.finditer(body) if (m[1], m[2]) in about[:-1]), None)


def find_this(body: str, known: Set[str]) -> str | None:
    """The words "this X" in the first clause, where neither the clause nor `known`, which holds
    stems, has the X."""
    if counts := _COUNTS.match(body):
        body = body[counts.end() :]
    if match := _CLAUSE_END.search(body, 3):
        body = body[: match.start()]
    for match in _THIS.finditer("" if body[:1] in '"“' else body):
        words = match[1].lower().split()
        stems = {stem(w) for w in words}
        before = {stem(w) for w in re.findall(r"[a-z]+", body[: match.start()].lower())}
        if words[-1] not in _AT_HAND and words[0] not in _AT_HAND and not stems & (before | known):
            return match[0]
    return None


def find_this_cn(body: str, known: str) -> str | None:
    """The same in Chinese."""
    if counts := _COUNTS.match(body):
        body = body[counts.end() :]
    if match := _CLAUSE_END.search(body, 3):
        body = body[: match.start()]
    for match in _THIS_CN.finditer(body):
        if match[1][:2] not in known and match[1][-2:] not in known + body[: match.start()]:
            return match[0]
    return None


def find_their_number(
    body: str, given: Collection[str], earlier: Collection[str], before: str
) -> str | None:
    """A number of things that only an earlier step has; of one with "the" it must have the noun
    too: "their 5 tries", "the 5 guesses"."""
    for match in _THEIR_NUMBER.finditer(body):
        number = NUMBER_WORDS.get(match["n"], match["n"])
        own = re.search(rf"(?<![\w.]){match['n']}(?![\w.])", body[: match.start()])
        if own or number in given or number not in earlier:
            continue
        noun = match["n"].isdigit() and re.search(rf"\b{stem(match['noun'])}", before)
        if match["whose"] != "the" or noun:
            return match[0]
    return None


def find_taken_up(body: str, before: str, known: str) -> str | None:
    """Two words with "the" at the start of a step, which an earlier step brings in without it:
    "a list of free rooms", "the free rooms"; unless a sentence of `known` has both words."""
    for match in _DEFINITE.finditer(body[:_NEAR]):
        phrase = match[1]
        if phrase in known or phrase in body[: match.start()]:
            continue
        if re.search(rf"\b(?:an?|some|several|new|(?:list|set|sequence)s? of) {phrase}\b", before):
            words = {stem(w) for w in phrase.split()}
            sentences = (re.findall(r"[a-z-]+", s) for s in re.split(r"[.!?]\s|\n", known))
            if not any(words <= {stem(w) for w in sentence} for sentence in sentences):
                return match[0]
    return None


def find_measured(body: str, before: str, known: str) -> str | None:
    """What a kind of figure measures, where an earlier step says that something is of that kind:
    "Q is a right triangle", "the area of a right triangle is"."""
    for match in _MEASURE.finditer(body):
        kind = match[1] or match[2]
        own = rf"\b(?:is|are|forms?) an? {kind}\b" if match[1] else rf"[是为](?:一个)?{kind}(?!的)"
        if kind not in known and not re.search(own, body[: match.start()]):
            if re.search(own, before):
                return match[0]
    return None


def find_asked(body: str, part: str, parts_before: str, stem_text: str) -> str | None:
    """What only an earlier part of an exam question asks for, and this part takes as known: "by
    the monotonicity", or a symbol. `stem_text`: what the question says before its parts."""
    own = stem_text + part
    if not _ASKING.search(parts_before):
        return None
    symbols = _symbols(parts_before) - _symbols(own)
    if symbols and (used := symbols & _symbols(_LETS.sub("", body))):
        return min(used)
    words = {w.lower() for w in re.findall(r"[A-Za-z]{5,}", parts_before)} - _ASKS
    own_stems = {stem(w) for w in re.findall(r"[a-z]+", own.lower())}
    for match in _TAKEN.finditer(body):
        ahead = body[: match.start()]
        for word in re.findall(r"[a-z]+", (match[1] or "").lower()):
            if word in words and stem(word) not in own_stems and word not in ahead.lower():
                return match[0]
        text = match[2] or ""
        # pairs of characters, those of a formula too
        pairs = (a + b for a, b in pairwise(text) if not {a, b} & _ASKS_CN)
        if any(p in parts_before and p not in own and p not in ahead for p in pairs):
            return match[0]
    return None


def _symbols(text: str) -> set[str]:
    """Letters, and functions of a letter, in one spelling."""
    found = (re.sub(r"[\s{}]", "", m[0]) for m in _SYMBOLS.finditer(text))
    return {x for x in found if x not in ("a", "A", "I")}


def find_done(body: str, known: Set[str], earlier: Set[str]) -> str | None:
    """The words "the chopped onions", where an earlier step chops; `earlier` holds stems."""
    for match in _DONE.finditer(body):
        verb, noun = stem(match[1]), stem(match[2])
        before = {stem(w) for w in re.findall(r"[a-z]+", body[: match.start()].lower())}
        if match[1] in ("resulting", "leftover"):
            if not before - known:
                return match[0]
        elif verb in earlier and noun in earlier and verb not in before | known:
            return match[0]
    return None


def find_pronoun(body: str, others: Sequence[str], known: str) -> str | None:
    """A pronoun that a step opens with: it stands for what the step before was about, unless the
    first step or most steps open with one, or the prompt has what the first step is about."""
    for pattern in (_PRONOUN, _PRONOUN_CN):
        if (match := pattern.match(body)) and not pattern.match(others[0]):
            often = sum(bool(pattern.match(other)) for other in others) > len(others) / 2
            about = _ABOUT.match(others[0])
            topic = match[1] if pattern is _PRONOUN_CN else about[1].lower() if about else " "
            if not often and topic not in known.lower():
                return match[1].lower()
    return None


def find_name(body: str, names: Collection[str], before: str) -> str | None:
    """The first name of `names` that `body` takes up from `before`, the text of earlier steps."""
    for name in sorted(names):
        here, there = _uses(name, body), _uses(name, before)
        if not here:
            continue
        wholes = {whole for whole, _ in there}
        same = any(a in b or b in a for a, _ in here[:1] for b in wholes)
        introduced = {ahead for _, ahead in there}
        if same and here[0][1] not in introduced:
            return name
    return None


def _uses(name: str, text: str) -> list[tuple[str, str]]:
    """Where a name stands: the whole name that it is a part of, and the words ahead of it."""
    found: list[tuple[str, str]] = []
    for match in re.finditer(rf"(?<!\w){name}(?!\w)", text):
        start = text.rfind("\n", 0, match.start()) + 1
        phrases = (m for m in _PHRASE.finditer(text, start) if m.end() >= match.end())
        whole = next(phrases, match)
        words = text[start : min(whole.start(), match.start())].split()
        found.append((whole[0].rstrip("."), " ".join(words[-_AHEAD:])))
    return found
