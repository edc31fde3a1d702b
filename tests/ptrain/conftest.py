"""Small random models of several families, a byte-level tokenizer, and traces to train on."""

import copy
import json
import random
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from pbranch import Fork, make_trace, render
from tests.conftest import CHAT_TEMPLATE
from tests.support.byte_tokenizer import train_byte_tokenizer

torch.set_num_threads(1)  # models this small only lose by more

WORDS = "low high fits not record value check then so all sum equals seven nine".split()


def make_tokenizer() -> PreTrainedTokenizerFast:
    """The byte-level tokenizer of all tests, trained on a few words."""
    return train_byte_tokenizer([" ".join(WORDS)] * 20, 320, CHAT_TEMPLATE)


SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "head_dim": 16,  # the least that FlexAttention takes on a GPU
}
CONFIGS = {
    "qwen2": lambda v: Qwen2Config(vocab_size=v, tie_word_embeddings=True, **SHAPE),
    "qwen3": lambda v: Qwen3Config(vocab_size=v, tie_word_embeddings=True, **SHAPE),
    "llama": lambda v: LlamaConfig(vocab_size=v, tie_word_embeddings=False, **SHAPE),
    "mistral": lambda v: MistralConfig(
        vocab_size=v, sliding_window=24, tie_word_embeddings=False, **SHAPE
    ),
    "gemma3": lambda v: Gemma3TextConfig(
        vocab_size=v,
        sliding_window=24,
        layer_types=["sliding_attention", "full_attention"],
        query_pre_attn_scalar=8,
        tie_word_embeddings=True,
        **SHAPE,
    ),
    "gemma2": lambda v: Gemma2Config(
        vocab_size=v,
        sliding_window=24,
        query_pre_attn_scalar=8,
        attn_logit_softcapping=2.0,
        tie_word_embeddings=True,
        **SHAPE,
    ),
}
FAMILIES = list(CONFIGS)


def make_base(folder: Path, family: str = "qwen3", spare: int = 16) -> Path:
    """A random base in `folder`, with `spare` vocabulary rows beyond its tokenizer."""
    tokenizer = make_tokenizer()
    config = copy.deepcopy(CONFIGS[family](len(tokenizer) + spare))
    config.eos_token_id, config.pad_token_id, config.bos_token_id = 2, 0, None
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():  # the usual 0.02 makes logits too flat to compare
        if parameter.ndim > 1:
            parameter.data.normal_(0, 0.15)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def random_trace(rng: random.Random, depth: int = 2, least: int = 1):
    """A trace with up to `depth` levels of forks, or none; a fork has `least` branches or more."""

    def text() -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(1, 6)))

    parts = [text() + ": "]
    for _ in range(rng.randint(0, 2) if depth else 0):
        topics = tuple(rng.sample(WORDS, rng.randint(least, 3)))
        branches = tuple(
            make_trace(topic + " " + text(), *random_trace(rng, depth - 1, least).parts)
            for topic in topics
        )
        parts += [Fork(topics, branches), text()]
    return make_trace(*parts)


def make_records(n: int, seed: int = 0, depth: int = 2) -> list[dict]:
    """Trace records, forked and not, that `pdata check` accepts."""
    rng = random.Random(seed)
    return [
        {
            "id": str(i),
            "messages": [{"role": "user", "content": f"{i} " + " ".join(rng.choices(WORDS, k=4))}],
            "completion": render(random_trace(rng, depth, least=2)),
            "answer": None,
            "answer_ok": None,
            "source": "test",
            "meta": {},
            "schema": 1,
        }
        for i in range(n)
    ]


def write_records(path: Path, records: list[dict]) -> Path:
    """A trace file."""
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def bases(tmp_path_factory) -> dict[str, Path]:
    """A base folder by family; `wide` has no spare vocabulary rows, so it must be resized."""
    root = tmp_path_factory.mktemp("bases")
    folders = {family: make_base(root / family, family) for family in FAMILIES}
    folders["wide"] = make_base(root / "wide", "llama", spare=0)
    return folders


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A file of 40 traces."""
    return write_records(tmp_path_factory.mktemp("data") / "traces.jsonl", make_records(40))
