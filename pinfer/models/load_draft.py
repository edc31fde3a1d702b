"""Opens a source of drafts by its name; loads a small model that drafts for a large one, where both
have the same tokenizer."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pbranch.errors import ModelError
from pbranch.hf.hub import fetch_lookahead
from pinfer.attention.backend import get_backend
from pinfer.drafting.auto import AutoSource
from pinfer.drafting.draft import DraftSource
from pinfer.drafting.lookahead import load_lookahead
from pinfer.drafting.ngram import NgramSource
from pinfer.drafting.sources import read_name
from pinfer.execution.runner import Runner
from pinfer.models.cuda_graphs import with_cuda_graphs
from pinfer.models.draft_model import ModelSource, OtherVocabulary
from pinfer.models.load import Loaded, load
from pinfer.models.probe import choose_path


def open_source(draft: str | DraftSource | None, target: Loaded, *how: Any) -> DraftSource | None:
    """A new source of drafts for `target` by name, None for `none`; what is no name is a source
    already. how: see `load_draft_model`. Raises RequestError where no source is called so,
    ModelError or AdapterError where it does not belong to the target."""
    if not isinstance(draft, str):
        return draft
    name = read_name(draft)
    source: DraftSource | None = None
    if name.kind == "model":
        source = load_draft_model(name.place, target, *how)
    elif name.kind == "lookahead":
        beside = target.adapter or Path(target.path)
        folder = fetch_lookahead(name.place) if name.place else beside
        source = load_lookahead(folder, target.model, target.adapter, name.mode)
    ngram = NgramSource() if name.auto or name.kind == "ngram" else None
    if name.auto and ngram:
        return AutoSource(ngram, *([source] if source else []))
    return source or ngram


def load_draft_model(
    name: str,
    target: Loaded,
    attention: str = "auto",
    path: str = "auto",
    trust_remote_code: bool = False,
) -> ModelSource:
    """A source of drafts for `target`, on its device and in its dtype. name: folder, Hub id, GGUF
    file or name; attention, path: as for the target. ModelError where its tokenizer is another."""
    model = target.model
    dtype = str(model.dtype).removeprefix("torch.")
    found = load(name, None, dtype, str(model.device), trust_remote_code)
    markers = target.spec.markers.as_dict().values() if target.spec.markers else ()
    theirs = found.tokenizer.get_vocab()
    check_same_tokens(target.tokenizer.get_vocab(), theirs, name, markers)
    backend = get_backend(attention, model.device, model.dtype)
    known = found.model.get_output_embeddings().weight.shape[0]
    size = model.get_output_embeddings().weight.shape[0]
    forward, token_bytes = choose_path(found.model, backend, path, owned=True)
    graphs = with_cuda_graphs(forward, backend)
    texts = min(known, size, len(target.tokenizer), len(found.tokenizer))
    given = OtherVocabulary(graphs, known, texts, size, line_break(found.tokenizer))
    return ModelSource(Runner(given, backend), found.spec.context, token_bytes)


def check_same_tokens(
    target: Mapping[str, int], draft: Mapping[str, int], name: str, markers: Collection[int] = ()
) -> None:
    """Raise ModelError unless two vocabularies give texts the same ids. Markers are no text, and
    what one of them has behind all ids of the other is added tokens."""
    ids = set(range(1 + min(max(target.values()), max(draft.values())))) - set(markers)
    ours, theirs = ({i: t for t, i in v.items() if i in ids} for v in (target, draft))
    wrong = sorted(i for i in ours.keys() | theirs.keys() if ours.get(i) != theirs.get(i))
    if wrong:
        i = wrong[0]
        raise ModelError(
            f"draft model:{name}: its tokenizer is not the model's: {len(wrong)} ids differ, the "
            f"first is {i}, {theirs.get(i)!r} and not {ours.get(i)!r}; expected a model with the "
            "same tokenizer"
        )


def line_break(tokenizer: Any) -> int:
    """A token that stands for those that a model lacks."""
    ids: list[int] = tokenizer.encode("\n", add_special_tokens=False)
    return ids[-1] if ids else 0
