"""Writes a GGUF file as a Hugging Face folder: bfloat16 weights, configuration and tokenizer.

transformers knows names, shapes, order of rows and the tokenizer. What is added here is speed, and
that nothing is left out in silence.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pbranch import console
from pbranch.errors import ModelError
from pbranch.files.atomic import atomic_folder
from pbranch.hf.config_sizes import refuse_oversize
from pbranch.hf.gguf.dequantize import dequantize
from pbranch.hf.gguf.gguf_file import read_header
from pbranch.hf.load_model import model_errors, refuse_misfits, without_load_report
from pbranch.hf.mask_support import refuse_unmaskable

# long, and of the tokenizer, for which transformers has a fast reader of its own
UNASKED = [f"tokenizer.ggml.{name}" for name in ("merges", "token_type", "scores")]


def convert(file: Path, folder: Path) -> None:
    """Write `folder`, whole or not at all. In memory are at most the weights in bfloat16, and one
    tensor in float32 with a copy. ModelError on a file that cannot be read, or a full disk."""
    from safetensors import SafetensorError

    reader = read_header(file)
    console.say(f"{file.name}: read once, {len(reader.tensors)} tensors, into {folder}")
    with console.progress(file.name, len(reader.tensors)) as advance:
        model, tokenizer = read_model(file, reader, advance)
    try:
        with atomic_folder(folder) as part:
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
    except (OSError, SafetensorError) as e:
        raise ModelError(f"{folder}: cannot be written ({e})") from e


def read_model(file: Path, reader: Any, advance: Callable[[], None]) -> tuple[Any, Any]:
    """The model in bfloat16 and its tokenizer. reader: of `read_header`; advance: called at each
    tensor. Raises ModelError where file and model do not have the same weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    # an absolute path: transformers prefers a file of that name in the current folder
    place = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": str(file)}
    with _fast_reading(reader, advance), without_load_report():
        with model_errors(file, "configuration"):
            config = AutoConfig.from_pretrained(**place, trust_remote_code=False)
        refuse_unmaskable(config, str(file))
        sizes = [int(tensor.n_elements) for tensor in reader.tensors]
        refuse_oversize(str(file), config, (max(sizes, default=0), len(sizes)))
        with model_errors(file, "weights"):
            from transformers import GgufConfig  # which an older release lacks

            loaded: Any = AutoModelForCausalLM.from_pretrained(
                **place,
                trust_remote_code=False,  # a file next to it may name some
                config=config,
                dtype=torch.bfloat16,
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
            )
        model, info = loaded
        refuse_misfits(str(file), info)
        with model_errors(file, "tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(**place, trust_remote_code=False)
    # transformers passes over tensors that it has no name for
    stored = sum(sizes)
    used = sum(weight.numel() for weight in model.parameters())
    if stored != used:
        raise ModelError(
            f"model {file}: holds {stored:,} weights, of which transformers reads {used:,} as "
            f"{type(model).__name__}"
        )
    return model, tokenizer


@contextmanager
def _fast_reading(reader: Any, advance: Callable[[], None]) -> Iterator[None]:
    """Within it, what transformers takes from gguf-py is fast: the file's header, which it reads
    once for each of configuration, weights and tokenizer; the table of names, which it builds for
    each module of the model; and the values. A release that asks for none of these is slower, and
    nothing else."""
    import gguf
    from transformers import modeling_gguf_pytorch_utils as reading

    for key in UNASKED:  # or each value would be looked at three times, one by one
        reader.fields.pop(key, None)

    def values(data: Any, kind: Any) -> Any:
        advance()
        return dequantize(data, kind)

    changes = [
        (gguf, "GGUFReader", lambda path: reader),
        (gguf, "get_tensor_name_map", functools.cache(gguf.get_tensor_name_map)),
        (gguf, "dequantize", values),
        (reading, "tqdm", lambda tensors, **_: tensors),  # a bar even where stderr is a file
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in changes]
    for module, name, value in changes:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
