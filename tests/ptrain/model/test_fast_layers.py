"""Fast layers give the plain ones' outputs and gradients, and leave alone what they are not for."""

import pytest
import torch
from peft.tuners.lora import Linear
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralRMSNorm
from transformers.models.phi3.modeling_phi3 import Phi3RMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from ptrain.config import LoraOptions
from ptrain.model import fast_layers
from ptrain.model.base import add_lora, load_base
from ptrain.model.fast_layers import _LoraLinear, use_fast_layers
from tests.ptrain.conftest import FAMILIES

IDS = torch.tensor([[5, 6, 7, 8, 9, 10]])


def lora_model(path, **options):
    model = add_lora(load_base(str(path)), LoraOptions(r=4, **options))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1)
    return model


def run(model, dtype):
    """Logits, and gradients of all that is trained."""
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        logits = model(input_ids=IDS, use_cache=False).logits
    trained = [p for p in model.parameters() if p.requires_grad]
    return logits, *torch.autograd.grad(logits.float().square().sum(), trained)


def mean_error(found, exact):
    """Relative error of a tensor, on average."""
    pairs = [(a.detach().float(), b.detach()) for a, b in zip(found, exact, strict=True)]
    return sum(float((a - b).norm() / b.norm()) for a, b in pairs if b.any()) / len(pairs)


@pytest.mark.parametrize("family", [*FAMILIES, "wide"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_outputs_and_gradients_are_those_of_peft(bases, monkeypatch, family, dtype):
    model = lora_model(bases[family], use_rslora=True)
    expected = run(model, dtype)
    exact = run(model, torch.float32)
    use_fast_layers(model)
    applied = []
    apply = _LoraLinear.apply
    monkeypatch.setattr(_LoraLinear, "apply", lambda *a: applied.append(1) or apply(*a))
    found = run(model, dtype)
    layers = model.config.get_text_config().num_hidden_layers
    assert len(applied) == 7 * layers
    if dtype == torch.float32:
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.detach().abs().max()))
    else:  # about as near to float32 as peft's
        assert mean_error(found, exact) <= 1.3 * mean_error(expected, exact)


@pytest.mark.parametrize("options", [{"use_dora": True}, {"dropout": 0.1}])
def test_other_layers_stay_with_peft(bases, options):
    model = lora_model(bases["qwen3"], **options)
    use_fast_layers(model)
    layers = [m for m in model.modules() if type(m) is Linear]
    assert layers and not any("forward" in vars(layer) for layer in layers)


def test_a_disabled_adapter_has_no_effect(bases):
    model = lora_model(bases["llama"])
    with model.disable_adapter(), torch.no_grad():
        expected = model(input_ids=IDS).logits
        use_fast_layers(model)
        assert torch.equal(model(input_ids=IDS).logits, expected)
    assert not torch.equal(model(input_ids=IDS).logits, expected)


NORM_CLASSES = [LlamaRMSNorm, MistralRMSNorm, Phi3RMSNorm, Qwen2RMSNorm, Qwen3RMSNorm]


def norm_outputs(norm, x, by_output):
    """What a norm makes of `x`, and the gradient of `x`."""
    x = x.clone().requires_grad_()
    out = norm(x)
    return out, *torch.autograd.grad(out, x, by_output)


@pytest.mark.parametrize("norm_class", NORM_CLASSES)
def test_a_frozen_norm_is_that_of_transformers(norm_class):
    torch.manual_seed(0)
    norm = norm_class(24, eps=1e-3).requires_grad_(False)
    norm.weight.normal_()
    x = torch.randn(2, 5, 3, 24) * torch.logspace(-3, 2, 3)[:, None]
    by_output = torch.randn(x.shape)
    expected = norm_outputs(norm, x, by_output)
    norm.forward = fast_layers._make_norm_forward(norm)
    found = norm_outputs(norm, x, by_output)
    assert is_fast(found[0])
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6 * float(b.detach().abs().max()))
    assert not is_fast(norm(x.bfloat16().requires_grad_()))
    norm.weight.requires_grad_()
    assert not is_fast(norm(x))


def is_fast(out):
    return type(out.grad_fn).__name__ == "_RmsNormBackward"


@pytest.mark.parametrize(
    ("family", "number"), [("llama", 5), ("mistral", 5), ("qwen2", 5), ("qwen3", 9), ("gemma2", 0)]
)
def test_norms_are_switched_by_kind(bases, family, number):
    """Of 2 layers with 2 norms each, Qwen3's with 2 more, and of the last one."""
    model = lora_model(bases[family])
    use_fast_layers(model)
    norms = [m for m in model.modules() if type(m).__name__.endswith("RMSNorm")]
    assert sum("forward" in vars(norm) for norm in norms) == number
