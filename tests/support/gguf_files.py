"""Writes small random models as GGUF files, by gguf-py's writer, as llama.cpp's converter would."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind

CONTROL, NORMAL, UNUSED = 3, 1, 5  # kinds of tokens


def write_gguf(
    path: Path,
    model: Any,
    tokenizer: Any,
    kind: Kind = Kind.F32,
    more: Mapping[str, np.ndarray] | None = None,
    left_out: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """A Llama or Qwen2 model and its byte-level tokenizer as a GGUF file.

    kind: of its matrices; vectors are F32. more: further tensors; left_out: the name of a tensor
    that is not written; metadata: further keys, strings or numbers.
    """
    config, arch = model.config, model.config.model_type
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    head_dim = getattr(config, "head_dim", config.hidden_size // config.num_attention_heads)
    writer.add_rope_dimension_count(head_dim)
    for key, value in (metadata or {}).items():
        (writer.add_string if isinstance(value, str) else writer.add_uint16)(key, value)
    _add_tokenizer(writer, tokenizer, config.vocab_size)
    arch_key = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}[arch]
    names = gguf.get_tensor_name_map(arch_key, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        stem, _, leaf = name.rpartition(".")
        values = weight.float().numpy()
        if arch == "llama" and stem.endswith(("q_proj", "k_proj")):
            values = _interleave(values, config, stem.endswith("q_proj"))
        stored = f"{names.get_name(stem)}.{leaf}"
        if stored != left_out:
            own = kind if values.ndim == 2 else Kind.F32
            writer.add_tensor(stored, gguf.quants.quantize(values, own), raw_dtype=own)
    for name, values in (more or {}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _interleave(values: np.ndarray, config: Any, is_query: bool) -> np.ndarray:
    """Rows of a head as llama.cpp rotates them: pairs beside each other, not half a head apart."""
    heads = config.num_attention_heads if is_query else config.num_key_value_heads
    rows, columns = values.shape
    halves = values.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def _add_tokenizer(writer: Any, tokenizer: Any, rows: int) -> None:
    import json

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    by_id = {number: token for token, number in tokenizer.get_vocab().items()}
    special = {token["id"] for token in state["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([by_id.get(i, f"[PAD{i}]") for i in range(rows)])
    writer.add_token_types(
        [CONTROL if i in special else NORMAL if i in by_id else UNUSED for i in range(rows)]
    )
    writer.add_token_merges([" ".join(pair) for pair in state["model"]["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_chat_template(tokenizer.chat_template)
