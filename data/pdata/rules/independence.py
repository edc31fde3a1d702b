"""Whether the steps of a block need one another, told from their words and numbers alone.

Evidence: a phrase that points back, an earlier step's label, a number or name that first came up
in an earlier step. In doubt the block stays linear. Knows no model; what is measured comes later.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from pdata.rules.labels import UNLABELLED, Kind, Prompt
from pdata.rules.steps import Block, Step
from pdata.rules.word_chains import find_chain

_NUMBER = re.compile(r"(?<![\w.,])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w])")
_OPERATOR = re.compile(r"(?:\s*%|\s*[a-z]+)?\s*(?:[+*×·/÷^−–-]|\\times|\\div|\btimes\b)\s*")
_STATES = re.compile(
    r"(?:[=≈→:]|\b(?:is|are|was|were|gives?|get|gets|makes?|equals?|leaves?|leaving|becomes?|"
    r"(?:area|total|sum|average|remainder|amount|value|cost|price|speed) of|"
    r"comes to|amounts to|adds up to|yields?|obtain|totals?))[^\w.]*$"
)
# phrases that point at what was said in another step
POINTERS = re.compile(
    r"\b(previous(?:ly)?|preceding|so far|up to here|up to now|until now|as above|from above|"
    r"the above|similarly|likewise|as before|before (?:it|that|this)|the one before|"
    r"the last (?:step|result|one)|earlier|same (?:way|reasoning|argument|method) as|"
    r"carr(?:y|ied) (?:on|over)|(?:result|value|answer|number|total|sum) (?:of|from) (?:step|the "
    r"(?:first|second|last)))\b|at this point|we just|just (?:saw|found|got|said)|"
    r"running (?:total|probability|sum)|by then|what remains|"
    r"同上|同理|上一步|如上|刚才|刚刚|前面(?:说|得到|算)|上面(?:说|得到|算)",
    re.IGNORECASE,
)
# these do at the start of a step, where nothing of its own can be meant
_TAKES_UP = re.compile(
    r"\b((?:add|subtract|multiply|divide|use|using|with|from|by|to|take|apply) "
    r"(?:this|that|these|those|the (?:result|total|sum|difference|product|answer)))\b",
    re.IGNORECASE,
)
# their steps start with words of their own; under a title, "next" may be about anything
_PLAIN = (Kind.counted, Kind.bulleted, Kind.worked)
EDGES = " \t\n:：.()*+•–—-"
_START = 40  # characters
# prompts for one thing after the other
_IN_TURN = re.compile(
    r"\b(?:the (?:one|day|step) before|one (?:job|thing|step|task) at a time|walk me through|"
    r"how (?:do|should|can|would|could) (?:i|we|you|one) (?:make|cook|bake|brew|assemble|install|"
    r"build|prepare|fix|repair|replace|sew|knit|fold)|in turn|repeatedly|successively|"
    r"one after (?:another|the other)|in (?:this|that|the following|the given) order|end up with|"
    r"at the end of (?:every|each) \w+|before passing)\b|\bin order[:,]|依次|然后.*然后|"
    r"第1[天年次].*第2[天年次]",
    re.IGNORECASE,
)
_THEN = re.compile(r"(?:,|\band|\.) then\b|\. Then\b")
# a step that opens with one of these follows on the step before it
OPENERS = re.compile(
    r"[\s:：.)*+•–—-]*(then|next|now|also|finally|afterwards|after (?:that|this)|therefore|thus|so|"
    r"hence|consequently|lastly|because of (?:that|this)|once|having|this|these|those|now that|"
    r"with (?:this|that|it|them)|from (?:here|there|this|that|it)|given (?:this|that)|"
    r"using (?:this|that|it|the)|that|such)\b|"
    r"[\s:：.)*+•–—-]*[A-Z]\w+ (?:it|them|this|that|these|those)\b|"
    r"[\s\d:：.、）)*+•–—-]*(?:然后|接着|随后|之后|于是|因此|所以|由此|据此|既然)",
    re.IGNORECASE,
)
_ANY_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?|\.\d+")
_CALCULATED = re.compile(r"<<[^<>\n]*=([^<>=\n]*)>>")
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{2,}\b")
_NO_NAMES = frozenset(("true", "false", "yes", "none", "not"))

SYMBOL = re.compile(r"(?<![\w'’])([A-Za-z](?:_?\d|_[a-z])?|[a-z]{2,}_\w+)(?![\w'’])")
_DEFINED = re.compile(rf"{SYMBOL.pattern}\s*(?::?=|≈|←)(?!=)")
_TERM = re.compile(r"(?<![\w.])\d+[a-cnp-rt-z]\b")  # 3x

Role = Literal["operand", "result", "stated", "plain"]


@dataclass(frozen=True, slots=True)
class Use:
    """A number in a step: what it is there for, and which run of operators it stands in."""

    number: str
    role: Role
    run: int


def find_dependence(block: Block, prompt: Prompt) -> str | None:
    """Why a later step of `block` seems to need an earlier one; None when nothing says so."""
    named = block.kind not in UNLABELLED
    bodies = [_without(s.text, _names(s)) if named else s.text for s in block.steps]
    known = Prompt(f"{prompt.text}\n{block.lead}")
    given = _given_numbers(block, prompt)
    introduced: set[str] = set()
    names: set[str] = set()
    symbols: set[str] = set()
    terms: set[str] = set()
    # an item of the prompt gives its step all numbers; what any other step shares is suspicious
    items = lists_all(block, prompt)
    common = _common([all_numbers(body) for body in bodies])
    common_names = _common([_NAME.findall(body) for body in bodies])
    results: set[str] = set()
    if _IN_TURN.search(prompt.text) or len(_THEN.findall(prompt.text)) > 1:
        return "the prompt asks for one thing after the other"
    for j, body in enumerate(bodies):
        opening = body if block.kind in _PLAIN else ""
        pointer = j and (_points_back(body, known) or OPENERS.match(opening))
        if pointer:
            return f"step {j + 1} says {pointer[0].strip(EDGES).lower()!r}"
        earlier = block.steps[:j] if named else ()
        if mentioned := next((n for s in earlier for n in _mentions(body, s)), None):
            return f"step {j + 1} mentions {mentioned!r}"
        open_numbers, new = _trace_numbers(body, given[j])
        if shared := sorted((open_numbers & introduced) - common):
            return f"step {j + 1} uses {shared[0]} of an earlier step"
        if shared := sorted(set(all_numbers(body)) & results - common):
            return f"step {j + 1} has {shared[0]}, a result of an earlier step"
        results |= results_of(body) - {"0", "1"} if not items else frozenset()
        new_names = {n for n in _NAME.findall(body) if n.lower() not in known.words | _NO_NAMES}
        new_names -= common_names
        if again := sorted(set(_TERM.findall(body)) & terms):
            return f"step {j + 1} uses {again[0]} of an earlier step"
        if early := sorted(undefined(body) & symbols):
            return f"step {j + 1} uses {early[0]} as an earlier step defines it"
        if told := sorted(n for n in names if re.search(rf"(?<!\w){n}(?!\w)", body)):
            return f"step {j + 1} uses {told[0]!r} of an earlier step"
        introduced |= new
        names |= new_names
        symbols |= set(_DEFINED.findall(body)) - known.words
        terms |= set(_TERM.findall(body)) - known.words
    if not items and (links := find_chain([s.text for s in block.steps], all_numbers(known.text))):
        return f"each step takes up words of the one before: {links}"
    return None


def all_numbers(text: str) -> list[str]:
    """Everything that may be a number, each in one spelling."""
    return [normalise(m[0]) for m in _ANY_NUMBER.finditer(text)]


def results_of(text: str) -> frozenset[str]:
    """The number behind each equals sign; of a calculator's mark <<a=b>>, only b."""
    behind = _CALCULATED.sub(r" = \1 ", text).split("=")[1:]
    return frozenset(n for part in behind for n in all_numbers(part)[:1])


