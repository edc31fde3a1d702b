"""Calls to a model's linear layers and norms without `nn.Module.__call__`.

A pass of few rows makes hundreds of small products, and calling a module takes longer than many of
them. So plain functions stand in for such modules. Knows no engine and no attention.
"""

from typing import Any

import torch
from torch import nn

from pbranch.files.mapped_pages import MappedPages
from pinfer.models.linear import fuse, give_back
from pinfer.models.norm import make_norm

Leaf = tuple[nn.Module, str, nn.Module]  # a module, the name of a child, and the child


def bypass_module_calls(model: nn.Module) -> list[Leaf]:
    """Replace linear layers and RMS norms by plain functions, packed where that pays; returns the
    modules that stood there, for `restore_modules`.

    The functions are no modules, so until they are restored `state_dict`, `parameters` and
    `named_modules` miss these layers, and `.to` leaves their weights where they are. For models
    that only this engine uses.
    """
    children = [
        (parent, name, child)
        for parent in model.modules()
        if not isinstance(parent, nn.ModuleList | nn.Sequential)
        for name, child in parent.named_children()
    ]
    pages, replaced = MappedPages(p.data_ptr() for p in model.parameters()), []
    for parent, name, child in children:
        function = _plain_function(child, pages)
        if function is not None:
            del parent._modules[name]
            parent.__dict__[name] = function
            replaced.append((parent, name, child))
    return replaced


def restore_modules(leaves: list[Leaf]) -> None:
    """Undo `bypass_module_calls`."""
    for parent, name, child in leaves:
        function = parent.__dict__.pop(name)
        if isinstance(child, nn.Linear):
            give_back(function, [child])
        parent._modules[name] = child


def _plain_function(module: nn.Module, pages: MappedPages) -> Any:
    """A function that does what `module` does, or None."""
    if type(module) is nn.Linear:
        return fuse([module], pages)
    weight, eps = getattr(module, "weight", None), getattr(module, "variance_epsilon", None)
    if weight is None or eps is None or any(module.children()):
        return None
    norm = make_norm(module)
    x = torch.linspace(-2, 3, len(weight), device=weight.device, dtype=weight.dtype)[None]
    with torch.inference_mode():  # a norm of another kind keeps its own code
        return norm if torch.allclose(norm(x), module(x), rtol=1e-2, atol=1e-2) else None
