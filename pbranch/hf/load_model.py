"""The one place that reads configuration, tokenizer and weights, from a folder or the Hub.

Python code that lies next to the weights is not run unless the caller trusts it. Weights that do
not fit the model are an error, where transformers alone would fill gaps with random numbers. Knows
no adapters and no markers.
"""

import functools
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from pbranch.errors import BranchError, ModelError, first_line, is_out_of_memory, is_panic
from pbranch.hf.config_sizes import refuse_oversize, refuse_wild_sizes
from pbranch.hf.mask_support import refuse_unmaskable

P = ParamSpec("P")
T = TypeVar("T")
NAMES_SHOWN = 3  # of the weights that an error is about
# where configurations name the context, the usual name first
_LENGTHS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length",
    "n_ctx", "model_max_length",
)  # fmt: skip


def load_config(path: str, trust_remote_code: bool = False) -> Any:
    """The model's configuration; ModelError where it cannot be read or masked."""
    from transformers import AutoConfig

    refuse_wild_sizes(path)
    with model_errors(path, "configuration"):
        config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
        refuse_unmaskable(config, path)
    return config


def context_length(config: Any) -> int | None:
    """Positions that a model is made for, its rope scaling counted; None where it names none.

    Of linear and dynamic scaling the configuration gives the length before it, of llama3 and
    longrope the one after it, and of yarn either.
    """
    text = config.get_text_config()
    named = (getattr(text, name, None) for name in _LENGTHS)
    length = next((n for n in named if isinstance(n, int) and n > 0), None)
    rope = getattr(text, "rope_parameters", None) or {}
    by_layer = isinstance(rope.get("full_attention"), dict)
    rope = rope["full_attention"] if by_layer else rope
    kind, factor = rope.get("rope_type"), rope.get("factor") or 1.0
    # models with rope by kind of layer (Gemma 3) give the length after linear scaling
    if length and kind in ("linear", "dynamic") and not by_layer:
        return int(length * factor)
    if length and kind == "yarn":
        return max(length, int((rope.get("original_max_position_embeddings") or length) * factor))
    return length


def vocabulary_size(tokenizer: Any) -> int:
    """Rows that an embedding needs: one more than the largest id, which is more than the number of
    tokens where ids have gaps."""
    return max(tokenizer.get_vocab().values(), default=-1) + 1


