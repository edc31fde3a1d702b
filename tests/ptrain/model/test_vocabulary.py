"""A frozen vocabulary with trained marker rows: losses, hits and gradients are the plain ones."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from trl.trainer.utils import add_fused_lm_head

from pbranch import Fork, make_trace, render
from ptrain.config import LoraOptions
from ptrain.data.collator import collate
from ptrain.model import vocabulary
from ptrain.model.base import add_lora, load_base
from ptrain.model.vocabulary import FrozenHead, use_frozen_vocabulary
from tests.ptrain.conftest import FAMILIES
from tests.ptrain.trainer.test_loss import encoder, losses, record

FORKED = render(
    make_trace("so: ", Fork(("low", "high"), tuple(map(make_trace, ("low: 7", "high: 8")))), "then")
)


def make_head(dtype=torch.float32, cap=None, bias=False, ids=(3, 4, 9, 30), words=40, width=16):
    torch.manual_seed(0)
    weight = torch.randn(words, width).to(dtype)
    rows = torch.randn(len(ids), width, requires_grad=True)
    return FrozenHead(
        weight, torch.randn(words) if bias else None, rows, torch.tensor(ids), cap=cap
    )


def plain_log_probs(head, hidden, targets):
    logits = hidden @ head.weight.float().index_copy(0, head.ids, head.rows).T
    if head.bias is not None:
        logits = logits + head.bias
    if head.cap is not None:
        logits = torch.tanh(logits / head.cap) * head.cap
    return -cross_entropy(logits, targets, reduction="none"), logits.argmax(1)


@pytest.mark.parametrize("cap", [None, 2.0])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("ids", [(3, 4, 9, 30), (0, 39), (34, 35, 36, 37, 38, 39)])
def test_scores_and_gradients_are_those_of_the_whole_matrix(monkeypatch, cap, bias, ids):
    monkeypatch.setattr(vocabulary, "TOKENS", 7)
    monkeypatch.setattr(vocabulary, "WORDS", 5)
    head = make_head(cap=cap, bias=bias, ids=ids)
    hidden = torch.randn(80, 16, requires_grad=True)
    targets = torch.arange(80) % 40
    weights = torch.rand(80)  # each token's loss has a gradient of its own
    expected, best = plain_log_probs(head, hidden, targets)
    found, _ = head.score(hidden, targets)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
    wanted = torch.autograd.grad((expected * weights).sum(), [hidden, head.rows])
    given = torch.autograd.grad((found * weights).sum(), [hidden, head.rows])
    for a, b in zip(given, wanted, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        found, top1 = head.score(hidden, targets)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(top1, best == targets) and top1.any()


def test_in_bfloat16_gradients_are_as_near_to_the_truth_as_those_of_trl():
    from trl.trainer.utils import _ChunkedLogProbFunction

    head = make_head(torch.bfloat16, ids=range(4000, 4006), words=5000, width=64)
    hidden = (torch.randn(200, 64) * 2).bfloat16().requires_grad_()
    targets = torch.randint(0, 5000, (200,))
    truth = plain_log_probs(head, hidden.float(), targets)[0].sum()
    (truth_gradient,) = torch.autograd.grad(truth, hidden)
    whole = head.weight.index_copy(0, head.ids, head.rows.detach().bfloat16())
    trl = _ChunkedLogProbFunction.apply(
        hidden, whole, None, targets, 1.0, 4096, None, 1.0, ("log_probs",)
    )[0].sum()
    errors = []
    for loss in (trl, head.score(hidden, targets)[0].sum()):
        (gradient,) = torch.autograd.grad(loss, hidden)
        errors.append(float((gradient.float() - truth_gradient.float()).norm()))
        assert abs(float((loss - truth).detach())) < 0.02 * abs(float(truth))
    assert errors[1] <= 1.1 * errors[0]


@pytest.mark.parametrize("family", [*FAMILIES, "wide"])
def test_a_model_has_the_plain_loss_and_gradients(bases, monkeypatch, family):
    base = load_base(str(bases[family]))
    model = add_lora(base, LoraOptions(r=4))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1)
    batch = collate([encoder(base)(record(FORKED)), encoder(base)(record("low"))])
    batch.pop("kinds")
    trained = [p for p in model.parameters() if p.requires_grad]
    plain = losses(model, batch).sum()
    expected = torch.autograd.grad(plain, trained)
    add_fused_lm_head(model.get_base_model())
    use_frozen_vocabulary(model)
    monkeypatch.setattr("trl.trainer.utils._ChunkedLogProbFunction", None)  # not called
    fused = -model(**batch, use_cache=False, fused_lm_head=True).log_probs.sum()
    assert torch.allclose(fused, plain, rtol=1e-5)
    for a, b in zip(torch.autograd.grad(fused, trained), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


def test_a_batch_without_a_target_has_a_gradient_of_zero(bases):
    base = load_base(str(bases["llama"]))
    model = add_lora(base, LoraOptions(r=4))
    add_fused_lm_head(model.get_base_model())
    use_frozen_vocabulary(model)
    batch = collate([encoder(base)(record("low"))])
    batch.pop("kinds")
    batch["shift_labels"].fill_(-100)
    model(**batch, use_cache=False, fused_lm_head=True).log_probs.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters() if p.requires_grad)
