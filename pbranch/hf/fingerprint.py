"""Tells base models apart by a few weights of every tensor in their files.

Files rather than a loaded model: those are the same under any dtype, sharding or rounding to 4 bit.
"""

import hashlib
import logging
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from pbranch.errors import AdapterError, ModelError
from pbranch.files.json_file import read_json_object

# in the order in which transformers looks for them
SINGLE = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"
FORM = re.compile(r"2-(\d+)-[0-9a-f]{16}")
log = logging.getLogger(__name__)


class OfBase(Protocol):
    """What is trained for one base: a `BranchConfig`, or a look-ahead's config."""

    @property
    def base_model(self) -> str:
        """Its name."""

    @property
    def base_fingerprint(self) -> str:
        """As `fingerprint` gave it."""


def fingerprint(path: str, config: Any, rows: int | None = None) -> str:
    """Identifies the base at `path`: version of this form, vocabulary rows, and a hash.

    Of a matrix, one weight of each row and of each column goes into the hash, of a vector all of
    them. They are rounded to bfloat16, so that a copy saved in another dtype is the same base. A
    change that leaves those weights as they were is not noticed.

    Args:
        path: a folder, or an id of the Hub whose files are in the cache or can be fetched.
        config: the base's configuration, as transformers loads it.
        rows: how many rows of the vocabulary count; None: all.

    Raises:
        ModelError: There are no weights at `path`.
    """
    text = config.get_text_config()
    rows = text.vocab_size if rows is None else rows
    heads = text.num_attention_heads, getattr(text, "num_key_value_heads", None)
    parts = set()
    for name, weight in _tensors(path):
        if weight.ndim == 2 and len(weight) == text.vocab_size:
            # by its content alone: a tied head may be stored under its own name too, or not
            name, weight = "", weight[:rows]
        digest = hashlib.sha256(repr(tuple(weight.shape)).encode() + _sample(weight))
        parts.add((name, digest.hexdigest()))
    shape = text.model_type, text.num_hidden_layers, heads
    return f"2-{rows}-{hashlib.sha256(repr((shape, sorted(parts))).encode()).hexdigest()[:16]}"


def check_base(base: Any, config: OfBase, folder: Path, stored_as: Any = None) -> None:
    """Raise AdapterError unless `base`, as `load_model` gives it, is the one that the adapter in
    `folder` was made for. Rows that its vocabulary has grown by do not count. stored_as: the
    configuration in the base's files, where that of `base` has changed since."""
    stored = config.base_fingerprint
    form = FORM.fullmatch(stored)
    if form:
        files = stored_as or base.config
        own = files.get_text_config().vocab_size
        found = fingerprint(base.name_or_path, files, min(int(form[1]), own))
    else:  # an adapter that took hours stays usable, but not without a word
        found = _embedding_fingerprint(base)
    if found != stored:
        raise AdapterError(
            f"{folder}: made for base {config.base_model} (fingerprint {stored}), this base is "
            f"another one ({base.name_or_path}, {found})"
        )
    if not form:
        log.warning(
            "%s: its base_fingerprint is of an earlier release and tells bases apart by their "
            "embedding alone",
            folder,
        )


def _embedding_fingerprint(model: Any) -> str:
    """The first form: the shape, and 4 rows of the embedding."""
    import torch

    config = model.config.get_text_config()
    shape = [config.model_type, config.hidden_size, config.num_hidden_layers]
    rows = model.get_input_embeddings().weight[:4].detach()
    sample = rows.to(torch.bfloat16).float().cpu().numpy().tobytes()
    return hashlib.sha256(repr(shape).encode() + sample).hexdigest()[:16]


def _sample(weight: Any) -> bytes:
    """Weights on the diagonal, which goes on at the other side where it leaves the matrix."""
    import torch

    matrix = weight.reshape(-1, weight.shape[-1] if weight.ndim else 1)
    count = torch.arange(max(matrix.shape))
    values = matrix[count % matrix.shape[0], count % matrix.shape[1]]
    if values.is_floating_point():
        values = values.to(torch.bfloat16).view(torch.int16)
    return values.numpy().tobytes()


def _tensors(path: str) -> Iterator[tuple[str, Any]]:
    """(name, tensor) of all weights; only what is looked at is read from the disk."""
    import torch
    from safetensors import safe_open

    for file in weight_files(path):
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():
                    yield name, tensors.get_tensor(name)
        else:
            mapped = zipfile.is_zipfile(file)
            yield from torch.load(file, "cpu", weights_only=True, mmap=mapped).items()


def weight_files(path: str) -> list[Path]:
    """The files of a model's weights. Raises ModelError where there are none, or their index names
    none."""
    for name in SINGLE:
        if single := find_file(path, name):
            return [single]
        if index := find_file(path, name + INDEX):
            names = read_json_object(index, ModelError).get("weight_map")
            if not isinstance(names, dict) or not all(map(_is_name, names.values())):
                raise ModelError(f"{index}: weight_map is wrong, expected names of files")
            return [file for part in sorted(set(names.values())) if (file := find_file(path, part))]
    raise ModelError(f"model {path}: no weights; expected {SINGLE[0]}")


def _is_name(part: Any) -> bool:
    return isinstance(part, str) and Path(part).name == part


def find_file(path: str, name: str) -> Path | None:
    """File `name` of a model, a folder or a Hub id; None where it has none."""
    from transformers.utils import cached_file

    found = cached_file(
        path, name,
        _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_connection_errors=False,
    )  # fmt: skip
    return Path(found) if found else None
