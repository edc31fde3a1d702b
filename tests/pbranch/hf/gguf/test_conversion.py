"""A converted folder is the model of the file: the same weights, head, configuration, tokenizer."""

import json

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, modeling_gguf_pytorch_utils

from pbranch.errors import ModelError
from pbranch.hf.base_models import locate
from pbranch.hf.load_model import load_model, load_tokenizer
from tests.conftest import SENTENCES
from tests.support.gguf_files import write_gguf

KINDS = [Kind.F32, Kind.F16, Kind.Q8_0, Kind.Q4_0, Kind.Q4_1]


def stored(folder):
    return load_file(f"{folder}/model.safetensors")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_weights_are_those_that_transformers_loads(
    family, kind, make_model, byte_tokenizer, tmp_path
):
    file = write_gguf(tmp_path / "m.gguf", make_model(family, byte_tokenizer), byte_tokenizer, kind)
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="m.gguf", dtype=torch.bfloat16
    ).state_dict()
    ours = stored(locate(str(file)))
    tied = family == "qwen2"
    assert set(theirs) - set(ours) == ({"lm_head.weight"} if tied else set())
    for name, weight in ours.items():
        assert weight.dtype == torch.bfloat16 and torch.equal(weight, theirs[name]), name
    config = json.loads((tmp_path / locate(str(file)) / "config.json").read_text())
    assert config["tie_word_embeddings"] == tied and config["dtype"] == "bfloat16"
    assert "quantization_config" not in config


def test_a_file_in_float32_gives_the_model_that_it_was_written_from(llama, llama_file):
    loaded = load_model(locate(str(llama_file)), torch.bfloat16)
    for name, weight in llama.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight.bfloat16()), name
    assert loaded.generation_config.eos_token_id == llama.config.eos_token_id


def test_the_tokenizer_is_the_one_in_the_file(llama_file, byte_tokenizer):
    tokenizer = load_tokenizer(locate(str(llama_file)))
    text = "\n".join(SENTENCES) + "<|im_end|>"
    assert tokenizer.encode(text) == byte_tokenizer.encode(text)
    assert tokenizer.chat_template == byte_tokenizer.chat_template
    assert tokenizer.eos_token == byte_tokenizer.eos_token
    theirs = AutoTokenizer.from_pretrained(llama_file.parent, gguf_file=llama_file.name)
    assert tokenizer.get_vocab() == theirs.get_vocab()


def test_a_file_of_the_same_name_in_the_current_folder_is_another(
    llama_file, tmp_path, monkeypatch
):
    (tmp_path / llama_file.name).write_text("not this one")
    monkeypatch.chdir(tmp_path)
    assert stored(locate(str(llama_file)))


def test_gguf_py_is_left_as_it_was(llama_file, tmp_path, llama, byte_tokenizer):
    names = ("GGUFReader", "dequantize", "get_tensor_name_map")
    before = [getattr(gguf, name) for name in names] + [modeling_gguf_pytorch_utils.tqdm]
    locate(str(llama_file))
    broken = write_gguf(tmp_path / "b.gguf", llama, byte_tokenizer, left_out="blk.1.ffn_up.weight")
    with pytest.raises(ModelError):
        locate(str(broken))
    assert before == [getattr(gguf, name) for name in names] + [modeling_gguf_pytorch_utils.tqdm]


REFUSED = {
    "a weight less": (
        {"left_out": "blk.1.ffn_up.weight"},
        r"1 missing \(model\.layers\.1\.mlp\.up_proj\.weight\)",
    ),
    "a weight more": (
        {"more": {"blk.0.attn_q.bias": np.ones(64, np.float32)}},
        r"holds [\d,]+ weights, of which transformers reads [\d,]+ as LlamaForCausalLM",
    ),
    "another shape": (
        {"left_out": "output_norm.weight", "more": {"output_norm.weight": np.ones(3, np.float32)}},
        r"1 of another shape \(model\.norm\.weight 3, expected 64\)",
    ),
    "integers": (
        {"more": {"blk.0.counts": np.ones(32, np.int8)}},
        r"tensor blk\.0\.counts is of type I8, which cannot be read; expected F32, F16, Q4_0",
    ),
    "frequencies": (
        {"more": {"rope_freqs.weight": np.ones(8, np.float32)}},
        r"scales its rotary frequencies \(rope_freqs\.weight\)",
    ),
    "scaling": (
        {"metadata": {"llama.rope.scaling.type": "yarn"}},
        r"scales its rotary frequencies \(yarn\)",
    ),
    "a part": ({"metadata": {"split.count": 3}}, "one of 3 parts; expected one file"),
}


@pytest.mark.parametrize("spoil, said", REFUSED.values(), ids=REFUSED)
def test_what_would_be_another_model_is_refused(
    spoil, said, llama, byte_tokenizer, tmp_path, cache
):
    file = write_gguf(tmp_path / "m.gguf", llama, byte_tokenizer, **spoil)
    with pytest.raises(ModelError, match=said) as caught:
        locate(str(file))
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    assert not list(cache.rglob("*.safetensors"))


def test_a_family_that_transformers_does_not_read_is_refused(llama_file, tmp_path):
    value = b"\x05\0\0\0\0\0\0\0"  # before a text of five characters
    file = tmp_path / "m.gguf"
    file.write_bytes(llama_file.read_bytes().replace(value + b"llama", value + b"magic"))
    with pytest.raises(ModelError, match="architecture magic is not supported") as caught:
        locate(str(file))
    assert "\n" not in str(caught.value)
