"""The probe at load time: accepts models that can be driven, refuses ones that would be wrong."""

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from pbranch.errors import ModelError
from pinfer.attention import transformers_hook
from pinfer.attention.backend import get_backend
from pinfer.execution import pass_plan
from pinfer.models.probe import probe
from tests.conftest import MODEL_KINDS
from tests.support.toy_engine import LetterTokenizer, build_model

torch.set_num_threads(1)
SDPA = get_backend("sdpa")
TINY = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def make(name, **values):
    config = getattr(transformers, name)(**{**TINY, **values})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("backend", ["sdpa", "dense"])
@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_the_five_families_pass(kind, backend):
    model = build_model(kind, LetterTokenizer(), vocab_size=64)
    before = model.config._attn_implementation
    probe(model, get_backend(backend))
    assert model.config._attn_implementation == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_passes(dtype):
    probe(build_model("qwen3", LetterTokenizer(), vocab_size=64, std=0.05).to(dtype), SDPA)


MORE = {
    "Gemma2Config": {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 8},  # soft cap
    "Qwen3MoeConfig": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "MixtralConfig": {"num_local_experts": 4},
    "Phi3Config": {},
    "Olmo2Config": {},
    "GPT2Config": {"n_embd": 32, "n_layer": 2, "n_head": 4},  # learned positions
    # heads of two sizes; the last layers take keys and values of others
    "Gemma4TextConfig": {
        "head_dim": 8,
        "global_head_dim": 16,
        "num_global_key_value_heads": 1,
        "num_hidden_layers": 6,
        "num_kv_shared_layers": 2,
        "layer_types": ["sliding_attention", "full_attention"] * 3,
        "sliding_window": 8,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 64,
    },
}


@pytest.mark.parametrize("name", MORE)
def test_other_decoders_pass(name):
    probe(make(name, **MORE[name]), SDPA)


WRONG = {
    "BloomConfig": "no keys and values",  # its attention cannot be replaced
    "StableLmConfig": "gets no view",  # its code drops our keywords
    "GptOssConfig": "attention sinks",
    "PhimoeConfig": "masked by a window of 8, of which its attention is not told",
    "DogeConfig": "a mask of the model's own",
    "DiffLlamaConfig": "differs from plain decoding",  # changes values beside the function
}


@pytest.mark.parametrize("name", WRONG)
def test_decoders_that_would_be_wrong_are_refused(name):
    extra = {"num_local_experts": 4, "num_experts_per_tok": 2} if "Oss" in name else {}
    extra |= {"n_layer": 2, "n_head": 4} if "Bloom" in name else {}
    extra |= {"num_local_experts": 4, "sliding_window": 8} if "Phimoe" in name else {}
    with pytest.raises(ModelError, match=WRONG[name]) as error:
        probe(make(name, **extra), SDPA)
    assert "\n" not in str(error.value)


def test_a_window_as_long_as_the_context_is_no_obstacle():
    experts = {"num_local_experts": 4, "max_position_embeddings": 64}
    probe(make("PhimoeConfig", **experts, sliding_window=64), SDPA)


@pytest.mark.parametrize(
    "breakage",
    [
        "leak",  # a branch sees its siblings
        "blind",  # a branch does not see the prompt
        "position",  # branches stand one row too far
        "head",  # one head is swapped with another
    ],
)
def test_broken_attention_is_refused(breakage, monkeypatch):
    model, backend = build_model("llama", LetterTokenizer(), vocab_size=64), SDPA
    probe(model, backend)
    if breakage == "leak":
        monkeypatch.setattr(pass_plan, "visible_spans", everything)
    elif breakage == "blind":
        monkeypatch.setattr(pass_plan, "visible_spans", pass_plan.own_spans)
    elif breakage == "position":
        from pinfer.request import marker_controller

        spawn = marker_controller._spawn
        monkeypatch.setattr(
            marker_controller, "_spawn", lambda lane, at, spec: spawn(lane, at + 1, spec)
        )
    else:

        def backend(query, *rest, **options):
            return SDPA(query, *rest, **options).roll(1, 1)

    with pytest.raises(ModelError, match=r"branch \d of a probe differs"):
        probe(model, backend)


def everything(lane, joined, cache):
    """All segments of the request, siblings' too."""
    numbers = map(cache.segment, lane.request.lanes)
    return [(number, None) for number in numbers if number is not None]


def test_the_model_is_left_as_it_was_when_refused(monkeypatch):
    model = build_model("qwen3", LetterTokenizer(), vocab_size=64)
    before, ids = model.config._attn_implementation, torch.arange(9)[None]
    plain = model(ids).logits
    monkeypatch.setattr(pass_plan, "visible_spans", everything)
    with pytest.raises(ModelError):
        probe(model, SDPA)
    assert model.config._attn_implementation == before != transformers_hook.ATTENTION_NAME
    assert torch.equal(model(ids).logits, plain)


def test_attention_sinks_are_refused():
    """GPT-OSS hands its sinks to the attention function, which does not know them."""
    config = transformers.GptOssConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=2,
        num_experts_per_tok=1,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(ModelError, match="needs attention sinks"):
        probe(model, get_backend("auto"))
