"""Losses over branch rows on random models: equal to what plain training gives, and no leaks."""

import random

import pytest
import torch

from pbranch import Fork, make_trace
from pbranch.format.layout import Kind, LayoutOptions, build_layout, concatenate
from pbranch.format.visibility import dense_mask
from ptrain.config import LoraOptions, Recipe, TrainOptions
from ptrain.data.collator import collate
from ptrain.data.dataset import Encoder, Example
from ptrain.model.base import add_lora, load_base
from ptrain.trainer.branch_trainer import make_trainer
from tests.ptrain.conftest import FAMILIES, make_records, random_trace

families = pytest.mark.parametrize("family", FAMILIES)


def encoder(base, **options):
    return Encoder(base.tokenizer, base.markers, LayoutOptions(**options))


def record(completion):
    return {"messages": [{"role": "user", "content": "which fits"}], "completion": completion}


def forward(model, batch):
    return model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        attention_mask=batch["attention_mask"],
        use_cache=False,
    ).logits


def losses(model, batch):
    """Loss of each row (B, L), 0 without a target."""
    logits = forward(model, batch)
    return torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), batch["shift_labels"], ignore_index=-100, reduction="none"
    )


@families
def test_fork_free_trace_has_the_plain_causal_loss(bases, family):
    base = load_base(str(bases[family]))
    layout = encoder(base)(record("low high: nine fits, seven not"))
    ours = losses(base.model, collate([layout]))
    ours = ours.sum() / sum(t != -100 for t in layout.targets)
    end = base.tokenizer.eos_token_id
    ids = torch.tensor([[*layout.token_ids, end]])
    first = next(i for i, t in enumerate(layout.targets) if t != -100)
    labels = ids.clone()
    labels[0, : first + 1] = -100
    base.model.set_attn_implementation("eager")
    plain = base.model(input_ids=ids, labels=labels).loss
    assert torch.allclose(ours, plain, rtol=1e-5, atol=1e-5)


@families
def test_packed_rows_have_the_losses_of_separate_rows(bases, family):
    base = load_base(str(bases[family]))
    encode, rng = encoder(base), random.Random(3)
    layouts = [
        build_layout(
            base.tokenizer.encode("<|im_start|>all"),
            random_trace(rng),
            encode.codec,
            base.markers,
            2,
        )
        for _ in range(4)
    ]
    packed = losses(base.model, collate([concatenate(layouts)]))[0]
    padded = losses(base.model, collate(layouts))
    apart = torch.cat([row[: len(x)] for row, x in zip(padded, layouts, strict=True)])
    assert torch.allclose(packed, apart, rtol=1e-5, atol=1e-5)


@families
@pytest.mark.parametrize("outline", ["all", "own"])
def test_no_gradient_reaches_a_siblings_body(bases, family, outline):
    base = load_base(str(bases[family]))
    branches = tuple(make_trace(f"{t} seven nine high") for t in ("low", "sum", "not"))
    trace = make_trace("so: ", Fork(("low", "sum", "not"), branches), "then all")
    layout = build_layout(
        [5, 6], trace, encoder(base).codec, base.markers, 2, LayoutOptions("max", outline)
    )
    starts = [i for i, t in enumerate(layout.token_ids) if t == base.markers.branch]
    ends = [i + 1 for i, t in enumerate(layout.token_ids) if t == base.markers.end]
    batch = collate([layout])
    embedded = base.model.get_input_embeddings()(batch["input_ids"]).detach().requires_grad_()
    logits = base.model(
        inputs_embeds=embedded,
        position_ids=batch["position_ids"],
        attention_mask=batch["attention_mask"],
        use_cache=False,
    ).logits[0]
    loss = torch.nn.functional.cross_entropy(
        logits, batch["shift_labels"][0], ignore_index=-100, reduction="none"
    )
    (gradient,) = torch.autograd.grad(loss[starts[1] : ends[1]].sum(), embedded, retain_graph=True)
    moved = gradient[0].abs().amax(-1)
    for i in (0, 2):
        assert not moved[starts[i] : ends[i]].any()
    assert not moved[ends[2] :].any()
    assert (moved[starts[1] : ends[1] - 2] > 0).all() and moved[0] > 0
    (gradient,) = torch.autograd.grad(loss[ends[2] :].sum(), embedded)
    assert (gradient[0].abs().amax(-1)[starts[0] + 1 : ends[2]] > 0).any()  # the join sees them all


