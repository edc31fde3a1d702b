"""The fast path equals the general one, takes what it can serve, and holds no weight twice."""

import copy
import logging

import pytest
import torch

from pbranch.errors import ModelError, RequestError
from pbranch.format.layout import LayoutOptions
from pinfer.attention.backend import get_backend
from pinfer.models import fast, linear
from pinfer.models.fast import FastModel, is_family
from pinfer.models.general import GeneralModel
from pinfer.models.module_bypass import bypass_module_calls, restore_modules
from pinfer.models.norm import make_norm
from pinfer.models.probe import choose_path, probe
from tests.conftest import MODEL_KINDS
from tests.pinfer.scheduling.test_batching import greedy, some_prompts
from tests.support.toy_engine import LetterTokenizer, Recorder, Toy, build_model, toy_model

torch.set_num_threads(1)
SDPA = get_backend("sdpa")
FAST = ("qwen2", "qwen3", "llama", "mistral")


def small(kind, **changes):
    return build_model(kind, LetterTokenizer(), vocab_size=64, **changes)


@pytest.mark.parametrize("kind", FAST)
def test_both_paths_decode_alike(kind):
    """Nested blocks of several requests in shared passes, a sliding window (mistral), float64."""
    model, prompts, found = toy_model(kind, 3), some_prompts(4), {}
    assert is_family(model)
    for path in ("general", "fast"):
        record = Recorder()
        toy = Toy(model, LayoutOptions("flat", "own"), path=path, on_step=record)
        found[path] = toy.tokens(prompts, greedy()), record.logits
    (expected, logits), (tokens, others) = found["general"], found["fast"]
    assert tokens == expected and others.keys() == logits.keys()
    for key, row in logits.items():
        torch.testing.assert_close(others[key], row, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", FAST)
@pytest.mark.parametrize(
    "extra", [{}, {"attention_bias": True}, {"rope_parameters": "yarn"}], ids=str
)
def test_the_probe_finds_it_equal(kind, extra):
    """Biases, and frequencies that scale what they rotate."""
    if "rope_parameters" in extra:
        yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}
        extra = {"rope_parameters": yarn | {"original_max_position_embeddings": 64}}
    probe(model := small(kind, **extra), SDPA, FastModel(model))


def test_auto_takes_it_for_the_family_alone():
    for kind in MODEL_KINDS:
        forward, row_bytes = choose_path(small(kind), SDPA)
        assert type(forward) is (FastModel if kind in FAST else GeneralModel) and row_bytes > 0
    assert type(choose_path(small("qwen3"), SDPA, "general")[0]) is GeneralModel


def test_a_path_that_cannot_be_had_is_refused():
    with pytest.raises(ModelError, match="no fast path; it serves llama, mistral, qwen2, qwen3"):
        choose_path(small("gemma3"), SDPA, "fast")
    with pytest.raises(RequestError, match="path 'quick': expected auto, fast or general"):
        choose_path(small("qwen3"), SDPA, "quick")


def test_a_model_that_only_looks_like_the_family_goes_the_general_way(monkeypatch, caplog):
    """Where its layers compute something else, the probe finds out; owned and packed as well."""
    monkeypatch.setattr(linear, "PACK_ABOVE_BYTES", 0)
    model = small("llama").float()
    for layer in model.model.layers:
        inner = layer.mlp.forward
        monkeypatch.setattr(layer.mlp, "forward", lambda x, inner=inner: 2 * inner(x))
    with pytest.raises(ModelError, match="differs from plain decoding"):
        choose_path(model, SDPA, "fast")
    with caplog.at_level(logging.WARNING, "pinfer"):
        forward, _ = choose_path(model, SDPA, owned=True)
    assert type(forward) is GeneralModel and "path: general" in caplog.text


