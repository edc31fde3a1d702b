"""Formulas in LaTeX that one step works out and another one uses: fractions, powers, functions.

Knows one step at a time; plain numbers are number_trace.py's.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

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
# the left side of an equation that says what something is
_SYMBOL = re.compile(r"\\?[A-Za-z]+(?:_\{?\w+\}?)?'?(?:\(\w+\))?")


_LETTER = re.compile(r"[a-zA-Z]")
# letters that are reckoned with: 4a + b, and not 4 cm
_ALGEBRA = re.compile(r"(?=.*(?:\\frac|[-+/^]))(?:.*[^\\a-zA-Z])?[a-zA-Z]")


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
                text[at - 1 : at].isalnum()
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
