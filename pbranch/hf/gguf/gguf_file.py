"""GGUF files: which names mean one, where the file lies, and which files are refused.

Reads headers, no weights. A file whose header says something that transformers would pass over in
silence is refused too, because the model would be another one.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pbranch.errors import HubError, ModelError
from pbranch.hf.config_sizes import refuse_wild_numbers
from pbranch.hf.hub import find_file

SUFFIX = ".gguf"
MAGIC = b"GGUF"


def is_gguf(name: str) -> bool:
    """Whether a model's name means a GGUF file: `FILE.gguf`, or `REPO_ID:FILE.gguf` on the Hub."""
    return name.lower().endswith(SUFFIX) and not Path(name).is_dir()


def repository_of(name: str) -> str | None:
    """The Hub id in `REPO_ID:FILE.gguf`; None for a file of this machine."""
    repo_id, colon, _ = name.partition(":")
    is_local = name.startswith((".", "/", "~")) or Path(name).is_file()
    return repo_id if colon and not is_local else None


def find_gguf(name: str) -> Path:
    """The file, downloaded first where it is on the Hub; ModelError where it cannot be had."""
    repo_id = repository_of(name)
    if repo_id is None:
        if not Path(name).is_file():
            raise ModelError(
                f"model {name}: no such file; expected FILE.gguf, or REPO_ID:FILE.gguf on the Hub"
            )
        return Path(name).absolute()
    inside = name.removeprefix(f"{repo_id}:")
    try:
        found = find_file(repo_id, inside)
    except HubError as e:
        raise ModelError(f"model {e}") from e
    if found is None:
        raise ModelError(f"model {name}: the repository {repo_id} has no file {inside}")
    return found


def read_header(file: Path) -> Any:
    """A gguf.GGUFReader of `file`: metadata by key, and type, shape and place of each tensor.

    Raises ModelError where the package is missing, where `file` is no whole GGUF file, or where it
    cannot be read as the model that it is.
    """
    if find_spec("gguf") is None:
        raise ModelError(
            f"model {file}: a GGUF file needs the package gguf, which is not installed; expected "
            "pip install 'parallel-branches[gguf]'"
        )
    with file.open("rb") as opened:
        start = opened.read(len(MAGIC))
    if start != MAGIC:
        raise ModelError(f"model {file}: not a GGUF file, it begins with {start!r}")
    try:
        reader = _open(file)
        refuse_unreadable(file, reader)
    except ModelError:
        raise
    except Exception as e:  # IndexError, ValueError, OverflowError …: whatever stands in the bytes
        raise ModelError(
            f"model {file}: not a whole GGUF file, or of a newer kind ({type(e).__name__}: {e})"
        ) from e
    return reader


def _open(file: Path) -> Any:
    import numpy as np
    from gguf import GGUFReader

    class PlainReader(GGUFReader):
        """Takes values out of the mapped file as plain arrays: a slice of a numpy.memmap costs many
        times as much, and the header of a vocabulary of 150,000 tokens is 750,000 of them."""

        def _get(self, offset: Any, dtype: Any, count: Any = 1, override_order: Any = None) -> Any:
            found = np.frombuffer(self.data, dtype, int(count), int(offset))
            order = override_order or self.byte_order
            return found if order == "I" else found.view(found.dtype.newbyteorder(order))

    return PlainReader(file)


def refuse_unreadable(file: Path, reader: Any) -> None:
    """ModelError unless all of the file can be read, and is what makes the model."""
    from gguf import GGMLQuantizationType

    from pbranch.hf.gguf.dequantize import is_known

    if reader.byte_order != "I":
        raise ModelError(f"model {file}: written in the other byte order; expected little-endian")
    parts = _value(reader, "split.count")
    if parts is not None and parts > 1:
        raise ModelError(
            f"model {file}: one of {parts} parts; expected one file (llama-gguf-split --merge)"
        )
    for tensor in reader.tensors:
        if not is_known(tensor.tensor_type):
            known = ", ".join(kind.name for kind in GGMLQuantizationType if is_known(kind))
            raise ModelError(
                f"model {file}: tensor {tensor.name} is of type {tensor.tensor_type.name}, which "
                f"cannot be read; expected {known}"
            )
    architecture = f"{_value(reader, 'general.architecture')}."
    own = {k: _number(f) for k, f in reader.fields.items() if k.startswith(architecture)}
    refuse_wild_numbers(f"model {file}", ((k, n) for k, n in own.items() if n is not None))
    if (blocks := own.get(f"{architecture}block_count") or 0) > len(reader.tensors):
        raise ModelError(f"model {file}: {blocks} blocks, with {len(reader.tensors)} tensors")
    factors = (tensor.name for tensor in reader.tensors if tensor.name.startswith("rope_"))
    scaling = _value(reader, f"{architecture}rope.scaling.type")
    found = next(factors, scaling)  # Llama 3.1 has a tensor, others a key
    if found not in (None, "none"):
        raise ModelError(
            f"model {file}: scales its rotary frequencies ({found}), which transformers does not "
            "read from a GGUF file"
        )


def _value(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _number(field: Any) -> int | None:
    """The value of a key that is a single whole number."""
    value = field.contents() if len(field.types) == 1 else None
    return value if type(value) is int else None