def test_adapters_and_rounded_weights_go_the_general_way():
    """Whatever stands in a linear layer's place is not read as one."""
    model = small("llama")
    model.model.layers[0].mlp.up_proj = torch.nn.Sequential(model.model.layers[0].mlp.up_proj)
    assert not is_family(model)


def test_weights_are_held_once():
    """The model's own layers go on with slices of the fused matrices."""
    model = small("qwen2")
    ids = torch.arange(9)[None]
    before = model(ids).logits
    fast = FastModel(model)
    assert torch.equal(model(ids).logits, before)
    attention = model.model.layers[0].self_attn
    assert (
        attention.q_proj.weight.untyped_storage().data_ptr()
        == attention.v_proj.weight.untyped_storage().data_ptr()
    )
    assert probe(model, SDPA, fast) == probe_alone(fast)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", FAST)
def test_an_owned_model_gives_its_matrices_away_and_gets_them_back(kind, dtype, monkeypatch):
    """Packed one by one, each is freed before the next; an embedding that the head shares stays."""
    if not linear.can_pack(torch.device("cpu"), dtype):
        pytest.skip("this machine packs no matrices")
    monkeypatch.setattr(linear, "PACK_ABOVE_BYTES", 0)
    model = small(kind).to(dtype)
    ids = torch.arange(9)[None]
    before, weights = model(ids).logits, copy.deepcopy(model.state_dict())
    held, free = [], linear.Packed.__init__

    def count(self, weight, bias):
        held.append(sum(p.numel() for p in model.parameters()))
        free(self, weight, bias)

    monkeypatch.setattr(linear.Packed, "__init__", count)
    fast = FastModel(model, owned=True)
    assert held == sorted(held, reverse=True) and held[0] > held[-1]
    left = sum(p.numel() for p in model.parameters() if p.dim() == 2)
    assert left == model.model.embed_tokens.weight.numel()
    assert probe_alone(fast)
    fast.give_back_weights(model)
    assert torch.equal(model(ids).logits, before)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, weights[name]), name


def probe_alone(fast):
    """Bytes a cached token takes, after a pass over what `fast` alone holds."""
    from pbranch.format.markers import MarkerIds
    from pinfer.models.probe import _engine_logits

    markers = MarkerIds(fork=0, topic=1, spawn=2, branch=3, end=4, join=5)
    logits, arena = _engine_logits(fast, SDPA, markers)
    assert all(torch.isfinite(x).all() for x in logits)
    return sum(pool[0].nbytes for pool in (*arena.keys, *arena.values))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 2, 3, 8, 33])
@pytest.mark.parametrize("biased", [False, True])
def test_packed_products_are_plain_ones(dtype, rows, biased, monkeypatch):
    """Where this machine packs; elsewhere it is the plain product."""
    monkeypatch.setattr(linear, "PACK_ABOVE_BYTES", 0)
    g = torch.Generator().manual_seed(rows)
    wide = [torch.nn.Linear(96, n, bias=biased, dtype=dtype) for n in (64, 32, 32)]
    x = torch.randn(rows, 96, generator=g).to(dtype)
    expected = torch.cat([layer(x) for layer in wide], -1)
    with torch.inference_mode():
        found = linear.fuse(wide)(x)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("shape", [(1, 640), (2, 640), (1, 3, 640), (1, 1, 640), (2, 5, 640)])
