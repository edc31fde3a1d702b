"""Sources of drafts by name."""

from collections.abc import Callable

from pbranch.errors import RequestError
from pinfer.drafting.auto import AutoSource
from pinfer.drafting.draft import DraftSource
from pinfer.drafting.ngram import NgramSource

SOURCES = "none, ngram, auto, model:NAME or auto:model:NAME"
LoadModel = Callable[[str], DraftSource]


def check_source(draft: str | DraftSource | None) -> str | None:
    """The model that a source is to be, if any. RequestError where no source is called so."""
    if not isinstance(draft, str) or draft in ("none", "ngram", "auto"):
        return None
    kind, _, name = draft.removeprefix("auto:").partition(":")
    if kind != "model" or not name:
        raise RequestError(f"draft {draft!r}: expected {SOURCES}")
    return name


def make_source(draft: str | DraftSource | None, load_model: LoadModel) -> DraftSource | None:
    """A new source of a name, None for `none`; what is no name is a source already. load_model:
    makes one of a model's name. RequestError where no source is called so."""
    name = check_source(draft)
    if not isinstance(draft, str):
        return draft
    if draft in ("none", "ngram"):
        return NgramSource() if draft == "ngram" else None
    models = [] if name is None else [load_model(name)]
    return AutoSource(NgramSource(), *models) if draft.startswith("auto") else models[0]
