"""What can be predicted is learned, and what is chance is not: any shift by one would show."""

import torch

from pbranch.format.layout import Layout
from pbranch.format.visibility import layout_tensor
from pbranch.hf.lookahead.files import LookaheadConfig, tensor_shapes
from pbranch.hf.lookahead.row_lora import RowLora
from ptrain.config import LookaheadOptions
from ptrain.lookahead.anchors import rows_ahead
from ptrain.lookahead.loss import Scores, Tally, score_batch
from ptrain.lookahead.row_pass import run_ahead, run_text
from ptrain.lookahead.weights import Lookahead
from tests.ptrain.lookahead.test_rows import load

torch.set_num_threads(1)
SYMBOLS, FIRST = 6, 10  # ids 10 to 15
OPTIONS = LookaheadOptions(tokens=2, r=8, markov_rank=4, ce_weight=1.0, tv_weight=0.0)


def make_batch(generator, sequences=16, blocks=4):
    """Blocks of a random symbol, another one, and a symbol that the first one decides. Anchors are
    the first ones: two places on, all is decided; three places on, nothing."""
    draws = torch.randint(SYMBOLS, (sequences, blocks, 2), generator=generator)
    decided = (draws[..., :1] * 5 + 2) % SYMBOLS
    ids = FIRST + torch.cat((draws, decided), 2).flatten(1)
    length = ids.shape[1]
    layout = Layout([0] * length, list(range(length)), [0] * length, [0] * length, [0] * length)
    anchors = torch.arange(0, length - 3, 3).expand(sequences, -1)
    labels = torch.stack((ids.gather(1, anchors + 2), ids.gather(1, anchors + 3)), 2).flatten(1)
    return {
        "input_ids": ids,
        "position_ids": torch.arange(length).expand(sequences, -1),
        "attention_mask": layout_tensor([layout] * sequences),
        "anchors": anchors,
        "labels": labels,
    }


@torch.no_grad()
def accuracy(model, lora, lookahead, batch):
    """Share of right best tokens, by place."""
    ahead = run_ahead(model, lora, lookahead, batch, run_text(model, batch)[1])
    before = batch["input_ids"].gather(1, rows_ahead(batch, 2)[0])
    logits = model.get_output_embeddings()(ahead)
    logits = logits + lookahead.bias(before.flatten()).unflatten(0, before.shape)
    right = logits.argmax(-1) == batch["labels"]
    return right.unflatten(1, (-1, 2)).float().mean((0, 1)).tolist()


def test_the_first_place_is_learned_and_the_second_stays_at_chance(bases):
    model = load(bases["qwen3"]).float()
    config = LookaheadConfig("x", "x", None, 2, 8, 4, model.config.hidden_size)
    lookahead = Lookahead(tensor_shapes(config, model), model.get_input_embeddings().weight)
    lora, g = RowLora(model, lookahead.tensors), torch.Generator().manual_seed(0)
    optimizer, steps = torch.optim.Adam(lookahead.parameters(), lr=1e-2), 400
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, steps)
    for _ in range(steps):
        scores = score_batch(model, lora, lookahead, make_batch(g), OPTIONS)
        optimizer.zero_grad()
        scores.losses.sum().backward()
        optimizer.step()
        schedule.step()
    first, second = accuracy(model, lora, lookahead, make_batch(g, sequences=60))
    assert first > 0.97
    assert second < 1 / SYMBOLS + 0.13  # 180 draws: four deviations


def test_an_evaluation_counts_by_place(bases):
    """Against counts of its own; a row without a label counts nowhere."""
    model = load(bases["qwen3"]).float()
    config = LookaheadConfig("x", "x", None, 2, 8, 4, model.config.hidden_size)
    lookahead = Lookahead(tensor_shapes(config, model), model.get_input_embeddings().weight)
    batch = make_batch(torch.Generator().manual_seed(0))
    batch["labels"][0, -1] = -100
    scores = score_batch(model, RowLora(model, lookahead.tensors), lookahead, batch, OPTIONS)
    assert scores.labelled.sum() == batch["labels"].numel() - 1
    for values in (scores.losses, scores.accepted, scores.agrees):
        assert values[0, -1] == 0
    tally = Tally(2)
    tally.sums.append(tally.count(scores))
    found = tally.scores()
    agrees = scores.agrees.unflatten(1, (-1, 2))
    n = agrees.shape[0] * agrees.shape[1]
    assert abs(found["eval_agreement_1"] - float(agrees[..., 0].sum() / n)) < 1e-6
    assert abs(found["eval_agreement_2"] - float(agrees[..., 1].sum() / (n - 1))) < 1e-6
    whole = agrees[scores.labelled.unflatten(1, (-1, 2)).all(2)]
    run = whole[:, 0] + whole[:, 0] * whole[:, 1]
    assert abs(found["eval_accepted"] - float(run.mean())) < 1e-6


def test_a_place_that_nothing_counted_has_no_score():
    tally, none = Tally(tokens=2), torch.zeros(1, 2)
    labelled = torch.tensor([[True, False]])
    tally.sums.append(tally.count(Scores(labelled, none, labelled.float(), labelled.float())))
    found = tally.scores()
    assert found["eval_agreement_1"] == found["eval_acceptance_1"] == 1.0
    assert not {"eval_agreement_2", "eval_acceptance_2", "eval_accepted"} & found.keys()
