"""How many positions a model is made for, under the names and scalings that configurations have."""

from typing import Any

import pytest

from pbranch.hf.load_model import context_length


@pytest.mark.parametrize(
    ("rope", "length"),
    [
        (None, 4096),
        ({"rope_type": "linear", "factor": 4.0}, 16384),
        ({"rope_type": "dynamic", "factor": 2.0}, 8192),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}, 16384),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}, 4096),
        ({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 512}, 4096),
    ],
)  # fmt: skip
def test_context_counts_rope_scaling(rope, length):
    from transformers import LlamaConfig

    scaling = {"rope_parameters": {"rope_theta": 10000.0, **rope}} if rope else {}
    assert context_length(LlamaConfig(max_position_embeddings=4096, **scaling)) == length


@pytest.mark.parametrize(
    ("model_type", "values", "length"),
    [
        ("gpt2", {"n_positions": 77}, 77),
        ("mpt", {"max_seq_len": 78}, 78),
        ("bloom", {"seq_length": 79}, 79),
        ("bloom", {}, None),
    ],
)
def test_the_context_has_several_names(model_type: str, values: Any, length: int | None) -> None:
    from transformers import AutoConfig

    assert context_length(AutoConfig.for_model(model_type, **values)) == length


def test_rope_by_kind_of_layer():
    from transformers import Gemma3TextConfig

    plain = {"rope_type": "default", "rope_theta": 1e4}
    yarn = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}
    yarn |= {"original_max_position_embeddings": 512}
    linear = {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}  # the length is after it
    for full, length in ((yarn, 2048), (linear, 512)):
        rope = {"full_attention": full, "sliding_attention": plain}
        config = Gemma3TextConfig(max_position_embeddings=512, rope_parameters=rope)
        assert context_length(config) == length