def load_tokenizer(path: str | Path, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a model or an adapter; ModelError where it cannot be read."""
    from transformers import AutoTokenizer

    with model_errors(path, "tokenizer"):
        return AutoTokenizer.from_pretrained(str(path), trust_remote_code=trust_remote_code)


def load_model(
    path: str,
    dtype: Any,
    *,
    trust_remote_code: bool = False,
    attention: str | None = None,
    quantization: Any = None,
    device_map: Any = None,
) -> Any:
    """A causal LM with exactly the weights of `path`, in evaluation mode.

    Args:
        path: a folder, or an id of the Hub.
        dtype: of the weights, a torch.dtype; `auto`: what the configuration says.
        trust_remote_code: whether Python code that comes with the model may run.
        attention: the name of an attention function that transformers knows.
        quantization: transformers' settings, see `four_bit`.
        device_map: where the weights go, as transformers takes it; None: to the CPU.

    Raises:
        ModelError: The model cannot be read or masked, or its code is not trusted. Or weights are
            missing, are not the model's, or have another shape: the message names the first.
    """
    from transformers import AutoModelForCausalLM

    config = load_config(path, trust_remote_code)
    refuse_oversize(path, config)
    kind = quantization_kind(config)
    hint = "" if kind is None else (
        f"; they are quantised ({kind}): expected the model that they were made of, or a GGUF file"
    )  # fmt: skip
    options = {
        "attn_implementation": attention,
        "quantization_config": quantization,
        "device_map": device_map,
    }
    options = {k: v for k, v in options.items() if v is not None}  # a None is not the default
    with model_errors(path, "weights", hint), without_load_report():
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            **options,
        )
    model, info = loaded
    refuse_misfits(path, info, hint)
    return model


def quantization_kind(config: Any) -> str | None:
    """How the weights in a model's files are quantised, as its configuration names it, if so."""
    for part in (config, config.get_text_config()):
        for key in ("quantization_config", "compression_config", "quantization"):
            if found := getattr(part, key, None):
                found = found if isinstance(found, dict) else found.to_dict()
                bits = found.get("bits") and f"{found['bits']} bit"
                return str(found.get("quant_method") or bits or "of an unknown kind")
    return None


def four_bit(kind: str, dtype: Any) -> Any:
    """transformers' settings of a base in 4 bit (nf4 or fp4) with doubly quantised scales, as in
    QLoRA (arXiv 2305.14314); products are in `dtype`. An adapter fits this rounding alone."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def describe_misfits(
    missing: Collection[str], unexpected: Collection[str], reshaped: Collection[str] = ()
) -> str:
    """How many weights do not fit, and the first of each kind by name; empty where all fit."""
    kinds = {"missing": missing, "not in the model": unexpected, "of another shape": reshaped}
    return "; ".join(
        f"{len(names)} {kind} ({_shorten(names)})" for kind, names in kinds.items() if names
    )


def refuse_misfits(path: str, info: dict[str, Any], hint: str = "") -> None:
    """ModelError, ending with `hint`, unless weights and model have the same names and shapes.

    `info` is transformers' own count: tied weights, and what a family is known to lack or to carry
    along (`_keys_to_ignore_on_load_*`), are not in it.
    """
    reshaped = [
        f"{name} {_spell(found)}, expected {_spell(expected)}"
        for name, found, expected in info["mismatched_keys"]
    ]
    misfits = describe_misfits(info["missing_keys"], info["unexpected_keys"], reshaped)
    if misfits:
        raise ModelError(f"model {path}: its weights do not fit its configuration: {misfits}{hint}")


def _shorten(names: Collection[str]) -> str:
    shown = sorted(names)[:NAMES_SHOWN]
    return ", ".join(shown) + (", …" if len(names) > len(shown) else "")


def _spell(shape: Collection[int]) -> str:
    return "x".join(map(str, shape))


@contextmanager
def model_errors(path: str | Path, what: str, hint: str = "") -> Iterator[None]:
    """What transformers raises about a model's files, which is of many kinds, as one ModelError
    that ends with `hint`."""
    try:
        yield
    except BranchError:
        raise
    except BaseException as e:
        if not (isinstance(e, Exception) or is_panic(e)) or is_out_of_memory(e):
            raise
        from pbranch.hf.hub import explain_hub  # which reads look-ahead files, and so this

        if not Path(path).is_dir() and (why := explain_hub(e)) is not None:
            raise ModelError(f"model {path}: no such folder, nor on the Hub: {why}") from e
        reason = first_line(e)
        if "trust_remote_code" in str(e):
            reason = (
                "Python code that comes with it would have to run; trust it by "
                "--trust-remote-code, or in a recipe by trust_remote_code: true"
            )
        raise ModelError(f"model {path}: cannot load its {what} ({reason}){hint}") from e


def refusing(function: Callable[P, T]) -> Callable[P, T]:
    """Decorates what is built from a stranger's files: an error that none of ours foresaw becomes a
    ModelError that names the first argument, a model, an adapter or a recipe."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except (BranchError, OSError):
            raise
        except Exception as e:
            if is_out_of_memory(e):
                raise  # who runs out of it knows what to lower
            first: Any = next((x for x in (*args, *kwargs.values()) if x is not None), "")
            name = getattr(first, "name_or_path", None) or getattr(first, "model", None) or first
            said = " ".join(str(e).split())[:300]
            raise ModelError(f"model {name}: cannot be used ({type(e).__name__}: {said})") from e

    return call


@contextmanager
def without_load_report() -> Iterator[None]:
    """Without transformers' table of weights that do not fit: the error says it in a line."""
    logger = logging.getLogger("transformers.modeling_utils")

    def keeps(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger.addFilter(keeps)
    try:
        yield
    finally:
        logger.removeFilter(keeps)
