"""The step loop over a loaded model: backend, forward, sampler, and memory for its cache."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch

from pbranch.errors import ModelError
from pbranch.format.grammar import legal_table
from pbranch.hf.load_model import refusing
from pinfer.attention.backend import get_backend
from pinfer.core import Core
from pinfer.drafting.auto import find_lookahead
from pinfer.drafting.draft import DraftSource, Follower
from pinfer.eviction.options import KVOptions
from pinfer.kv_cache.budget import cached_rows
from pinfer.model_spec import ModelSpec
from pinfer.models.cuda_graphs import with_cuda_graphs
from pinfer.models.fast import FAMILY
from pinfer.models.general import GeneralModel
from pinfer.models.probe import choose_path, make_batch_invariant
from pinfer.params import EngineLimits
from pinfer.sampling.sampler import Sampler


@refusing
def build_core(
    model: Any,
    spec: ModelSpec,
    known: Iterable[int],
    attention: str = "auto",
    limits: EngineLimits | None = None,
    path: str = "auto",
    owned: bool = False,
    source: DraftSource | None = None,
    kv: KVOptions | None = None,
    batch_invariant: bool = False,
) -> Core:
    """Over a causal LM. known: ids that have text; attention: see `get_backend`; path, owned: see
    `choose_path`; source: of drafts; kv: see `Core.build`; batch_invariant: see
    `make_batch_invariant`. ModelError where the probe finds that the model would decode wrongly."""
    cache_dtype = torch.float64 if batch_invariant else None
    backend = get_backend(attention, model.device, cache_dtype or model.dtype)
    size = model.get_output_embeddings().weight.shape[0]
    rows = model.get_input_embeddings().weight.shape[0]  # what is sampled has to be fed
    forward, token_bytes = choose_path(model, backend, path, owned)
    if cache_dtype is not None:
        token_bytes = make_batch_invariant(model, forward, backend, cache_dtype)
    lookahead = find_lookahead(source)
    if lookahead and lookahead.layers and type(forward) is GeneralModel:
        raise ModelError(
            f"draft lookahead: its LoRA needs the fast path, which serves {', '.join(FAMILY)}; "
            "expected one of these, or a look-ahead trained with lookahead.r: 0"
        )
    limits = limits or EngineLimits()
    if isinstance(source, Follower):
        token_bytes += sum(follower.token_bytes for follower in source.followers())
    if kv is not None:  # of each page two vectors beside its keys and values
        token_bytes += math.ceil(token_bytes / kv.page)
    limits = replace(limits, max_kv_rows=cached_rows(limits, token_bytes, forward.device))
    table = legal_table(spec.markers, spec.end_of_text, size, (i for i in known if i < rows))
    sampler = Sampler(torch.from_numpy(table).to(forward.device))
    forward = with_cuda_graphs(forward, backend)
    return Core.build(
        forward, backend, spec, sampler, limits, kv=kv, source=source, cache_dtype=cache_dtype
    )
