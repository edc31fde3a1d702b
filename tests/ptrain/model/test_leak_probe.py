"""The start-up probe passes sound models and refuses broken masks; unfit models are refused."""

import json
import shutil

import pytest
import torch

from pbranch.errors import MarkerError, ModelError
from pbranch.format.layout import LayoutOptions
from pbranch.format.markers import add_markers
from pbranch.hf.load_model import load_config
from ptrain.config import LoraOptions
from ptrain.model import attention
from ptrain.model.base import add_lora, load_base
from ptrain.model.leak_probe import PLAIN_HALF, probe
from ptrain.model.leak_probe import _own_logits as own_logits
from tests.ptrain.conftest import FAMILIES, make_tokenizer


@pytest.mark.parametrize("family", [*FAMILIES, "wide"])
@pytest.mark.parametrize(
    "options", [LayoutOptions(), LayoutOptions("flat", "own"), LayoutOptions(join="reencode")]
)
def test_sound_models_pass(bases, family, options):
    base = load_base(str(bases[family]))
    model = add_lora(base, LoraOptions(r=4))
    probe(model, base.markers, options)


def causal(tensor, window=None):
    n = tensor.shape[2]
    return torch.ones(n, n, dtype=torch.bool).tril()[None, None]


def blind(tensor, window=None):
    return torch.eye(tensor.shape[2], dtype=torch.bool)[None, None]


def prefixless(tensor, window=None):
    """The packed-sequence guess of transformers: a restart of positions hides what was before."""
    mask, pos = dense(tensor, window).clone(), tensor[0, 1].tolist()
    for row in range(1, len(pos)):
        if pos[row] <= pos[row - 1]:
            mask[..., row:, :row] = False
    return mask


dense = attention.dense_mask


@pytest.mark.parametrize("mask", [causal, blind, prefixless])
def test_broken_masks_are_refused(bases, monkeypatch, mask):
    base = load_base(str(bases["qwen3"]))
    monkeypatch.setattr(attention, "dense_mask", mask)
    with pytest.raises(ModelError):
        probe(base.model, base.markers)


def test_a_leak_is_named(bases, monkeypatch):
    base = load_base(str(bases["qwen3"]))
    monkeypatch.setattr(attention, "dense_mask", causal)
    with pytest.raises(ModelError, match="moves rows that must not see it"):
        probe(base.model, base.markers)


def test_an_attention_argument_that_ours_ignores_is_found(bases, monkeypatch):
    base = load_base(str(bases["qwen3"]))
    forward = attention.sdpa_attention_forward

    def without_scaling(*args, scaling=None, **kwargs):
        return forward(*args, scaling=1.0, **kwargs)

    monkeypatch.setitem(
        attention.AttentionInterface._global_mapping, attention.BRANCH, without_scaling
    )
    with pytest.raises(ModelError, match="plain text"):
        probe(base.model, base.markers)


def test_a_base_that_half_precision_shakes_passes(bases, monkeypatch):
    """Where two attention functions of transformers differ as much as ours does from either."""
    base = load_base(str(bases["qwen3"]), torch.bfloat16)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in base.model.named_parameters():
            if name.endswith(("_norm.weight", "o_proj.weight")):
                parameter.mul_(30)  # rounding then picks another key
    ids = list(range(8, 24))
    eager, sdpa = (own_logits(base.model, ids, name) for name in ("eager", "sdpa"))
    assert (eager - sdpa).abs().max() > PLAIN_HALF * eager.abs().max()
    probe(base.model, base.markers)
    forward = attention.sdpa_attention_forward
    monkeypatch.setitem(
        attention.AttentionInterface._global_mapping,
        base.model.config._attn_implementation,
        lambda *args, scaling=None, **kwargs: forward(*args, scaling=0.0, **kwargs),
    )
    with pytest.raises(ModelError, match="plain text"):
        probe(base.model, base.markers)


def test_capped_scores_take_the_eager_function(tmp_path):
    from transformers import Gemma2Config, Gemma2ForCausalLM

    tokenizer = make_tokenizer()
    config = Gemma2Config(
        vocab_size=len(tokenizer) + 8, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, sliding_window=24,
        query_pre_attn_scalar=8, attn_logit_softcapping=0.5,
    )  # fmt: skip
    Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    base = load_base(str(tmp_path))
    assert base.model.config._attn_implementation == attention.BRANCH_EAGER
    probe(base.model, base.markers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_types": ["linear_attention", "full_attention"]}, "linear_attention"),
        (
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "dynamic",
        ),
        ({"kv_lora_rank": 8}, "MLA"),
        ({"is_encoder_decoder": True}, "decoder-only"),
    ],
)
def test_models_that_no_mask_fits_are_refused(bases, tmp_path, changes, message):
    folder = shutil.copytree(bases["qwen3"], tmp_path / "model")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ModelError, match=message):
        load_config(str(folder))


def test_a_recurrent_model_is_refused(tmp_path):
    from transformers import MambaConfig, MambaForCausalLM

    tokenizer = make_tokenizer()
    config = MambaConfig(vocab_size=400, hidden_size=16, num_hidden_layers=1, state_size=4)
    MambaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="mamba"):
        load_base(str(tmp_path))


@pytest.mark.parametrize("name", ["no/such/folder", "./nothing", "nowhere"])
def test_a_missing_folder_is_named(name):
    with pytest.raises(ModelError, match=name):
        load_base(name)


def test_a_tokenizer_that_has_a_marker_is_refused(bases, tmp_path):
    folder = shutil.copytree(bases["qwen3"], tmp_path / "model")
    tokenizer = make_tokenizer()
    add_markers(tokenizer)
    tokenizer.save_pretrained(folder)
    with pytest.raises(MarkerError, match="already has"):
        load_base(str(folder))
