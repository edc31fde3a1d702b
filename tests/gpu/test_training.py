"""FlexAttention on a GPU: outputs and gradients are those of the dense mask, and runs train.

Not run yet: written without a GPU at hand.
"""

import json

import pytest
import torch

from pbranch.format.layout import concatenate
from ptrain.config import LoraOptions, Recipe, TrainOptions
from ptrain.data.collator import collate
from ptrain.model.attention import BRANCH_FLEX, dense_name, length_multiple
from ptrain.model.base import add_lora, load_base
from ptrain.model.leak_probe import probe
from ptrain.train import train
from tests.ptrain.conftest import make_base, make_records, write_records
from tests.ptrain.trainer.test_loss import encoder, losses

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("family", ["qwen3", "mistral", "gemma3", "gemma2"])
def test_outputs_and_gradients_are_the_dense_ones(tmp_path, family):
    """float32; two rows of several packed trees, of unequal length."""
    base = load_base(str(make_base(tmp_path / family, family)))
    model = add_lora(base, LoraOptions(r=4)).cuda()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1)
    layouts = list(map(encoder(base), make_records(12, seed=3)))
    rows = [concatenate(layouts[:8]), concatenate(layouts[8:])]
    trained = [p for p in model.parameters() if p.requires_grad]
    found = {}
    for name in (dense_name(model.config), BRANCH_FLEX):
        model.set_attn_implementation(name)
        batch = collate(rows, multiple=length_multiple(name))
        loss = losses(model, {k: v.cuda() for k, v in batch.items()})
        gradients = torch.autograd.grad(loss.sum(), trained)
        found[name] = [loss[0, : len(rows[0])], loss[1, : len(rows[1])], *gradients]
    for flex, dense in zip(found[BRANCH_FLEX], found[dense_name(model.config)], strict=True):
        scale = dense.abs().max().item()
        torch.testing.assert_close(flex, dense, rtol=1e-3, atol=1e-4 * max(scale, 1.0))


@pytest.mark.parametrize("family", ["qwen3", "gemma2"])
def test_the_probe_passes_under_flex(tmp_path, family):
    base = load_base(str(make_base(tmp_path / family, family)))
    base.model.cuda().set_attn_implementation(BRANCH_FLEX)
    probe(base.model, base.markers)


def test_a_run_under_flex_has_the_losses_of_a_dense_one(tmp_path):
    base = make_base(tmp_path / "base", "qwen3")
    data = write_records(tmp_path / "traces.jsonl", make_records(40))
    reports = {}
    for attention in ("dense", "flex"):
        options = TrainOptions(
            steps=8, batch_rows=4, lr=1e-2, max_length=512, packing=True, attention=attention,
            dtype="float32", device="cuda", logging_steps=1,
        )  # fmt: skip
        lora = LoraOptions(r=4, alpha=8)
        out = tmp_path / attention
        recipe = Recipe(
            data=str(data), model=str(base), out=str(out), eval_share=0.1, lora=lora, train=options
        )
        reports[attention] = json.loads((train(recipe) / "train_report.json").read_text())
    dense, flex = reports["dense"], reports["flex"]
    assert flex["loss_last"] < 0.9 * flex["loss_first"]
    for key in ("loss_first", "loss_last", "eval_loss"):
        assert flex[key] == pytest.approx(dense[key], rel=1e-3)
