"""The general path: any decoder that transformers can load, driven through its own model code.

One attention function, registered with transformers, gets the view of a pass as a keyword. It
serves what the fast path does not, and is what that one must equal.
"""

from typing import Any

import torch
from torch import Tensor, nn

from pbranch.errors import ModelError
from pinfer.attention.transformers_hook import ATTENTION_NAME, register
from pinfer.execution.forward import PassInput
from pinfer.models.linear import fuse
from pinfer.models.norm import make_norm

Leaf = tuple[nn.Module, str, nn.Module]  # a module, the name of a child, and the child


class GeneralModel:
    """What a runner calls: a pass in, logits out."""

    def __init__(self, model: Any) -> None:
        """Switches `model` to the attention function that knows views."""
        register()
        model.set_attn_implementation(ATTENTION_NAME)
        self.model = model
        self.layers: int = model.config.get_text_config().num_hidden_layers
        self.device: torch.device = model.get_input_embeddings().weight.device

    def __call__(self, batch: PassInput) -> Tensor:
        """As `Forward`. ModelError for an adapter of some tokens, which the model's code cannot
        apply."""
        if batch.adapter is not None:
            raise ModelError(f"{type(self.model).__name__}: no adapter of single tokens here")
        given: dict[str, Tensor] = {"input_ids": batch.token_ids[None]}
        if batch.embeddings is not None:
            embedded = self.model.get_input_embeddings()(batch.token_ids)
            given = {"inputs_embeds": batch.replace_embeddings(embedded)[None]}
        return self.model(
            **given,
            position_ids=batch.positions[None],
            use_cache=False,
            logits_to_keep=batch.logits_indices,
            branch_view=batch.view,
        ).logits[0]


def lighten(model: nn.Module) -> list[Leaf]:
    """Put plain functions in the place of linear layers, packed where that pays, and of RMS norms;
    returns what stood there, for `restore`. Calling a module takes longer than a small product."""
    found = [
        (parent, name, child)
        for parent in model.modules()
        if not isinstance(parent, nn.ModuleList | nn.Sequential)
        for name, child in parent.named_children()
    ]
    replaced = []
    for parent, name, child in found:
        quick = _quick(child)
        if quick is not None:
            del parent._modules[name]
            parent.__dict__[name] = quick
            replaced.append((parent, name, child))
    return replaced


def restore(leaves: list[Leaf]) -> None:
    """Undo `lighten`."""
    for parent, name, child in leaves:
        del parent.__dict__[name]
        parent._modules[name] = child


def _quick(module: nn.Module) -> Any:
    """A function that does what `module` does, or None."""
    if type(module) is nn.Linear:
        return fuse([module])
    weight, eps = getattr(module, "weight", None), getattr(module, "variance_epsilon", None)
    if weight is None or eps is None or any(module.children()):
        return None
    norm = make_norm(module)
    x = torch.linspace(-2, 3, len(weight), device=weight.device, dtype=weight.dtype)[None]
    with torch.inference_mode():  # a norm of another kind keeps its own code
        return norm if torch.allclose(norm(x), module(x), rtol=1e-2, atol=1e-2) else None
