"""Whether two answers are the same mathematics: 1/2 and 0.5. Asks math-verify where installed."""

import re
import threading

_MATHEMATICS = re.compile(r"[\d\\^=+*/<>]")  # to math-verify a name is a product of its letters


def is_equal(a: str, b: str) -> bool:
    """False where either is no mathematics, or where math-verify is missing or cannot tell within
    seconds. Its time limit is an alarm of the process: call this in the main thread alone."""
    if not (_MATHEMATICS.search(a) and _MATHEMATICS.search(b)):
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    try:
        from math_verify import parse, verify
    except ImportError:
        return False
    gold, said = parse(f"${b}$"), parse(f"${a}$")
    return bool(gold and said and verify(gold, said))
