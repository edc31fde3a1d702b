"""LoRA's fast layers give peft's outputs and gradients, and leave alone what is not plain LoRA."""

import pytest
import torch

from ptrain.config import LoraOptions
from ptrain.model.base import add_lora, load_base
from ptrain.model.fast_lora import _LoraLinear, use_fast_lora
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
    use_fast_lora(model)
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
    before = {k: m.__dict__.get("forward") for k, m in model.named_modules()}
    use_fast_lora(model)
    assert {k: m.__dict__.get("forward") for k, m in model.named_modules()} == before


def test_a_disabled_adapter_has_no_effect(bases):
    model = lora_model(bases["llama"])
    with model.disable_adapter(), torch.no_grad():
        expected = model(input_ids=IDS).logits
        use_fast_lora(model)
        assert torch.equal(model(input_ids=IDS).logits, expected)
    assert not torch.equal(model(input_ids=IDS).logits, expected)