def undefined(body: str) -> set[str]:
    """Symbols that a step uses before it says what they are; not the x of a product, nor words of
    one letter."""
    body = re.sub(r"(?<=[\d)\s])[xX](?=[\s\d($])(?! *=)", "*", body)
    defined, used = {"a", "A", "I"}, set()
    for match in SYMBOL.finditer(body):
        if match[1] not in defined and not _DEFINED.match(body, match.start()):
            used.add(match[1])
        defined.add(match[1])
    return used


def _common(found: Sequence[Sequence[str]]) -> set[str]:
    """What most of at least three steps have: a shared answer, a word of the pattern."""
    seen = Counter(x for step in found for x in set(step))
    return {x for x, n in seen.items() if n > 2 and n > len(found) / 2}


def lists_all(block: Block, prompt: Prompt) -> bool:
    """Whether the prompt lists an item for every step, with its numbers."""
    return all(prompt.lists(step.label.subject) for step in block.steps)


def _points_back(body: str, known: Prompt) -> re.Match[str] | None:
    """A pointing phrase that is not just the prompt's own wording."""
    text = known.text.lower()
    found = [*POINTERS.finditer(body), *_TAKES_UP.finditer(body[:_START])]
    return next((m for m in found if m[0].lower() not in text), None)


def _names(step: Step) -> list[str]:
    """What a step may be called in another step, the longest first."""
    text = re.sub(r"^[-*•+\s]+|\*\*|[:：.)\s]+$", "", step.label.text)
    found = {text, step.label.subject, step.label.text}
    return sorted((n for n in found if n), key=len, reverse=True)


