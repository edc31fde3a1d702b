"""Models of real shapes with random weights: decoding costs what it costs, whatever they say."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pbranch.errors import ModelError, RequestError
from pbranch.format.markers import MarkerIds
from pbranch.hf.additive_mask import layer_windows
from pbranch.hf.base_models import locate
from pbranch.hf.load_model import load_model
from pinfer.bench.workload import Vocabulary

SHAPES: dict[str, dict[str, Any]] = {
    "0.5b": {  # Qwen2.5-0.5B
        "kind": "Qwen2Config",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "rope_theta": 1e6,
    },
    "qwen3-0.6b": {
        "kind": "Qwen3Config",
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "rope_theta": 1e6,
    },
    "0.1b": {
        "kind": "Qwen2Config",
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 32000,
    },
    "host": {  # next to no arithmetic: what is left is the time of the host
        "kind": "Qwen2Config",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 24,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 512,
    },
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def make_model(
    shape: str | None,
    folder: str | None,
    dtype: str,
    seed: int = 0,
    trust_remote_code: bool = False,
) -> Any:
    """A causal LM in evaluation mode: random weights of a named shape, or those of a folder."""
    if dtype not in DTYPES:
        raise RequestError(f"dtype {dtype!r}: expected {' or '.join(DTYPES)}")
    if folder is not None:
        path = locate(folder)
        if not Path(path).is_dir():
            raise RequestError(f"--model {folder}: no such folder")
        model = load_model(path, DTYPES[dtype], trust_remote_code=trust_remote_code)
    else:
        if shape not in SHAPES:
            raise RequestError(f"shape {shape!r}: expected {', '.join(SHAPES)}")
        model = random_model(SHAPES[shape], DTYPES[dtype], seed)
    check_mask(model)
    return model.eval()


def random_model(settings: dict[str, Any], dtype: torch.dtype, seed: int) -> Any:
    """Weights drawn as transformers draws them; embeddings tied to the head."""
    import transformers

    settings = {"max_position_embeddings": 32768, "tie_word_embeddings": True, **settings}
    config = getattr(transformers, settings.pop("kind"))(
        **settings, bos_token_id=None, eos_token_id=None, pad_token_id=None
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transformers.AutoModelForCausalLM.from_config(
            config, dtype=dtype, trust_remote_code=False
        )


def check_mask(model: Any) -> None:
    """ModelError where one mask does not serve all layers: the oracle would be wrong."""
    if any(layer_windows(model.config).values()):
        raise ModelError(
            f"{type(model).__name__}: the benchmark compares with one mask for all layers; "
            "expected a model without sliding windows"
        )


def share_weights(model: Any) -> Any:
    """A second model over the same parameters, which can be driven another way."""
    return copy.deepcopy(model, {id(p): p for p in model.parameters()})


def vocabulary(model: Any) -> Vocabulary:
    """The last seven ids of a model's vocabulary are its script's markers and end of text."""
    size = model.get_output_embeddings().weight.shape[0]
    first = size - 7
    if first < 2:
        raise ModelError(f"a vocabulary of {size} rows: expected more than 8")
    return Vocabulary(first, MarkerIds(*range(first, first + 6)), size - 1)


def weight_bytes(model: Any) -> int:
    """Bytes of the weights that a step reads: all but an embedding that is only looked up."""
    total = sum(p.nbytes for p in model.parameters())
    embedding: Tensor = model.get_input_embeddings().weight
    tied = embedding.data_ptr() == model.get_output_embeddings().weight.data_ptr()
    return total if tied else total - embedding.nbytes


def row_bytes(model: Any) -> int:
    """Bytes of one token's keys and values in all layers."""
    config = model.config.get_text_config()
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    kept = 2 * config.num_hidden_layers * config.num_key_value_heads * dim
    return kept * next(model.parameters()).element_size()
