"""Sources of drafts by name: which there are, and how a name is read."""

from dataclasses import dataclass

from pbranch.errors import RequestError
from pbranch.hf.hub import fetch_lookahead
from pbranch.hf.lookahead.files import read_config
from pinfer.drafting.draft import DraftSource
from pinfer.drafting.lookahead import MODES, Mode

KINDS = "none, ngram, model:NAME, lookahead[:MODE][:FOLDER], auto, auto:model:NAME, auto:lookahead…"


@dataclass(frozen=True, slots=True)
class SourceName:
    """A source's name, read. kind: none, ngram, model or lookahead; place: the model, or where the
    look-ahead files are, "" where they lie beside the adapter that is used; mode: of look-ahead
    rows; auto: drafts where it pays, as prompt lookup does."""

    kind: str
    place: str = ""
    mode: Mode = "tail"
    auto: bool = False


def read_name(draft: str) -> SourceName:
    """RequestError where no source is called so."""
    if draft in ("none", "ngram"):
        return SourceName(draft)
    if draft == "auto":
        return SourceName("ngram", auto=True)
    kind, _, place = draft.removeprefix("auto:").partition(":")
    mode: Mode = "tail"
    if kind == "lookahead":
        for known in MODES:
            if place.partition(":")[0] == known:
                mode, place = known, place.partition(":")[2]
    if kind not in ("model", "lookahead") or (kind == "model" and not place):
        raise RequestError(f"draft {draft!r}: expected {KINDS}")
    return SourceName(kind, place, mode, draft.startswith("auto:"))


def check_source(draft: str | DraftSource | None) -> None:
    """Before a model is loaded: RequestError where no source is called so, AdapterError where there
    are no look-ahead files."""
    name = read_name(draft) if isinstance(draft, str) else None
    if name and name.kind == "lookahead" and name.place:
        read_config(fetch_lookahead(name.place))
