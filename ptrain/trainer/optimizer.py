"""A learning rate of their own for the markers' rows."""

from typing import Any

import torch
from peft.tuners.trainable_tokens import TrainableTokensLayer
from torch import Tensor


def set_marker_rates(
    optimizer: torch.optim.Optimizer, model: Any, share: float
) -> dict[str, float]:
    """Move the marker rows of embedding and (untied) head into groups of their own, without decay.

    Adam moves a weight by about its rate a step, whatever the weight's size. Rows have to cover a
    distance of their own length, LoRA's matrices start small; so a row's rate is a `share` of the
    root mean square of the row as it started. Returns the rates by the rows' names.
    """
    rates = {}
    for name, rows, start in _marker_rows(model):
        group = next((g for g in optimizer.param_groups if _holds(g, rows)), None)
        if group is None:
            continue  # an optimizer with groups of its own making
        group["params"] = [p for p in group["params"] if p is not rows]
        rates[name] = share * float(start.float().square().mean().sqrt())
        options = {k: v for k, v in group.items() if k != "params"}
        own = {"params": [rows], "lr": rates[name], "weight_decay": 0.0}
        optimizer.add_param_group(options | own)
    optimizer.param_groups[:] = [g for g in optimizer.param_groups if g["params"]]
    return rates


def _marker_rows(model: Any) -> list[tuple[str, Tensor, Tensor]]:
    """Name, trained rows and their start, of each matrix that has rows of its own."""
    return [
        (name, rows, layer.trainable_tokens_original[adapter])
        for name, layer in model.named_modules()
        if isinstance(layer, TrainableTokensLayer) and layer.tied_adapter is None
        for adapter, rows in layer.trainable_tokens_delta.items()
    ]


def _holds(group: dict[str, Any], rows: Tensor) -> bool:
    return any(p is rows for p in group["params"])
