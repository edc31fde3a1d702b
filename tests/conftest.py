"""Fixtures shared by all test packages: tokenizers trained on the spot, and tiny random models.

Nothing is downloaded. A session-scoped tokenizer is never changed: `add_markers` belongs on a copy.
"""

import copy
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("dev", deadline=None, max_examples=40, suppress_health_check=_QUIET)
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

MODEL_KINDS = ("qwen2", "qwen3", "llama", "mistral", "gemma3")

SENTENCES = [
    "Let me check each record. Nitin Sharma: 4.09, too high. Hallie Turner: 2.51, in range.",
    "Only Hallie Turner qualifies. name: Hallie Turner",
    "First, compute 12 + 30 = 42. Then 42 * 2 = 84, so the answer is 84.\n\nDone.\n",
    "Case 1: n is even, so n squared is even. Case 2: n is odd, so n squared is odd.",
    "The quick brown fox jumps over the lazy dog; 你好，世界。 Größe — naïve café.",
    'def check(x):\n    return x < 3  # "in range"\n',
]

CHAT_TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('unknown role ' + m['role']) }}{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def byte_tokenizer() -> Any:
    """Byte-level BPE trained on SENTENCES, with a template; a turn ends by <|im_end|>."""
    from tests.support.byte_tokenizer import train_byte_tokenizer

    return train_byte_tokenizer(SENTENCES, 380, CHAT_TEMPLATE)


def train_metaspace(prepend_scheme: str = "first", byte_fallback: bool = True) -> Any:
    """A tokenizer of the sentencepiece kind: `▁` for spaces, BOS by a post-processor, no template.

    Without byte_fallback characters outside SENTENCES are unknown, and line breaks may merge.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=byte_fallback))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme)
    bytes_ = [f"<0x{i:02X}>" for i in range(256)] if byte_fallback else []
    trainer = trainers.BpeTrainer(
        vocab_size=400 + len(bytes_),
        special_tokens=["<unk>", "<s>", "</s>", *bytes_],
        show_progress=False,
    )
    sentences = SENTENCES
    if byte_fallback:  # as in sentencepiece's models, a line break is a byte
        sentences = [s.replace("\n", " ") for s in SENTENCES]
    core.train_from_iterator(sentences, trainer)
    if byte_fallback:
        core = _bytes_as_pieces(core)
    core.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )


def _bytes_as_pieces(core: Any) -> Any:
    """The trainer marks the byte pieces as special tokens; they must be ordinary ones."""
    import json

    from tokenizers import Tokenizer

    state = json.loads(core.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if not t["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(state))


@pytest.fixture(scope="session")
def metaspace_tokenizer() -> Any:
    """Sentencepiece-like BPE with byte fallback; adds BOS <s>; has no chat template."""
    return train_metaspace()


@pytest.fixture(scope="session")
def marked_tokenizer(byte_tokenizer: Any) -> Any:
    """`byte_tokenizer` with the six markers."""
    from pbranch.format.markers import add_markers

    tokenizer = copy.deepcopy(byte_tokenizer)
    add_markers(tokenizer)
    return tokenizer


@pytest.fixture(scope="session")
def marker_ids(marked_tokenizer: Any) -> Any:
    """Ids of the markers in `marked_tokenizer`."""
    from pbranch.format.markers import find_markers

    return find_markers(marked_tokenizer)


@pytest.fixture(scope="session")
def make_model() -> Any:
    """The factory `make_model(kind, tokenizer, seed=0, std=0.3, **config)`; see `build_model`."""
    import torch

    torch.set_num_threads(1)  # models this small only lose by sharing their work
    return build_model


def build_model(
    kind: str, tokenizer: Any, *, seed: int = 0, std: float = 0.3, **overrides: Any
) -> Any:
    """A tiny random model of one of MODEL_KINDS, float32, in evaluation mode, from a seed.

    The vocabulary has rows to spare, so markers fit without resizing. Weights are drawn wide
    (`std`): gaps between the best two logits are far above rounding.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config = _config(kind, tokenizer, std, overrides)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # from_config writes into the config that it is given
        model = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=torch.float32)
    if kind in ("gemma2", "gemma3"):  # their scaled embeddings would drown the layers
        for name, weight in model.named_parameters():
            if "post_" in name and "layernorm" in name:
                weight.data += 4.0
    return model.eval()


def _config(kind: str, tokenizer: Any, std: float, overrides: dict[str, Any]) -> Any:
    import transformers

    classes = {
        "qwen2": "Qwen2Config",
        "qwen3": "Qwen3Config",
        "llama": "LlamaConfig",
        "mistral": "MistralConfig",
        "gemma3": "Gemma3TextConfig",
        "gemma4": "Gemma4TextConfig",
        "gemma2": "Gemma2Config",
        "phi3": "Phi3Config",
    }
    special: dict[str, dict[str, Any]] = {
        "qwen2": {"tie_word_embeddings": True},
        "qwen3": {"tie_word_embeddings": True, "head_dim": 16},
        "llama": {"tie_word_embeddings": False},
        "mistral": {"tie_word_embeddings": False, "sliding_window": 8, "head_dim": 16},
        "gemma3": {
            "tie_word_embeddings": True,
            "sliding_window": 8,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "num_hidden_layers": 3,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
        "gemma4": {  # heads of two sizes
            "sliding_window": 8,
            "head_dim": 16,
            "global_head_dim": 32,
            "hidden_size_per_layer_input": 0,
            "num_kv_shared_layers": 0,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        "gemma2": {
            "sliding_window": 8,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "attn_logit_softcapping": 1.5,
            "final_logit_softcapping": 50.0,
        },
        "phi3": {"tie_word_embeddings": False, "sliding_window": 8},
    }
    base = {
        "vocab_size": (len(tokenizer) + 16 + 63) // 64 * 64,
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "initializer_range": std,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None,  # its row would be drawn as zeros
    }
    if kind in ("qwen2", "llama"):
        base["hidden_size"] = 64  # head_dim is hidden_size / num_attention_heads
    return getattr(transformers, classes[kind])(**{**base, **special[kind], **overrides})
