"""Which lanes see which: one predicate over paths."""

from pinfer.request.state import Path


def sees(q: Path, k: Path) -> bool:
    """Whether rows of a lane at path `q` see *earlier* rows of a lane at path `k`.

    They part at some block: k's must have been joined before q's began. Where one path leads on
    from the other, k is an ancestor, or a branch that q has joined.
    """
    for a, b in zip(q, k, strict=False):
        if a != b:
            return b[0] < a[0]
    return True
