"""Formulas in LaTeX that one step works out and another one uses: fractions, powers, functions; and
the symbols that a step uses and does not define, and what parts of an exam hand on.

Knows one step at a time; plain numbers are number_trace.py's.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from pdata.rules.dependence.word_chains import stem
from pdata.rules.prompt import Prompt

_MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)", re.DOTALL)
_NOISE = re.compile(
    r"\\(?:left|right|displaystyle|quad|qquad|,|!|;|:| )|\\text\{[^{}]*\}|\\boxed|[\s&.,]+"
)
_EQUALS = re.compile(r"=|\\approx|\\Rightarrow|\\implies|\\\\")
# a result that hardly comes up twice by chance
_TELLING = re.compile(
    r"\\[dt]?frac|\\sqrt|\\cup|\\infty|\d/\d|\^|\\(?:sin|cos|tan|ln|log|pi)\b|[a-zA-Z)]\w*[-+]|[-+*]\w*[a-zA-Z(]"
)


# an equation between unknowns
_BINDS = re.compile(r"[^=]*[a-zA-Z}]\w*[-+*^][^=]*=[^=]+$")
# a formula may follow right behind it
_OPERATOR = re.compile(r"\\(?:cdot|times|div|pm|mp)$")
# the left side of an equation that says what something is
_SYMBOL = re.compile(r"\\?[A-Za-z]+(?:_\{?\w+\}?)?'?(?:\(\w+\))?")


_LETTER = re.compile(r"[a-zA-Z]")
# letters that are reckoned with: 4a + b, and not 4 cm
_ALGEBRA = re.compile(r"(?=.*(?:\\frac|[-+/^]))(?:.*[^\\a-zA-Z])?[a-zA-Z]")


SYMBOL = re.compile(r"(?<![\w'’])([A-Za-z](?:_?\d|_[a-z])?|[a-z]{2,}_\w+)(?![\w'’])")
DEFINED = re.compile(rf"(?<![A-Z] ){SYMBOL.pattern}\s*(?::?=|≈|←)(?!=)")
TERM = re.compile(r"(?<![\w.])\d+[a-cnp-rt-z]\b")  # 3x
# "P: it rains", a line of its own; "let P be"
_STANDS_FOR = re.compile(
    r"^[\s*•$-]*([P-T])\$? ?[:：]|\b(?:[Ll]et|with) \$?([A-Z])\$? (?:be|denote|stand|represent)|"
    r"(?<![\w])\$?([A-Z])\$? (?:denotes|stands for|represents)\b|"
    r"(?:设|令|记|用) ?\$?([A-Z])\$? ?(?:为|是|表示|代表)|(?<![\w])\$?([A-Z])\$? ?(?:表示|代表)",
    re.MULTILINE,
)


# the letters that a part of an exam asks for
_NAME = r"\$?(?:\\angle )?[A-Za-z]\$?"
_SEEKS = re.compile(
    r"(?:求|[Ff]ind|[Dd]etermine|[Cc]alculate) ?"
    r"(?:角|实数|常数|the (?:values?|angles?|constants?)(?: of)? |angle )?"
    rf"({_NAME}(?:(?: ?[,，、和与] ?|,? and ){_NAME})*)"
    r"(?: ?的(?:大小|值|度数))?\s*(?:[;；,，.。?？]|$)"
)
_SYMBOLS = re.compile(
    r"\\(?:sin|cos|tan|cot)\s*(?:\\angle\s*)?\{?[A-Za-z]\b|"
    r"(?<![A-Za-z\\_{])[A-Z](?:_\{?\w\}?)?(?![A-Za-z])"
)
_SINGLE = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")
# a symbol that is brought in anew
_LETS = re.compile(r"(?:设|令|记|\b[Ll]et\b|\b[Dd]enote\b)[^，。,.\n]*")

# a part of an exam that asks about what one before it has found
_ASKS_BACK = re.compile(
    r"上述[一-鿿]{2}|[(（][1-3ⅠⅡIi]+[)）] ?(?:的条件|的结论|中的?|问)|第[一二12]问|"
    r"\b(?:from|of|in|by|using) (?:part )?\(?(?:[1-3]|[a-c]|i{1,2})\)|\bthe above (?:result|value)",
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
# a value or an equation, in LaTeX or not: a = -1, y = x - 2
_GIVES = re.compile(
    r"(?<![A-Za-z\\_^'’.])(\\?[A-Za-z]+(?:_\{?\w\}?)?(?:\([a-z]\))?)[\s$]*(?:=|≠|\\neq?\b)[\s$]*"
    r"([-−]?[A-Za-z0-9\\{}^.√π]+(?:\([a-z]\))?(?:[ \t]*[-−+*/][ \t]*[A-Za-z0-9\\{}^.√π]+)*)",
)
# variables run through values, a constant has its own
_VARIABLES = frozenset("x y z t i j n u v".split())
# what is said ahead of a value that is taken as known
_TAKES = re.compile(
    r"(?:(?:当|若|如果|由于|因为|已知|由|将|把|代入|利用|根据|取)[^，。：:,.;；\n=$]{0,12}|"
    r"(?:方程|解析式|表达式|直线|曲线|函数|圆|通项公式)[^，。,;；\n=$]{0,8}[为是：:]?|"
    r"\b(?:when|if|since|because|with|for|given|where|using|substitut\w+|plug\w*|put\w*|as)\b"
    r"[^,.;\n=$]{0,24}|"
    r"\b(?:equation|line|curve|function|circle|formula)\b[^,.;\n=$]{0,24}\b(?:is|are|as)?:?)"
    r"[\s$(（]*$",
    re.IGNORECASE,
)
_DERIVES = re.compile(r"得|解|所以|因此|故|设|令|\b(?:so|thus|hence|therefore|get|let|set)\b", re.I)


@dataclass(frozen=True, slots=True)
class Equation:
    """left = right, in one spelling."""

    left: str
    right: str


def formulas_of(text: str) -> list[str]:
    """The formulas of a text, each in one spelling."""
    if "$" not in text and "\\" not in text:
        return []
    found = (next(g for g in m.groups() if g) for m in _MATH.finditer(text))
    return [normalise(x) for x in found]


def normalise(formula: str) -> str:
    """One spelling: no spaces, no signs of size."""
    return re.sub(r"\\[dt]frac", r"\\frac", _NOISE.sub("", formula))


def equations_of(formulas: list[str]) -> set[Equation]:
    """Every side after an equals sign that tells something, with the side before it."""
    found: set[Equation] = set()
    for formula in formulas:
        sides = _EQUALS.split(formula)
        # in f = a = b, b is f as well
        pairs = [*pairwise(sides), *((sides[0], side) for side in sides[2:])]
        found |= {Equation(a, b) for a, b in pairs if a and len(b) > 3 and _TELLING.search(b)}
    return found


def wholes_of(formulas: list[str]) -> set[str]:
    """The equations that bind two unknowns: x + y = 4, and not y = 4."""
    return {f for f in formulas if _BINDS.match(f)}


def find_use(formulas: list[str], earlier: set[Equation]) -> str | None:
    """What an earlier step has worked out and this one uses, before it works it out by itself."""
    text = "\n".join(formulas)
    for equation in sorted(earlier, key=lambda e: (e.left, e.right)):
        at = text.find(equation.right)
        while at >= 0:
            end = at + len(equation.right)
            whole = not (
                (text[at - 1 : at].isalnum() and not _OPERATOR.search(text[:at]))
                or text[end : end + 1].isalnum()
                or text[end : end + 1] in ("^", "_", "(")
            )
            if whole:
                if text[at - 1 : at] != "=" or (
                    _SYMBOL.fullmatch(equation.left) and text[:at].endswith(f"{equation.left}=")
                ):
                    return equation.right
                break  # it works out the same
            at = text.find(equation.right, at + 1)
    return None


def finds_rewriting(steps: list[list[str]], known: str) -> bool:
    """Whether two neighbours give the same letter, which `known` gives by an equation, other sides
    with letters: r = 4a \\cos t, r = \\frac{4ax}{y}."""
    given = normalise(known)
    sides: list[dict[str, str]] = []
    for formulas in steps:
        equations = (f.split("=") for f in formulas if "=" in f)
        # not what a number comes out of
        found = {
            e[0]: e[-1] for e in equations if _LETTER.fullmatch(e[0]) and _ALGEBRA.match(e[-1])
        }
        sides.append({a: b for a, b in found.items() if re.search(rf"(?<!\w){a}=", given)})
    return any(
        a[left] != b[left] and a[left] not in given and b[left] not in given
        for a, b in pairwise(sides)
        for left in a.keys() & b.keys()
    )


def find_asked(body: str, part: str, parts_before: str, stem_text: str) -> str | None:
    """What only an earlier part of an exam question asks for, and this part takes as known: "by
    the monotonicity", or a symbol. `stem_text`: what the question says before its parts."""
    own = stem_text + part
    if back := _ASKS_BACK.search(part, 3):
        return back[0]
    if not _ASKING.search(parts_before):
        return None
    if sought := find_sought(body, part, parts_before, stem_text):
        return sought
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


