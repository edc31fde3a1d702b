"""Whether two answers are the same mathematics: 1/2 and 0.5. Asks math-verify where installed."""

import threading


def is_equal(a: str, b: str) -> bool:
    """False where math-verify is missing, or cannot tell within seconds.

    Its time limit is an alarm of the process, so outside of the main thread the answer is False.
    """
    if not (a and b) or threading.current_thread() is not threading.main_thread():
        return False
    try:
        from math_verify import parse, verify
    except ImportError:
        return False
    gold, found = parse(f"${b}$"), parse(f"${a}$")
    return bool(gold and found and verify(gold, found))
