"""CUDA graphs in miniature, on a CPU: the operators of a step are recorded with their very tensors,
and replayed on whatever these hold then. No line of Python runs again, so a step that depends on
anything but its buffers is found out."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pinfer.attention.varlen_kernels import Sequences
from tests.support.fake_varlen_kernel import fake_varlen_attn


class Tape(TorchDispatchMode):
    """Records operators while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[tuple[Any, tuple, dict, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.operators.append((func, args, kwargs or {}, found))
        return found

    def replay(self) -> None:
        """Run them again, into the tensors that they gave."""
        for func, args, kwargs, found in self.operators:
            held = {x.untyped_storage().data_ptr() for x in tensors((args, kwargs))}
            for old, new in zip(tensors(found), tensors(func(*args, **kwargs)), strict=True):
                if old.untyped_storage().data_ptr() not in held:  # else a view, or changed in place
                    old.copy_(new)


def tensors(x: Any) -> Iterator[Tensor]:
    """All tensors in nested arguments."""
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, list | tuple):
        for item in x:
            yield from tensors(item)
    elif isinstance(x, dict):
        yield from tensors(list(x.values()))


def tape(step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Captures a step as `CudaGraphModel` asks for it. What it gives meanwhile is spoilt: a graph
    computes nothing then."""
    recorder = Tape()
    with recorder:
        logits = step()
    logits.fill_(float("nan"))
    return recorder.replay, logits


@torch.library.custom_op("pinfer_tests::varlen", mutates_args=())
def _varlen(
    query: Tensor, keys: Tensor, values: Tensor, q: Tensor, k: Tensor, used: Tensor,
    max_q: int, max_k: int, scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    aux = type("Aux", (), {"lse": True})
    return fake_varlen_attn(
        query, keys, values, q, k, max_q, max_k, return_aux=aux, scale=scale, seqused_k=used,
        num_splits=1, dtypes=(torch.float64,),
    )  # fmt: skip


def varlen_operator(
    query: Tensor, keys: Tensor, values: Tensor, s: Sequences, scale: float
) -> tuple[Tensor, Tensor]:
    """The stand-in kernel as one operator, as a real one is; its log-sum-exp is (H, n)."""
    return _varlen(query, keys, values, s.q, s.k, s.used, s.max_q, s.max_k, scale)