def _without(body: str, names: Sequence[str]) -> str:
    for name in names:
        body = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "", body)
    return body


def _mentions(body: str, earlier: Step) -> Iterator[str]:
    for name in _names(earlier):
        if not re.search(r"[^\W\d_]", name) or name in ("a", "I"):
            continue
        # "A" may be the article, any other single letter is a label
        ahead = r"(?!\w|\s+[a-z])" if name == "A" else r"(?!\w)"
        if re.search(rf"(?<!\w){re.escape(name)}{ahead}", body):
            yield name


def _given_numbers(block: Block, prompt: Prompt) -> list[Counter[str]]:
    """By step: numbers of its own item in the prompt, and those outside of all items.

    An item runs from a mention of the step's subject to the next mention or the end of the line.
    A step whose subject the prompt does not know is given every number.
    """
    subjects = [step.label.subject for step in block.steps]
    starts = sorted((at, i) for i, s in enumerate(subjects) for at, _ in prompt.mentions(s))
    own: list[Counter[str]] = [Counter() for _ in subjects]
    shared, cursor, text = Counter(all_numbers(block.lead)), 0, prompt.text
    for k, (start, i) in enumerate(starts):
        if start < cursor:  # inside a longer name
            continue
        line_end = text.find("\n", start)
        ends = [starts[k + 1][0]] if k + 1 < len(starts) else []
        end = min([*ends, line_end if line_end >= 0 else len(text)])
        shared.update(all_numbers(text[cursor:start]))
        own[i].update(all_numbers(_without(text[start:end], [subjects[i]])))
        cursor = end
    shared.update(all_numbers(text[cursor:]))
    everything = Counter(all_numbers(text)) + Counter(all_numbers(block.lead))
    found = {i for _, i in starts}
    return [own[i] + shared if i in found else everything for i in range(len(subjects))]


def normalise(digits: str) -> str:
    """One spelling of a number: no commas, no zeros at the end of decimals."""
    digits = digits.replace(",", "").lstrip("0") or "0"
    digits = "0" + digits if digits[0] == "." else digits
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _trace_numbers(body: str, given: Counter[str]) -> tuple[set[str], set[str]]:
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


def _uses(body: str) -> Iterator[Use]:
    text = re.sub(r"(?<=\d)\((?=\d)", "*", body)  # 2(8)
    text = re.sub(r"[()\[\]$€£\\{}]", "", text)
    found = list(_NUMBER.finditer(text))
    gaps = [text[a.end() : b.start()] for a, b in pairwise(found)]
    joined = [bool(_OPERATOR.fullmatch(gap)) for gap in gaps]
    run = 0
    for k, match in enumerate(found):
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