@pytest.mark.parametrize("biased", [False, True])
def test_wide_matrices_are_multiplied_with_swapped_operands(shape, biased, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    layer = torch.nn.Linear(640, 512, bias=biased)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        product = linear.fuse([layer])
        found, expected = product(x), layer(x)
    assert found.is_contiguous()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    if linear.can_pack(torch.device("cpu"), torch.float32):
        assert linear.prefers_swapped_gemm(layer.weight)
        assert product.args[0].data_ptr() == layer.weight.data_ptr(), "held twice"


def test_a_torch_without_the_operators_multiplies_plainly(monkeypatch):
    monkeypatch.setattr(linear, "PACK_ABOVE_BYTES", 0)
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    weight = torch.randn(64, 96)
    assert not linear.packs(weight)
    x = torch.randn(3, 96)
    assert torch.equal(linear.packed(weight)(x), x @ weight.T)


def test_an_operator_that_multiplies_wrongly_is_not_used(monkeypatch):
    class Wrong:
        def _reorder_linear_weight(self, weight, rows):
            return weight

        def _linear_pointwise(self, rows, weight, *rest):
            return 1.5 * rows @ weight.T

    monkeypatch.setattr(torch.ops, "mkldnn", Wrong())
    assert not linear.can_pack(torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_norms_are_the_models_own(dtype):
    model = small("llama").to(dtype)
    norm = model.model.norm
    norm.weight.data = torch.rand_like(norm.weight) + 0.5
    x = torch.randn(5, len(norm.weight), dtype=dtype) * torch.tensor(
        [[1e-4], [1], [30], [0], [1e3]]
    )
    found = make_norm(norm)(x.to(dtype))
    tolerance = {torch.float64: 1e-6, torch.float32: 1e-6, torch.bfloat16: 1e-2}[dtype]
    torch.testing.assert_close(found, norm(x.to(dtype)), rtol=tolerance, atol=tolerance)


def test_the_decoder_layer_stays_small():
    """It is to be read at one sitting."""
    with open(fast.__file__) as file:
        assert len(file.readlines()) <= 150


def test_the_engine_frees_what_it_fused(base, adapter, monkeypatch):
    """`from_pretrained` owns its model, and lets go of its matrices."""
    if not linear.can_pack(torch.device("cpu"), torch.float32):
        pytest.skip("this machine packs no matrices")
    monkeypatch.setattr(linear, "PACK_ABOVE_BYTES", 0)
    from pinfer import Engine, SamplingParams, engine

    loaded, load, found = [], engine.load, {}
    monkeypatch.setattr(engine, "load", lambda *a: loaded.append(load(*a)) or loaded[-1])
    for path in ("general", "fast"):
        made = Engine.from_pretrained(str(base), str(adapter), path=path)
        found[path] = made.generate(["What is 2 + 2?"], SamplingParams(max_new_tokens=20))
    assert found["fast"][0].token_ids == found["general"][0].token_ids
    general, fast = (x.model.model.layers[0].mlp for x in loaded)
    assert not isinstance(general.up_proj, torch.nn.Module)
    assert not fast.up_proj.weight.numel()


@pytest.mark.parametrize("kind", [*MODEL_KINDS, "gemma2", "phi3"])
def test_owned_models_bypass_module_calls(kind):
    """Linear layers and norms without the cost of a module; the logits of before."""
    model, ids = small(kind), torch.arange(9)[None]
    before = model(ids).logits
    leaves = bypass_module_calls(model)
    assert sum(type(child) is torch.nn.Linear for _, _, child in leaves) > 5
    assert not any(type(x) is torch.nn.Linear for x in model.modules())
    torch.testing.assert_close(model(ids).logits, before, rtol=0, atol=1e-4)
    restore_modules(leaves)
    assert any(type(x) is torch.nn.Linear for x in model.modules())
    torch.testing.assert_close(model(ids).logits, before, rtol=0, atol=1e-5)
    forward, _ = choose_path(model, SDPA, "general", owned=True)
    assert type(forward) is GeneralModel
    assert not any(type(x) is torch.nn.Linear for x in model.modules())


def test_code_that_looks_into_its_layers_keeps_them(monkeypatch):
    model = small("llama")
    mlp = model.model.layers[0].mlp
    inner = mlp.forward
    monkeypatch.setattr(mlp, "forward", lambda x: inner(x.to(mlp.up_proj.weight.dtype)))
    choose_path(model, SDPA, "general", owned=True)
    assert type(mlp.up_proj) is torch.nn.Linear and len(list(mlp.children())) == 4
