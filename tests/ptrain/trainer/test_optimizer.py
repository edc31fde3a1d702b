"""The markers' rows have a rate of their own, and all rates follow from the base."""

from types import SimpleNamespace

import pytest
import torch

from ptrain.config import LoraOptions, Recipe, TrainOptions
from ptrain.model.base import RELATED, add_lora, load_base
from ptrain.model.defaults import choose_dtype, choose_lr, fill_in
from ptrain.trainer.optimizer import set_marker_rates


@pytest.mark.parametrize(("family", "matrices"), [("qwen3", 1), ("wide", 2)])
def test_rows_move_by_a_share_of_their_size(bases, family, matrices):
    """`qwen3` is tied; `wide` has rows in embedding and head."""
    model = add_lora(load_base(str(bases[family])), LoraOptions(r=4))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW([{"params": trained, "weight_decay": 0.1}], lr=1e-4)
    rates = set_marker_rates(optimizer, model, 0.04)
    assert len(rates) == matrices and len(optimizer.param_groups) == 1 + matrices
    names = {id(p): name for name, p in model.named_parameters()}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert sorted(id(p) for g in optimizer.param_groups for p in g["params"]) == sorted(
        map(id, trained)
    )
    for group in optimizer.param_groups:
        is_rows = "trainable_tokens" in names[id(group["params"][0])]
        assert group["weight_decay"] == (0.0 if is_rows else 0.1)
    for parameter in trained:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()  # Adam's first step is its rate
    for parameter in trained:
        name = names[id(parameter)]
        start = before[name]
        expected = 1e-4
        if "trainable_tokens" in name:
            expected = 0.04 * start.square().mean().sqrt()
            assert torch.allclose((start - parameter).mean(), expected, rtol=1e-3)
        elif "lora_A" not in name:  # which start at 0: nothing decays
            assert torch.allclose((start - parameter).mean(), torch.tensor(1e-4), rtol=1e-3)


@pytest.mark.parametrize("family", ["qwen3", "wide"])
def test_rows_start_as_long_as_rows_of_the_vocabulary(bases, family):
    base = load_base(str(bases[family]))
    for module in (base.model.get_input_embeddings(), base.model.get_output_embeddings()):
        weight = module.weight.detach()
        first = min(base.markers.as_dict().values())
        rows = weight[list(base.markers.as_dict().values())]
        assert len(rows) == len(RELATED)
        assert torch.allclose(rows.norm(dim=1), weight[:first].norm(dim=1).mean(), rtol=1e-4)


def test_the_rate_falls_with_the_width():
    def config(width):
        return SimpleNamespace(get_text_config=lambda: SimpleNamespace(hidden_size=width))

    rates = {width: choose_lr(config(width), "lora") for width in (192, 576, 2000, 5120)}
    assert rates == {192: 3.1e-3, 576: 1.3e-3, 2000: 5e-4, 5120: 2.4e-4}
    assert choose_lr(config(2000), "full") == 5e-5
    given = Recipe(data="x", train=TrainOptions(lr=1e-4, dtype="float32"))
    assert fill_in(given, config(576), "cpu") == given


def test_a_cpu_trains_in_bfloat16_where_nothing_is_lost_by_it(monkeypatch):
    def dtype(stored, computes, name="auto"):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: computes)
        text = SimpleNamespace(dtype=stored)
        return choose_dtype(name, "cpu", SimpleNamespace(get_text_config=lambda: text))

    assert dtype(torch.bfloat16, True) == torch.bfloat16
    assert dtype(torch.bfloat16, False) == torch.float32
    assert dtype(torch.float32, True) == torch.float32
    assert dtype(torch.float32, False, "bfloat16") == torch.bfloat16
