"""Sources of drafts by name."""

from pbranch.errors import RequestError
from pinfer.drafting.draft import DraftSource
from pinfer.drafting.ngram import NgramSource

SOURCES = ("none", "ngram")


def make_source(draft: str | DraftSource | None) -> DraftSource | None:
    """A new source of a name, None for `none`; what is no name is a source already. RequestError
    where no source is called so."""
    if not isinstance(draft, str):
        return draft
    if draft not in SOURCES:
        raise RequestError(f"draft {draft!r}: expected {' or '.join(SOURCES)}")
    return NgramSource() if draft == "ngram" else None
