"""How far a rewritten text is from its original: exact Levenshtein distance in characters."""

from collections import defaultdict


def relative_distance(a: str, b: str) -> float:
    """Edit distance of `a` and `b` / length of the longer, 0 to 1. A second for 50,000 letters."""
    longest = max(len(a), len(b))
    start = _common_prefix(a, b)
    a, b = a[start:], b[start:]
    end = _common_prefix(a[::-1], b[::-1])
    return _distance(a[: len(a) - end], b[: len(b) - end]) / longest if longest else 0.0


def _common_prefix(a: str, b: str) -> int:
    pairs = enumerate(zip(a, b, strict=False))
    return next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))


def _distance(a: str, b: str) -> int:
    """Column by column with one bit a row (Myers 1999, in the form of Hyyrö 2003).

    rises, falls: rows whose cell is one more, or one less, than the cell above it.
    """
    if not a or not b:
        return max(len(a), len(b))
    rows: dict[str, int] = defaultdict(int)
    for i, character in enumerate(a):
        rows[character] |= 1 << i
    full, last = (1 << len(a)) - 1, len(a) - 1
    rises, falls, distance = full, 0, len(a)
    for character in b:
        same = rows.get(character, 0)
        level = (((same & rises) + rises) ^ rises) | same | falls
        right_rises = falls | (~(level | rises) & full)
        right_falls = rises & level
        distance += (right_rises >> last & 1) - (right_falls >> last & 1)
        right_rises = (right_rises << 1 | 1) & full
        rises = (right_falls << 1 | ~(level | right_rises)) & full
        falls = right_rises & level
    return distance
