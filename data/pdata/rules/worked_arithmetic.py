"""Worked arithmetic, a line an equation: which neighbouring lines use none of each other's results.

A dependency is any number that a line shares with what an earlier line works out or brings in,
and any phrase that points back. In doubt lines depend.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from pdata.rules.blocks.faults.find_fault import PART
from pdata.rules.blocks.labels import Kind, Label
from pdata.rules.blocks.masks import split_lines, unshield
from pdata.rules.blocks.steps import Block, Step
from pdata.rules.blocks.topics import first_words, make_topics
from pdata.rules.dependence.back_references import OPENERS, POINTERS
from pdata.rules.dependence.formulas import SYMBOL, find_undefined
from pdata.rules.dependence.number_trace import all_numbers, results_of
from pdata.rules.dependence.states import is_round
from pdata.rules.prompt import Prompt

_EQUATION = re.compile(r"\d[^\n=]*=\s*[^\s=]*\d")
_WORKED = re.compile(r"\d[^\n=≈]*[=≈]\s*[^\s=≈]*\d")  # also where it is rounded
_WORDS = {w: str(n) for n, w in enumerate(
    "zero one two three four five six seven eight nine ten eleven twelve".split())}  # fmt: skip
_SIGN = re.compile("[=≈]")
_CLOSING = re.compile(r"####|\s*(?:answer|name):|.*\\boxed|\s*(?:the )?(?:final )?answer\b", re.I)
_REFERS = re.compile(
    r"\b(?:total|altogether|combined|both|all (?:of )?(?:the|these|those|them)|together|sum|"
    r"remain(?:s|ing|der)?|left|rest|difference|more than that|that|this|those|these|other|another|"
    r"again|instead|new|now|same|each of them|average)\b",
    re.IGNORECASE,
)


# a line that goes on with a derivation, or sets out on another try
_DERIVES = re.compile(
    r"\s*(?:let|let's|lets|suppose|assume|from|solving|substituting|plugging|adding|subtracting|"
    r"multiplying|dividing|simplifying|combining|expanding|factoring|rearranging|equating|setting|"
    r"we|and|or|but|where|which|since|because|hence|thus|so|then|now|next|finally|also|"
    r"alternatively|consider)\b|"
    r"\s*(?:设|令|当|由|由于|因为|所以|因此|故|则|又|即|代入|解得|可得|得|于是|从而|根据|将|把|再|然后)",
    re.IGNORECASE,
)
_ITEM = re.compile(r"([ \t]*)(?:([-*•+])|\(?\d{1,2}([.)]))[ \t]")

# a formula: numbers do not tell what it takes from another one
_FORMULA = re.compile(r"\\[A-Za-z(\[]|\$\w{1,3}\$(?![\d<])|\$[^$\n]*[\\^_{][^$\n]*\$|\[asy\]")
# a quantity named by letters, in a sum: AB + BC; not a unit
_LETTERS = re.compile(r"(?<![\w\d] )\b[A-Z]{1,3}\b(?=\s*[-+=])")

_TITLED = re.compile(r"[A-Z][\w'’-]*(?: [\w'’-]+){0,2}: ")
# a further sentence that draws on what was worked out
_SO = re.compile(r"[.!?] (?:So|Thus|Therefore|Hence)\b|。(?:所以|因此|故)")
_PART = re.compile(
    r"(For|If|When|With)\b|([A-Z]\w+(?: [a-z]+)*) \(?(?:[A-Z]?\d{1,2}|[a-zA-Z])\)?(?::| =)"
)


@dataclass(frozen=True)
class Line:
    """A line and where it stands, without its line break."""

    start: int
    text: str

    @cached_property
    def results(self) -> frozenset[str]:
        return results_of(self.text)

    @cached_property
    def numbers(self) -> frozenset[str]:
        return frozenset(all_numbers(self.text))

    @property
    def item(self) -> tuple[str, ...]:
        """How it is marked as the item of a list (2., Part (b):, If …); empty where it is none."""
        match = (_PART if self.text[:1].isalpha() else _ITEM).match(self.text)
        return match.groups(default="") if match else ()

    @property
    def is_equation(self) -> bool:
        return bool(_EQUATION.search(self.text)) and not _CLOSING.match(self.text)

    @cached_property
    def is_step(self) -> bool:
        """Whether it is an equation that begins with words; one that is set as a formula only where
        it is an item."""
        formula = not self.item and _FORMULA.search(self.text)
        return self.is_equation and not formula and bool(first_words(self.text))


def is_worked(text: str) -> bool:
    """Whether most lines of `text` are equations."""
    lines = [x for x in _lines(text) if x.text.strip() and not _CLOSING.match(x.text)]
    return len(lines) > 1 and 2 * sum(x.is_equation for x in lines) > len(lines)


def find_levels(text: str, prompt: Prompt) -> list[Block]:
    """Runs of neighbouring lines of which none needs another, the longest from each start."""
    blocks: list[Block] = []
    given = frozenset(all_numbers(prompt.text)) | {_WORDS[w] for w in prompt.words & _WORDS.keys()}
    lines, known = _lines(text), given
    run: list[Line] = []
    for n, line in enumerate([*lines, None]):
        if line and line.is_step and _joins(run, line, known):
            run.append(line)
            continue
        around = [*lines[max(n - len(run) - 1, 0) : n - len(run)], *([line] if line else [])]
        torn = bool(run and run[0].item) and any(x.item == run[0].item for x in around)
        torn |= bool(run) and any(_is_left_out(x, run) for x in around)
        if block := _block(text, run, torn):
            blocks.append(block)
        known = known.union(*(x.numbers for x in run))
        run = [line] if line and line.is_step else []
        if line and not run:
            known |= line.numbers
    return blocks


def _is_left_out(line: Line, run: list[Line]) -> bool:
    """Whether a line has a title with its colon as those of a run have, and is worked out from none
    of them, nor they from it."""
    worked = _WORKED.search(line.text) and not _CLOSING.match(line.text)
    if not (worked and all(_TITLED.match(x.text) for x in (line, *run))):
        return False
    after = line.start > run[-1].start
    pairs = ((x, line) if after else (line, x) for x in run)
    return not any(a.results & frozenset(all_numbers(_SIGN.split(b.text)[0])) for a, b in pairs)


def _joins(run: list[Line], line: Line, known: frozenset[str]) -> bool:
    """Whether a line needs none of a run's lines; `known`: numbers from before the run."""
    if not run:
        return True
    if line.item != run[0].item or _DERIVES.match(line.text) or is_round(line.text):
        return False
    if len(run) == 1 and _DERIVES.match(run[0].text):
        return False
    if POINTERS.search(line.text) or OPENERS.match(line.text) or _REFERS.search(line.text):
        return False
    if find_undefined(line.text) & {s for x in run for s in SYMBOL.findall(x.text)}:
        return False
    if {*_LETTERS.findall(line.text)} & {s for x in run for s in _LETTERS.findall(x.text)}:
        return False
    earlier = frozenset().union(*(x.results for x in run))
    brought_in = frozenset().union(*(x.numbers for x in run)) - known
    return not line.numbers & (earlier | brought_in)


def _block(text: str, run: list[Line], torn: bool) -> Block | None:
    """The lines as a block; its flaw tells where topics do not tell them apart, or where they are a
    part of a list (`torn`)."""
    if len(run) < 2:
        return None
    if _SO.search(run[-1].text) and not any(_SO.search(line.text) for line in run[:-1]):
        run = run[:-1]  # it goes on to what follows from all of them
    if len(run) < 2:
        return None
    fault = PART if torn else None
    topics = make_topics([line.text for line in run])
    steps = tuple(Step(Label(t), x.text) for t, x in zip(topics, run, strict=True))
    spans = tuple((x.start, x.start + len(x.text)) for x in run)
    gap = max((text[a:b] for (_, a), (b, _) in pairwise(spans)), key=len)
    return Block(Kind.worked, text[: spans[0][0]], steps, gap, text[spans[-1][1] :], spans, fault)


def _lines(text: str) -> list[Line]:
    lines = (Line(x.start, unshield(x.text).rstrip()) for x in split_lines(text))
    return [line for line in lines if line.text.strip()]
