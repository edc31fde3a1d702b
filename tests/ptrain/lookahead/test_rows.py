"""Look-ahead rows: where they stand, what they are to say, what they see, and that two passes give
the gradients of one."""

import random

import pytest
import torch
from torch.nn.functional import cross_entropy

from pbranch.format.layout import NO_TARGET, LayoutOptions, build_layout
from pbranch.format.visibility import dense_mask
from pbranch.hf.load_model import load_model
from pbranch.hf.lookahead.files import LookaheadConfig, tensor_shapes
from pbranch.hf.lookahead.row_lora import RowLora
from ptrain.data.dataset import Example
from ptrain.lookahead.anchors import LookaheadCollator, count_ahead, rows_ahead
from ptrain.lookahead.row_pass import ATTENTION, RowPass, ahead_mask, register, run_ahead, run_text
from ptrain.lookahead.weights import Lookahead
from ptrain.model.base import load_base
from tests.ptrain.conftest import random_trace

torch.set_num_threads(1)
TOKENS, ANCHORS = 3, 5
FAMILIES = ["llama", "mistral", "qwen2", "qwen3"]


def layouts(base, n=3, options=None):
    rng, codec = random.Random(4), Letters()
    prompt = base.tokenizer.encode("low high")
    return [
        build_layout(prompt, random_trace(rng), codec, base.markers, 2, options) for _ in range(n)
    ]


class Letters:
    """A token a letter, of a vocabulary that any base of the tests has."""

    def encode(self, text):
        return [3 + ord(c) % 90 for c in text]


def batch_of(found, anchors=ANCHORS):
    examples = [Example(len(x), x) for x in found]
    collator = LookaheadCollator(examples, TOKENS, anchors, seed=1)
    return collator([{"sequence": i, "draw": i} for i in range(len(found))])


def load(folder):
    register()
    model = load_model(str(folder), torch.float64, attention=ATTENTION)
    return model.requires_grad_(False)


def lookahead_for(model, r=4, markov_rank=4):
    """With values everywhere: no part starts as nothing."""
    config = LookaheadConfig("x", "x", None, TOKENS, r, markov_rank, model.config.hidden_size)
    found = Lookahead(tensor_shapes(config, model), model.get_input_embeddings().weight).double()
    g = torch.Generator().manual_seed(2)
    for values in found.parameters():
        values.data = 0.2 * torch.randn(values.shape, generator=g, dtype=torch.float64)
    return found


@pytest.mark.parametrize("options", [LayoutOptions(), LayoutOptions("flat", "own", "reencode")])
def test_a_row_says_what_its_lane_says_next(bases, options):
    """Read off the layout anew: from an anchor on along the lane, token by token."""
    base = load_base(str(bases["qwen3"]))
    found = layouts(base, 12, options)
    batch = batch_of(found, 1000)
    rows, positions = rows_ahead(batch, TOKENS)
    labels = batch["labels"].unflatten(1, (-1, TOKENS))
    seen = 0
    for b, layout in enumerate(found):
        mask = dense_mask(batch["attention_mask"])[b, 0]
        for g, anchor in enumerate(batch["anchors"][b].tolist()):
            lane = [anchor]  # the rows of the anchor's lane that follow it, while text is sampled
            while layout.targets[lane[-1]] != NO_TARGET:
                following = lane[-1] + 1
                if following == len(layout) or not mask[following, lane[-1]]:
                    break
                if layout.token_ids[following] != layout.targets[lane[-1]]:
                    break
                lane.append(following)
            wanted = [layout.targets[row] for row in lane[1:]][:TOKENS]
            wanted = [t for t in wanted if t != NO_TARGET]
            assert labels[b, g].tolist()[: len(wanted)] == wanted
            assert set(labels[b, g].tolist()[len(wanted) :]) <= {NO_TARGET}
            for k in range(len(wanted)):
                at = g * TOKENS + k
                assert rows[b, at] == lane[k + 1]
                assert positions[b, at] == layout.position_ids[lane[k + 1]]
            seen += len(wanted)
    assert seen > 200
    able = sum(reach > 0 for layout in found for reach in count_ahead(layout))
    assert able > 100


