"""Whether the sizes in a configuration are those of the weights next to it.

transformers takes memory for what a configuration says before it looks at the weights, and makes as
many layers. Weights of other shapes are refused anyway: here, before anything is made.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pbranch.errors import ModelError
from pbranch.files.json_file import read_json_object
from pbranch.hf.fingerprint import find_file, weight_files

MOST = 1 << 16  # layers, experts, heads: the largest models have hundreds
# as transformers names them, and GGUF files
COUNTS = re.compile(
    r"(num|n)_.*(layer|head|expert)s?(_.*)?|layers?|n_(layer|head)"
    r"|(block|head|expert)(_.*)?_count(_.*)?"
)
ALLOWED = 1 << 28  # numbers of a matrix that may be made in any case: its name is said afterwards
LARGEST = 1 << 31  # of any other number: sizes, ids, positions
FREE = re.compile(r".*(position|length|window|token|seed|theta|context).*")  # which cost nothing


def refuse_wild_sizes(path: str) -> None:
    """ModelError on a number in config.json that no model has. `path`: a folder or Hub id."""
    try:
        file = find_file(path, "config.json")
        stored = read_json_object(file, ModelError) if file else {}
        numbers = list(_numbers(stored))
    except Exception:  # whatever it is, transformers says it
        return
    refuse_wild_numbers(f"model {path}: config.json", numbers)


def refuse_wild_numbers(where: str, numbers: Iterable[tuple[str, int]]) -> None:
    """ModelError on one, given by its key, that no model has. where: begins the message."""
    for key, value in numbers:
        name = key.rpartition(".")[2]
        most = MOST if COUNTS.fullmatch(name) else LARGEST
        if abs(value) > most and not FREE.fullmatch(name):
            raise ModelError(f"{where}: {key} is {value:.3g}, more than {most:,}")


def config_value(config: Any, name: str) -> Any:
    """A value of a transformers configuration; None where there is none, and where each layer has
    its own, as heads of Gemma 4 have."""
    try:
        return getattr(config, name, None)
    except RuntimeError:  # AmbiguousGlobalPerLayerAttributeError
        return None


def _numbers(value: Any, key: str = "") -> Iterator[tuple[str, int]]:
    """(key, number) of all integers, however deep."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _numbers(item, f"{key}.{name}" if key else name)
    elif type(value) is int:
        yield key, value


def refuse_oversize(path: str, config: Any, measured: tuple[int, int] | None = None) -> None:
    """ModelError where the model would have a huge matrix, larger than any in its files, or more
    layers than these hold tensors.

    measured: numbers in the largest of its tensors, and how many there are; None: of the files in
    `path`, where those are safetensors that are not quantised, else nothing is refused.
    """
    if measured is None and getattr(config, "quantization_config", None):
        return
    largest, count = measured or _measure(path)
    if not largest:
        return
    text = config.get_text_config()

    def size(*names: str) -> int:
        value = next((v for n in names if (v := config_value(text, n))), 0)
        return value if type(value) is int else 0

    layers, width = size("num_hidden_layers"), size("hidden_size")
    if layers > count:
        raise ModelError(f"model {path}: num_hidden_layers is {layers}, with {count} weights")
    head = size("head_dim") or 1
    sizes = {name: size(name) for name in ("vocab_size", "intermediate_size")}
    sizes |= {name: head * size(name) for name in ("num_attention_heads", "num_key_value_heads")}
    for name, rows in sizes.items():
        if rows * width > max(largest, ALLOWED):
            raise ModelError(
                f"model {path}: its {name} and hidden_size make a matrix of {rows} x {width}; the "
                f"largest of its weights has {largest} numbers"
            )


def _measure(path: str) -> tuple[int, int]:
    """Numbers in the largest tensor, and how many tensors there are; zeros where unknown."""
    from safetensors import SafetensorError, safe_open

    largest = count = 0
    try:
        for file in weight_files(path):
            if Path(file).suffix != ".safetensors":
                return 0, 0
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():
                    numel = 1
                    for n in tensors.get_slice(name).get_shape():
                        numel *= n
                    largest, count = max(largest, numel), count + 1
    except (ModelError, OSError, SafetensorError, json.JSONDecodeError, KeyError, TypeError):
        return 0, 0  # what is wrong with the weights, transformers says
    return largest, count
