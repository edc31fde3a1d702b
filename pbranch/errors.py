"""The one exception tree. A message says where, what was found and what was expected.

BranchError
├── MarkerError    a marker string clashes with the vocabulary, or ids are missing
├── FormatError    tagged text or a trace breaks the branch format (carries the text offset)
├── LayoutError    a trace cannot be laid out (length, tokens, dialect)
├── RecipeError    a recipe: unknown key, wrong type, not a mapping
├── DataError      a record or a data file is wrong (names file and line)
├── ModelError     a model or tokenizer we cannot mask, load or trust
├── AdapterError   an adapter that does not fit the model or this format version
├── TrainingError  a training run that cannot go on (memory, a loss that is no number)
├── HubError       the Hugging Face Hub refuses, or cannot be reached
└── RequestError   a prompt or a sampling parameter that can never be served
"""

from collections.abc import Sequence
from difflib import get_close_matches


def did_you_mean(found: str, known: Sequence[str], prefix: str = "") -> str:
    """The end of a message that names the nearest of the `known` words, or nothing."""
    near = get_close_matches(found, known, n=1, cutoff=0.4)
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def is_panic(error: BaseException) -> bool:
    """Whether Rust code, as that of tokenizers, gave up in a way that it did not foresee, such as
    on a pattern that takes for ever. Its class is no Exception, and cannot be imported."""
    return type(error).__name__ == "PanicException"


def first_line(error: BaseException) -> str:
    """What an error of a library says first; its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


OOM_PHRASES = (  # of torch, of cuBLAS, of the C library
    "out of memory",
    "DefaultCPUAllocator",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "Cannot allocate memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory left, in whatever words it says so."""
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or any(words in str(error) for words in OOM_PHRASES)


class BranchError(ValueError):
    """Base of all errors that a user can cause; a CLI prints it as one line and exits with 1."""


class MarkerError(BranchError):
    """A marker string clashes with the vocabulary, or its id is missing."""


class FormatError(BranchError):
    """Tagged text breaks the format; `offset` is the character at which it does."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message if offset is None else f"{message} (at character {offset})")
        self.offset = offset


class LayoutError(BranchError):
    """A trace cannot be laid out as a row of tokens."""


class RecipeError(BranchError):
    """A recipe has an unknown key, a value of the wrong type, or is not a mapping."""


class DataError(BranchError):
    """A record or a data file is wrong."""


class ModelError(BranchError):
    """A model or tokenizer that cannot be masked, loaded or trusted."""


class AdapterError(BranchError):
    """An adapter of another base model, format version or join."""


class TrainingError(BranchError):
    """A training run that cannot go on; raised by the processes that know why, not by all."""


class HubError(BranchError):
    """The Hugging Face Hub refuses what was asked, or cannot be reached."""


class RequestError(BranchError):
    """A prompt or parameter that can never be served."""