def test_anchors_depend_on_seed_and_draw_alone(bases):
    base = load_base(str(bases["qwen3"]))
    examples = [Example(len(x), x) for x in layouts(base)]
    collator = LookaheadCollator(examples, TOKENS, 2, seed=1)
    items = [{"sequence": 0, "draw": 7}, {"sequence": 1, "draw": 8}]
    one, other = collator(items), collator(items[:1])
    assert torch.equal(one["anchors"][0], other["anchors"][0])
    drawn = {tuple(collator([{"sequence": 0, "draw": n}])["anchors"][0].tolist()) for n in range(9)}
    assert len(drawn) > 3


@pytest.mark.parametrize("family", FAMILIES)
def test_two_passes_give_the_gradients_of_one(bases, family):
    """One pass over the text and its look-ahead rows, under one mask, the LoRA on the latter."""
    base = load_base(str(bases[family]))
    model = load(bases[family])
    lookahead = lookahead_for(model)
    lora, batch = RowLora(model, lookahead.tensors), batch_of(layouts(base))
    labelled = batch["labels"] != NO_TARGET
    rows, positions = rows_ahead(batch, TOKENS)
    before = batch["input_ids"].gather(1, rows)

    def loss_of(states):
        head = model.get_output_embeddings()
        logits = head(states[labelled]) + lookahead.bias(before[labelled])
        return cross_entropy(logits, batch["labels"][labelled])

    def gradients(loss):
        return torch.autograd.grad(loss, list(lookahead.parameters()))

    text, text_pass = run_text(model, batch)
    split = loss_of(run_ahead(model, lora, lookahead, batch, text_pass))

    def joint_mask(window):
        own = dense_mask(batch["attention_mask"], window)
        ahead = ahead_mask(batch, positions, window)
        blind = torch.zeros(*own.shape[:3], ahead.shape[2], dtype=torch.bool)
        return torch.cat((torch.cat((own, blind), 3), ahead), 2)

    length = batch["input_ids"].shape[1]
    embedded = model.get_input_embeddings()(batch["input_ids"])
    with lora.on(length):
        states = model.base_model(
            inputs_embeds=torch.cat((embedded, lookahead.embed(*batch["anchors"].shape)), 1),
            position_ids=torch.cat((batch["position_ids"], positions), 1),
            use_cache=False,
            row_pass=RowPass(joint_mask),
        ).last_hidden_state
    joint = loss_of(states[:, length:])
    torch.testing.assert_close(split, joint)
    torch.testing.assert_close(states[:, :length], text)
    for one, other in zip(gradients(split), gradients(joint), strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-8)
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_bare_model_is_untouched_and_weights_are_counted(bases, family):
    """Weights and logits bit for bit, with the hooks in place."""
    base, model = load_base(str(bases[family])), load(bases[family])
    state = {name: x.clone() for name, x in model.state_dict().items()}
    batch = batch_of(layouts(base))
    plain, _ = run_text(model, batch)
    lookahead = lookahead_for(model)
    lora = RowLora(model, lookahead.tensors)
    loss = run_ahead(model, lora, lookahead, batch, run_text(model, batch)[1]).square().sum()
    loss.backward()
    again, _ = run_text(model, batch)
    assert torch.equal(plain, again)
    assert all(torch.equal(x, state[name]) for name, x in model.state_dict().items())
    # width 32, 4 and 2 heads of 16, inner width 64, 2 layers, rank 4
    inputs, outputs = 32 + 64 + 32 + 64, (64 + 2 * 32) + 32 + 128 + 32
    vocabulary = len(model.get_output_embeddings().weight)
    wanted = TOKENS * 32 + 2 * 4 * (inputs + outputs) + 2 * 4 * vocabulary
    assert sum(p.numel() for p in lookahead.parameters()) == wanted