def find_sought(body: str, part: str, parts_before: str, stem_text: str) -> str | None:
    """A symbol that earlier parts of an exam ask for or bring in, and this part, `body`, uses."""
    sought = {x for m in _SEEKS.finditer(parts_before) for x in _SINGLE.findall(m[1])}
    # a constant of the question has its value from then on, a capital stands for a point or angle
    constants = {x for x in sought if x.islower()} & {*_SINGLE.findall(stem_text)}
    if used := (constants - {*_SINGLE.findall(part)}) | (sought & _symbols(_LETS.sub("", body))):
        return min(used)
    symbols = _symbols(parts_before) - _symbols(stem_text + part)
    return min(symbols & _symbols(_LETS.sub("", body)), default=None)


def _symbols(text: str) -> set[str]:
    """Letters, and functions of a letter, in one spelling."""
    found = (re.sub(r"[\s{}]", "", m[0]) for m in _SYMBOLS.finditer(text))
    return {x for x in found if x not in ("a", "A", "I")}


def find_brought_in(body: str, before: str, known: Prompt) -> str | None:
    """A letter that only an earlier step says to stand for something: "P: it rains"."""
    letters = {next(g for g in m.groups() if g) for m in _STANDS_FOR.finditer(before)}
    for letter in sorted(letters - {"A", "I"}):
        if not known.mentions(letter):
            use = re.search(rf"(?<![\w'’.\\]){letter}(?![\w'’.])", body, re.ASCII)
            own = (m.start() for m in _STANDS_FOR.finditer(body) if letter in m.groups())
            if use and use.start() < next(own, len(body)):
                return letter
    return None


