"""Words of a step that only another step explains: "this range" and "their 5 tries" that nothing
before them in the step or in the prompt is, "the chopped onions" where another step chops them.

Knows words and numbers, no blocks; which steps count as earlier ones independence.py says.
"""

import re
from collections.abc import Collection, Sequence, Set

from pdata.rules.dependence.word_chains import FUNCTION, stem
from pdata.rules.prompt import NUMBER_WORDS

# where the first clause of a step ends; what follows may point at it
_CLAUSE_END = re.compile(
    r"[,;:.!?—\n(]|\b(?:and|which|who|so|but|because|where|while|that|if|when|as)\b|[，。；：！？]"
)
# how a step may open without a clause: "Over the years, this river"
_TIME = re.compile(r"\s*(?:over (?:time|the \w+)|with time|in time|in the end|gradually),", re.I)
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
# "most of these larvae", "at that distance", "the trail", 这个区域
_DEMONSTRATIVE = re.compile(
    # "this leaves it open" is no noun
    r"\b(?:(?:these|those|such) ([a-z]{3,})|(?:this|(?:at|in|on|of|by|to|for|with|from) that) "
    r"([a-z]{3,}(?<!s))|[Tt]he ([a-z]{4,}))\b(?<!one)(?<!ones)"
)
_DEMONSTRATIVE_CN = re.compile(r"[这那][个些种条项次]([一-鿿]{2})")
# things by number: 50张奖券
_NUMBERED_CN = re.compile(r"\d{1,4}[张个名条位本块枚件](?!小时|月)[一-鿿]{2}")
_SENTENCE = re.compile(r"[.!?。！？\n]")
# "what this might mean", after what counts a step; the same as its subject
_BARE_THIS = re.compile(
    r"[^,;:.!?\n]{0,40}\b(?:what|how|why|whether|if) (?:this|that|these|those) "
    r"(?:might|may|would|could|can|will|should|must|means?|implies|affects?|relates?|applies|"
    r"is|are|was|were|does|has)\b|\s*(?:this|that) (?:[a-z]+ly )?"
    r"(?:might|may|would|could|can|will|means?|implies|shows?|suggests?|is|was|does|has|leads?)\b|"
    r"\s*(?:(?:我们)?(?:需要|要|来)?(?:看|想|考虑|分析)[^，。：:\n]{0,8})?这(?:就|也|将|又)?"
    r"(?:意味|说明|表明|可能|会|能|是)",
    re.IGNORECASE,
)
# "the definition of 'related'"
_TERM = re.compile(
    r"\b(?:definition|meaning|concept|notion|idea|term|word) (?:of )?(?:the (?:word|term) )?"
    r"[\"“'‘*]+([a-z-]{3,})[,.]?[\"”'’*]|"
    r"[\"“*]([a-z-]{3,})[\"”*]+ (?:means|refers to|is defined as)|"
    r"(?:定义|含义|意思|概念|理解|什么是|什么叫)[是为]?[“\"「]([一-鿿]{2,6})[”\"」]|"
    r"[“\"「]([一-鿿]{2,6})[”\"」](?:的(?:定义|含义|意思|概念)|指的是|是指|是什么意思)",
    re.IGNORECASE,
)
_THIS_CN = re.compile(
    r"(?:这些|这种|这个|这一|这\d{1,3}[次个种条]|上述|(?<!应)该(?![句题文词段诗])|(?<![因彼在从由到])此(?![外前后时次]))([一-鿿]{2,4})"
)
# what "this" is about is at hand: the time, the text itself, the item that is told
_AT_HAND = frozenset(
    """age area article case chapter city context country day essay evening example game guide kind
    level list manner moment month morning option paper part passage plan poem point problem
    question recipe regard respect scenario section sentence sort step story task text time topic
    type way week world year""".split()
)
_THEIR_NUMBER = re.compile(
    r"\b(?P<whose>their|its|his|her|these|those|the|all)\s+(?P<n>\d{1,3}|"
    rf"{'|'.join(NUMBER_WORDS)})\s+(?P<noun>of|[a-z]{{3,}})"
)
# "also totaling 4", "gives the same result": a result is set beside that of another step
_RESULT = r"(?:total|sum|equal|giv|yield|result|lead|com|mak|add|amount|evaluat|work)\w*"
_ALSO = re.compile(
    rf"\b(?:also|too,|likewise|again) {_RESULT}(?: (?:in|to|up to|out to|out at|is|an?|the))?"
    r" \W{0,2}(\d[\d,.]*)|"
    rf"\b{_RESULT}[^.\n]{{0,20}}?(\d[\d,.]*)(?: [a-z]+)?,? (?:as well|too|again)\b|"
    r"也(?:是|等于|得|得到|得出|为)\s?(\d[\d.]*)"
)
_SAME = re.compile(
    rf"\b{_RESULT} (?:in |to |us )?(?:exactly )?the same "
    r"(?:result|answer|value|number|total|sum|product|count|outcome|remainder)\b|"
    r"(?:得到|得出|结果)(?:也是)?(?:相同|一样|同样)的?(?:结果|答案|值)?",
    re.IGNORECASE,
)
# "two additional solutions"
_FURTHER = re.compile(
    r"\b(?:obtain|get|find|have|gives?|giving|yields?|contributes?|adds?|are|there is) "
    rf"(?:us )?(?:an|one|\d+|{'|'.join(NUMBER_WORDS)}) (?:additional|further|more|extra|other) "
    r"((?:solution|circle|case|point|root|way|possibilit|arrangement|triangle|line|pair|"
    r"value|outcome|path|number|combination)\w*)(?! than\b)|"
    r"(?:得到?|有)另外?[一两二三四\d]+个(解|点|根|圆|种)",
    re.IGNORECASE,
)
# one of these words is in all of them; a fast test
_ECHOES = re.compile(
    r"(?i:also|likewise|again|too\b|as well|the same|additional|further|more|extra|other)|"
    r"也|又是|一样|同样|相同|另外?[一两二三四\d]"
)
# "(Apogamy again? ...)"
_AGAIN = re.compile(
    r"(?<![\w-])([A-Za-z][\w-]{2,}),? again ?[?!]|\b[Aa]gain,? ([\w-]{3,})\?|"
    r"又是[“\"]?([一-鿿]{2,6}?)[”\"]?(?:吗|啊)?[?？!！]"
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


def find_this(body: str, known: Set[str]) -> str | None:
    """The words "this X" in the first clause, where neither the clause nor `known`, which holds
    stems, has the X."""
    if counts := _COUNTS.match(body):
        body = body[counts.end() :]
    if led := _TIME.match(body):
        body = body[led.end() :]
    if match := _CLAUSE_END.search(body, 3):
        body = body[: match.start()]
    for match in _THIS.finditer("" if body[:1] in '"“' else body):
        words = match[1].lower().split()
        stems = {stem(w) for w in words}
        before = {stem(w) for w in re.findall(r"[a-z]+", body[: match.start()].lower())}
        if words[-1] not in _AT_HAND and words[0] not in _AT_HAND and not stems & (before | known):
            return match[0]
    return None


def find_brought_up(body: str, known: Set[str], before: str) -> str | None:
    """The words "these X" or "the X" in the first sentence, where earlier steps, `before`, have the
    X or "an X", and not "these X" as well; neither the sentence before them nor `known`, which
    holds stems, has it."""
    sentence, before = _SENTENCE.split(body, maxsplit=1)[0], before.lower()
    for match in _DEMONSTRATIVE.finditer(sentence):
        word = next(g for g in match.groups() if g)
        own = {stem(w) for w in re.findall(r"[a-z]+", sentence[: match.start()].lower())}
        if word in _AT_HAND | FUNCTION or stem(word) in own | known or match[0].lower() in before:
            continue
        said = rf"\b(?:an?|some) (?:[a-z-]+ )?{word}\b" if match[3] else (
            rf"(?<![a-z]){stem(word)}(?:s|es)?(?![a-z])")  # fmt: skip
        if re.search(said, before):
            return match[0]
    return None


def find_bare_this(body: str, first: str) -> str | None:
    """Such a "this" as the subject of a step that opens with "Second,", where `first`, the opening
    of the first step, has none."""
    counts, before = _COUNTS.match(body), _COUNTS.match(first)
    if counts and not _BARE_THIS.match(first, before.end() if before else 0):
        match = _BARE_THIS.match(body, counts.end())
        return match[0] if match else None
    return None


def find_term(body: str, before: str, known: str) -> str | None:
    """A word that a step explains and only an earlier one has brought in."""
    for match in _TERM.finditer(body[:_NEAR]):
        word = next(g for g in match.groups() if g).lower()
        if word not in known and re.search(rf"(?<![a-z]){word}(?![a-z])", before.lower()):
            return match[0]
    return None


def find_this_cn(body: str, known: str, before: str) -> str | None:
    """The same two in Chinese; `before` is the text of earlier steps."""
    if counts := _COUNTS.match(body):
        body = body[counts.end() :]
    sentence = _SENTENCE.split(body, maxsplit=1)[0]
    for match in _DEMONSTRATIVE_CN.finditer(sentence):
        own = match[1] in known + sentence[: match.start()]
        if match[1] in before and match[0] not in before and not own:
            return match[0]
    counted = _NUMBERED_CN.findall(sentence)
    if taken := next((x for x in counted if x in before and x not in known), None):
        return taken
    if clause := _CLAUSE_END.search(body, 3):
        body = body[: clause.start()]
    for match in _THIS_CN.finditer(body):
        if match[1][:2] not in known and match[1][-2:] not in known + body[: match.start()]:
            return match[0]
    return None


def find_their_number(
    body: str, given: Collection[str], earlier: Collection[str], before: str
) -> str | None:
    """A number of things that only an earlier step has; of one with "the" it must have the noun
    too: "their 5 tries", "the 5 guesses". Small ones in words come up by chance."""
    for match in _THEIR_NUMBER.finditer(body):
        number = NUMBER_WORDS.get(match["n"], match["n"])
        here = rf"(?<![\w.]){match['n']}(?![\w.])"
        said = number in earlier or (int(number) > 4 and re.search(here, before))
        if re.search(here, body[: match.start()]) or number in given or not said:
            continue
        noun = match["n"].isdigit() and re.search(rf"\b{stem(match['noun'])[:4]}", before)
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


def find_worked_on(body: str, known: Set[str], titles: Collection[str]) -> str | None:
    """The words "the chopped onions", where "Chop" is the title of an earlier step; `known` holds
    stems."""
    verbs = {stem(title.lower()) for title in titles} - known
    return next((m[0] for m in _DONE.finditer(body) if stem(m[1]) in verbs), None)


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


def find_echo(body: str, before: str, known: str) -> str | None:
    """What is "also", "again" or "additional" beside what only an earlier step has."""
    if not _ECHOES.search(body):
        return None
    if match := _SAME.search(body):
        if not re.search(r"\d", body[: match.start()]) and re.search(r"\d", before):
            return match[0]
    for pattern in (_ALSO, _FURTHER, _AGAIN):
        for match in pattern.finditer(body):
            word = next(g for g in match.groups() if g).rstrip(".,").lower()
            here = rf"(?<![a-z\d.]){re.escape(word)}(?![a-z\d])"
            # a number may stand in the step for something else
            ahead = body[: match.start()].lower()
            own = re.search(rf"{_RESULT}[^.\n]{{0,12}} {here}" if pattern is _ALSO else here, ahead)
            given = pattern is _AGAIN and re.search(here, known.lower())
            if not own and not given and re.search(here, before.lower()):
                return match[0]
    return None
