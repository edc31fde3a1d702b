"""The one place where keys and values of a pass are stored and attended to, whatever the model's
code: store, let a policy look, call the backend."""

from torch import Tensor

from pinfer.attention.view import View


def attend(
    layer: int,
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    view: View,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Attention of a pass's tokens in one layer.

    query (R, H, D), keys and values (R, Hk, D) of the tokens; returns (R, H, D). window: the
    layer's sliding window in positions; softcap: scores are softcap * tanh(scores / softcap).
    It is computed in the dtype of the cache.
    """
    view = view.for_layer(layer)
    view.arena.write(layer, view.slots, keys, values)
    wide = query if view.arena.dtype is None else query.to(view.arena.dtype)
    if view.policy is not None:
        view = view.policy.look(layer, wide, view)
    seen = view.backend(wide, view.within(window, layer), layer, scale=scale, softcap=softcap)
    return seen if wide is query else seen.to(query.dtype)