def find_undefined(body: str) -> set[str]:
    """Symbols that a step uses before it says what they are; not the x of a product, nor words of
    one letter."""
    body = re.sub(r"(?<=[\d)\s])[xX](?=[\s\d($])(?! *=)", "*", body)
    defined, used = {"a", "A", "I"}, set()
    for match in SYMBOL.finditer(body):
        if match[1] not in defined and not DEFINED.match(body, match.start()):
            used.add(match[1])
        defined.add(match[1])
    return used


def find_value_taken(body: str, before: str, known: str) -> str | None:
    """A value of a constant or an equation, which an earlier step works out and this one takes as
    known: "when a = -1", "the curve is y = x - 2"."""
    if "=" not in before or not ("=" in body or "≠" in body or "\\ne" in body):
        return None
    known_pairs = {pair for pair, _ in _values(known)}
    worked_out = {
        pair
        for pair, ahead in _values(before)
        if _DERIVES.search(ahead[-12:]) or not _TAKES.search(ahead)
    }
    own: set[tuple[str, str]] = set()
    for pair, ahead in _values(body):
        if pair in worked_out - known_pairs - own and _TAKES.search(ahead):
            if not _DERIVES.search(ahead[-8:]):
                return "=".join(pair)
        own.add(pair)
    return None


def _values(text: str) -> Iterator[tuple[tuple[str, str], str]]:
    """Letters with what they equal, and what stands ahead of them in the text."""
    for match in _GIVES.finditer(text):
        left, right = (re.sub(r"[\s{}]", "", g).rstrip(".") for g in match.groups())
        unknowns = re.search(r"[A-Za-z]", right)
        if unknowns:  # y = x - 2, y = 2x, and not x = a
            telling = re.search(r"[-+*/^\d√−]", right)
        else:
            telling = None if left in _VARIABLES or right == "0" else re.search(r"\d", right)
        if telling and (len(left) == 1 or left[0] == "\\" or not left.isalpha()):
            yield (left, right), text[max(match.start() - 40, 0) : match.start()]