@families
def test_no_gradient_leaves_what_a_branch_sees(bases, family):
    """Nested blocks, packed, some branches longer than the models' windows of 24 positions."""
    base = load_base(str(bases[family]))
    rng, codec = random.Random(9), encoder(base).codec
    inner = make_trace("sum ", Fork(("a", "b"), (make_trace("a seven"), make_trace("b"))))
    long = make_trace(
        "so: ", Fork(("low", "sum"), (make_trace("low " + 16 * "nine "), inner)), "all"
    )
    traces = [long, random_trace(rng), random_trace(rng)]
    row = concatenate([build_layout([5, 6], t, codec, base.markers, 2) for t in traces])
    n, batch = len(row), collate([row])
    mask = dense_mask(batch["attention_mask"])[0, 0]
    embedded = base.model.get_input_embeddings()(batch["input_ids"]).detach().requires_grad_()
    logits = base.model(
        inputs_embeds=embedded,
        position_ids=batch["position_ids"],
        attention_mask=batch["attention_mask"],
        use_cache=False,
    ).logits
    loss = torch.nn.functional.cross_entropy(
        logits[0], batch["shift_labels"][0], ignore_index=-100, reduction="none"
    )
    starts = [r for r in range(n) if row.token_ids[r] == base.markers.branch]
    assert len(starts) > 6
    for start in starts:
        stop = next(level[start][0] for level in reversed(row.hidden) if level[start][1])
        rows = [r for r in range(start, stop) if row.targets[r] != -100]
        seen = mask[rows].any(0)
        (gradient,) = torch.autograd.grad(loss[rows].sum(), embedded, retain_graph=True)
        moved = gradient[0].abs().amax(-1) > 0
        assert not moved[~seen].any()
        assert moved[seen].all() or family == "mistral"  # whose layers all have a window


def test_targets_skip_what_the_engine_puts_in(bases):
    base = load_base(str(bases["qwen3"]))
    layout = encoder(base)(record(_forked()))
    markers = base.markers
    predicted = {t for t in layout.targets if t != -100}
    assert {markers.branch, markers.join}.isdisjoint(predicted)
    assert {markers.fork, markers.topic, markers.spawn, markers.end} <= predicted
    for row, token in enumerate(layout.token_ids):
        if token in (markers.end, markers.spawn):
            assert layout.targets[row] == -100
    assert {Kind(k) for k in layout.kinds} == set(Kind) - {Kind.LINEAR}


def _forked():
    from pbranch import render

    branches = tuple(make_trace(f"{t}: seven") for t in ("low", "high"))
    return render(make_trace("so: ", Fork(("low", "high"), branches), "then"))


def test_fork_and_spawn_count_more_in_training(bases, tmp_path):
    base = load_base(str(bases["qwen3"]))
    encode = encoder(base)
    examples = [Example(len(x), x, x, r["messages"]) for r in make_records(4) for x in [encode(r)]]
    recipe = Recipe(
        data="x", model=str(bases["qwen3"]), out=str(tmp_path),
        train=TrainOptions(lr=1e-3, device="cpu"),
    )  # fmt: skip
    model = add_lora(base, LoraOptions(r=2))
    trainer = make_trainer(recipe, model, base.tokenizer, examples, [])
    batch = collate([x.parallel for x in examples])
    rare = torch.isin(batch["shift_labels"], torch.tensor([base.markers.fork, base.markers.spawn]))
    each = losses(model, batch).detach()
    weighted = each.sum() + (recipe.train.fork_weight - 1) * each[rare].sum()
    count = (batch["shift_labels"] >= 0).sum()
    model.train()
    found = trainer.compute_loss(model, batch)
    assert rare.any() and recipe.train.fork_weight > 1
    assert torch.allclose(found.detach(), weighted / count, rtol=1e-4)
