"""Whether two answers are the same mathematics: 1/2 and 0.5, x = 3 and 3. Numbers are compared
exactly here; other formulas are what math-verify says, where it is installed."""

import re
import threading
from fractions import Fraction

from pdata.grading.answer_forms import clean_answer, read_number, squash

_MATHEMATICS = re.compile(r"[\d\\^=+*/<>π]")  # to math-verify a name is a product of its letters


def is_equal(a: str, b: str) -> bool | None:
    """None where that cannot be told: units differ, or a formula is no number and math-verify is
    missing or does not know within seconds. Its time limit is an alarm of the process: other
    threads than the main one cannot ask it."""
    if not (_MATHEMATICS.search(a) and _MATHEMATICS.search(b)):
        return False
    a, b = take_side(a, b), take_side(b, a)
    if squash(a) == squash(b) or _split(a) == _split(b) != []:
        return True
    one, other = read_number(a), read_number(b)
    if one and other:
        return _is_same_number(*one, *other)
    if threading.current_thread() is not threading.main_thread():
        return None
    try:
        from math_verify import parse, verify
    except ImportError:
        return None
    gold, said = parse(f"${b}$"), parse(f"${a}$")
    return bool(gold and said and verify(gold, said))


def take_side(a: str, b: str) -> str:
    """The right side of an equation, where the other answer is none."""
    if a.count("=") != 1 or "=" in b:
        return a
    left, _, right = a.partition("=")
    return a if re.search(r"[<>!≤≥,]|\\[lgn]eq?\b|\bor\b|\band\b", left) else right


def _is_same_number(one: Fraction, unit: str, other: Fraction, other_unit: str) -> bool | None:
    """The same in parts of a hundred, too; units that differ may be two names of one."""
    if "%" in (unit, other_unit) and unit != other_unit:
        return one == other or one == 100 * other or 100 * one == other
    if one != other:
        return False
    known = not unit or not other_unit or unit.rstrip("s") == other_unit.rstrip("s")
    return True if known else None


def _split(text: str) -> list[str]:
    """The parts of a list without brackets, sorted; a number has none."""
    plain = clean_answer(text)
    if re.search(r"[()\[\]]", plain) or "," not in plain:
        return []
    return sorted(part.strip() for part in plain.split(","))
