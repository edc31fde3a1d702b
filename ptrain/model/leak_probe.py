"""The start-up probe: on the model itself, do tokens see what the layout says, and nothing else?

Three small forward passes before a training run. Knows no trainer; works with LoRA in place.
"""

from typing import Any

import torch
from torch import Tensor

from pbranch.errors import ModelError
from pbranch.format.layout import Layout, LayoutOptions, build_layout
from pbranch.format.markers import MarkerIds
from pbranch.format.tree import Fork, Trace, make_trace
from pbranch.format.visibility import dense_mask, sees
from ptrain.data.collator import collate
from ptrain.model.attention import length_multiple

LEAK = 1e-5  # of the largest logit: more movement than this is a leak
PLAIN = {torch.float32: 1e-4}  # how far our attention may be from the model's own
PLAIN_HALF = 5e-2
OWN_SPREAD = 2  # times the distance between two of the model's own attention functions


class _Letters:
    """A codec of letters as small token ids: the probe needs tokens, not text."""

    def __init__(self, size: int) -> None:
        self.size = size

    def encode(self, text: str) -> list[int]:
        return [7 * ord(letter) % self.size for letter in text]


def probe(
    model: Any,
    markers: MarkerIds,
    options: LayoutOptions | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Refuse (ModelError) a model whose tokens see too much or too little.

    dtype: in which the model multiplies, where that is not the dtype of its weights.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            layout, branches = _small_fork(markers, options)
            _check_plain(model, layout, dtype or model.dtype)
            _check_moves(model, layout, branches)
    except (TypeError, AttributeError, RuntimeError, IndexError) as e:
        kind = model.config.model_type
        raise ModelError(f"model ({kind}): cannot run with a branch mask: {e}") from e
    finally:
        model.train(was_training)


def _small_fork(markers: MarkerIds, options: LayoutOptions | None) -> tuple[Layout, list[range]]:
    """A block of three branches with text after it, and where the tokens of each branch are."""
    codec = _Letters(min(markers.as_dict().values()))
    branches = tuple(map(make_trace, ("abcde", "bxyz", "cuvwst")))
    trace = Trace((Fork(("a", "b", "c"), branches), *make_trace("done").parts))
    layout = build_layout(codec.encode("go"), trace, codec, markers, options=options)
    starts = [i for i, token in enumerate(layout.token_ids) if token == markers.branch]
    ends = [i + 1 for i, token in enumerate(layout.token_ids) if token == markers.end]
    return layout, [range(a, b) for a, b in zip(starts, ends, strict=True)]


def _logits(model: Any, layout: Layout, changed: int | None = None) -> Tensor:
    """Logits (L, V) in float32; at `changed` another token is fed."""
    multiple = length_multiple(model.config._attn_implementation)
    batch = collate([layout], multiple=multiple)
    ids = batch["input_ids"].clone()
    if changed is not None:
        ids[0, changed] = ids[0, 0] if ids[0, changed] != ids[0, 0] else ids[0, 1]
    device = model.device
    out = model(
        input_ids=ids.to(device),
        position_ids=batch["position_ids"].to(device),
        attention_mask=batch["attention_mask"].to(device),
        use_cache=False,
    )
    return out.logits[0, : len(layout)].float().cpu()


def _check_moves(model: Any, layout: Layout, branches: list[range]) -> None:
    """Change one token at a time: what cannot see it stays, what follows it moves."""
    reach = dense_mask(collate([layout])["attention_mask"])[0, 0]
    for _ in range(4):  # transitive: what a token sees has itself seen others
        reach = (reach.float() @ reach.float()) > 0
    before = _logits(model, layout)
    start, body = branches[0][0], branches[0][2]
    shared = max(k for k in range(start) if sees(layout, start, k))  # before the branches
    for place, must_move in ((body, branches[:1]), (shared, branches)):
        moved = (_logits(model, layout, place) - before).abs().amax(-1)
        leak = moved[~reach[:, place]].max() / before.abs().max()
        if not leak <= LEAK:
            raise ModelError(
                f"model ({model.config.model_type}): a changed row of one branch moves rows that "
                f"must not see it by {leak:.1e} of the largest logit, expected at most {LEAK:.0e}"
            )
        for branch in must_move:
            if not moved[[i for i in branch if i > place]].max() > 0:
                raise ModelError(
                    f"model ({model.config.model_type}): branch rows do not see the rows before "
                    "them; the probe cannot vouch for this model"
                )


def _check_plain(model: Any, layout: Layout, dtype: torch.dtype) -> None:
    """On a text without a fork, our attention gives what the model's own gives.

    Catches attention arguments that ours would ignore (sinks, caps). In half precision a model may
    be so sensitive that its own functions differ by more than the bound: then ours may, too.
    """
    ids = layout.token_ids[:16]
    linear = Layout(ids, list(range(16)), [-100] * 16, [0] * 16, [0] * 16)
    ours, theirs = _logits(model, linear), _own_logits(model, ids, "eager")
    error, allowed = _distance(ours, theirs), PLAIN.get(dtype, PLAIN_HALF)
    if error > allowed == PLAIN_HALF and model._supports_sdpa:
        allowed = max(allowed, OWN_SPREAD * _distance(_own_logits(model, ids, "sdpa"), theirs))
    if not error <= allowed:
        raise ModelError(
            f"model ({model.config.model_type}): with the branch mask a plain text gives other "
            f"logits than without ({error:.1e} of the largest, expected at most {allowed:.0e})"
        )


def _own_logits(model: Any, ids: list[int], attention: str) -> Tensor:
    """(L, V) in float32 of plain text, by an attention function of transformers."""
    own = model.config._attn_implementation
    model.set_attn_implementation(attention)
    try:
        out = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
    finally:
        model.set_attn_implementation(own)
    return out.logits[0].float().cpu()


def _distance(logits: Tensor, others: Tensor) -> float:
    """The largest difference, as a share of the largest logit."""
    return ((logits - others).abs().max() / others.abs().max()).item()
