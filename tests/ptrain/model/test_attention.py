"""Which attention a run takes, and that FlexAttention's mask and outputs are the dense ones."""

import random
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import flex_attention as torch_flex
from transformers import Gemma2Config, LlamaConfig
from transformers.integrations import flex_attention as flex_integration

from pbranch.errors import RecipeError
from pbranch.format.layout import NO_TARGET, build_layout, concatenate
from pbranch.format.tree import make_trace
from pbranch.format.visibility import dense_mask, layout_tensor
from ptrain.config import LoraOptions, Recipe, TrainOptions
from ptrain.data.collator import BranchCollator, collate
from ptrain.data.dataset import Example
from ptrain.model import attention
from ptrain.model.attention import BRANCH, BRANCH_BANDS, BRANCH_EAGER, BRANCH_FLEX, choose_attention
from ptrain.model.base import load_base
from ptrain.train import train
from tests.pbranch.format.test_layout import OPTIONS, TOY, rows_of
from tests.ptrain.conftest import random_trace
from tests.support.strategies import traces

PLAIN = LlamaConfig()
CAPPED = Gemma2Config(attn_logit_softcapping=50.0)
DROPPING = LlamaConfig(attention_dropout=0.1)


@pytest.mark.parametrize(
    ("option", "device", "longest", "config", "name"),
    [
        ("auto", "cpu", 32768, PLAIN, BRANCH_BANDS),
        ("auto", "cpu", 32768, CAPPED, BRANCH_EAGER),
        ("auto", "cuda", 4095, PLAIN, BRANCH),
        ("auto", "cuda", 4096, PLAIN, BRANCH_FLEX),
        ("auto", "cuda", 4096, CAPPED, BRANCH_FLEX),
        ("auto", "cuda", 4096, DROPPING, BRANCH),
        ("auto", "mps", 8192, PLAIN, BRANCH),
        ("dense", "cuda", 32768, PLAIN, BRANCH),
        ("flex", "cuda", 100, PLAIN, BRANCH_FLEX),
    ],
)
def test_what_is_chosen(option, device, longest, config, name):
    assert choose_attention(option, device, longest, config) == name


@pytest.mark.parametrize(
    ("device", "config", "reason"),
    [("cpu", PLAIN, "no backward pass on cpu"), ("cuda", DROPPING, "attention_dropout is 0.1")],
)
def test_flex_is_refused_where_it_cannot_train(device, config, reason):
    with pytest.raises(RecipeError, match=rf"train\.attention: found flex, but .*{reason}"):
        choose_attention("flex", device, 8192, config)


def test_names_do_not_trip_transformers():
    for name in (BRANCH, BRANCH_BANDS, BRANCH_EAGER, BRANCH_FLEX):
        assert not re.search("flash|sdpa|flex_attention", name)


@pytest.mark.parametrize("key", ["CP_SIZE", "SP_SIZE"])
def test_context_parallelism_is_refused(monkeypatch, key):
    attention.refuse_context_parallelism()
    monkeypatch.setenv(f"PARALLELISM_CONFIG_{key}", "2")
    attention.refuse_context_parallelism()  # accelerate does not read it without the next one
    monkeypatch.setenv("ACCELERATE_USE_PARALLELISM_CONFIG", "true")
    with pytest.raises(RecipeError, match=rf"{key.lower()}: found 2.*lose their branch mask"):
        attention.refuse_context_parallelism()
    monkeypatch.setenv(f"PARALLELISM_CONFIG_{key}", "1")
    attention.refuse_context_parallelism()


def test_a_run_says_what_it_took_and_refuses_flex_on_a_cpu(bases, data, tmp_path, capsys):
    options = {"steps": 1, "batch_rows": 2, "device": "cpu"}
    recipe = Recipe(str(data), str(bases["qwen3"]), out=str(tmp_path), lora=LoraOptions(r=2))
    train(replace(recipe, train=TrainOptions(**options)))
    printed = capsys.readouterr().err
    assert re.search(r"rows, [\d.]+% of 4096 tokens full; .* less than the \d+ of one row", printed)
    assert re.search(
        r"attention: ptrain_branch_bands \(auto; rows of up to \d+ tokens on cpu\)", printed
    )
    with pytest.raises(RecipeError, match="no backward pass on cpu"):
        flex = TrainOptions(attention="flex", **options)
        train(replace(recipe, out=str(tmp_path / "flex"), train=flex))


# --- the block mask ---


def spelled_out(mask):
    """A BlockMask as the dense mask (B, 1, L, L) that a kernel applies.

    A block is skipped, taken whole, or masked by mask_mod.
    """
    batch, _, length, _ = mask.shape
    b, i = torch.arange(batch)[:, None, None, None], torch.arange(length)
    rule = mask.mask_mod(b, torch.tensor(0), i[:, None], i)
    blocks = [SimpleNamespace(n=mask.kv_num_blocks, at=mask.kv_indices)]
    blocks += [SimpleNamespace(n=mask.full_kv_num_blocks, at=mask.full_kv_indices)]
    partial, full = (listed(x.n, x.at, length, mask.BLOCK_SIZE) for x in blocks)
    assert not (partial & full).any()
    return (partial & rule) | full


def listed(number, indices, length, size):
    """Bool (B, 1, L, L): inside a listed block."""
    batch, _, across = number.shape
    grid = torch.zeros(batch, 1, across, indices.shape[-1], dtype=torch.bool)
    for b in range(batch):
        for q in range(across):
            grid[b, 0, q, indices[b, 0, q, : number[b, 0, q]].long()] = True
    whole = grid.repeat_interleave(size[0], 2).repeat_interleave(size[1], 3)
    return whole[:, :, :length, :length]


@given(
    st.lists(
        st.lists(traces(depth=3, traps=False), min_size=1, max_size=4), min_size=1, max_size=2
    ),
    OPTIONS,
    st.sampled_from([None, 1, 5, 40, 200]),
    st.booleans(),
)
def test_a_block_mask_is_the_dense_mask(rows, options, window, padded):
    layouts = [concatenate([rows_of(t, options) for t in row]) for row in rows]
    longest = max(map(len, layouts))
    tensor = layout_tensor(layouts, -(-longest // 128) * 128 if padded else longest)
    mask = attention.block_mask(tensor, window)
    assert torch.equal(spelled_out(mask), dense_mask(tensor, window))


def test_long_rows_have_blocks_of_all_sorts():
    """Packed and branched rows of 1,024 tokens: skipped, whole and partial blocks."""
    rng = random.Random(0)
    rows = []
    for _ in range(2):
        layouts = [rows_of(random_trace(rng, 3), prompt=[8] * 150) for _ in range(20)]
        while sum(map(len, layouts)) > 1024:
            layouts.pop()
        rows.append(concatenate(layouts))
    tensor = layout_tensor(rows, 1024)
    for window in (None, 100):
        mask = attention.block_mask(tensor, window)
        assert mask.kv_num_blocks.sum() > 0 and mask.sparsity() > 50
        assert window or mask.full_kv_num_blocks.sum() > 0
        assert torch.equal(spelled_out(mask), dense_mask(tensor, window))


# --- through a model ---


@pytest.fixture
def uncompiled(monkeypatch):
    """FlexAttention's plain definition: compiling it takes half a minute."""
    monkeypatch.setattr(torch_flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)

    def plain(query, key, value, training=False, **kwargs):
        return torch_flex.flex_attention(query, key, value, **kwargs)

    monkeypatch.setattr(flex_integration, "compile_friendly_flex_attention", plain)


@pytest.mark.parametrize("family", ["qwen3", "mistral", "gemma3", "gemma2"])
def test_outputs_are_the_dense_ones(bases, uncompiled, monkeypatch, family):
    base = load_base(str(bases[family]))
    rng, model = random.Random(1), base.model
    rows = [
        concatenate(
            [build_layout([5, 6], random_trace(rng), Letters(), base.markers, 2) for _ in range(n)]
        )
        for n in (2, 1)
    ]
    built = []
    dense, blocks = attention.dense_mask, attention.block_mask
    monkeypatch.setattr(
        attention, "block_mask", lambda t, window=None: built.append(window) or blocks(t, window)
    )
    monkeypatch.setattr(
        attention, "dense_mask", lambda t, window=None: built.append(window) or dense(t, window)
    )
    logits = {}
    for name in (attention.dense_name(model.config), BRANCH_FLEX):
        model.set_attn_implementation(name)
        batch = collate(rows, multiple=attention.length_multiple(name))
        assert name != BRANCH_FLEX or batch["input_ids"].shape[1] % 128 == 0
        del batch["kinds"], batch["labels"], batch["shift_labels"]
        with torch.no_grad():
            logits[name] = model(**batch, use_cache=False).logits
    expected, found = logits.values()
    for row, layout in enumerate(rows):
        n = len(layout)
        torch.testing.assert_close(found[row, :n], expected[row, :n], rtol=1e-5, atol=1e-5)
    windows = {"qwen3": [None], "mistral": [24]}.get(family, [None, 24])
    assert sorted(built, key=str) == sorted(2 * windows, key=str)  # not once a layer


class Letters:
    """One token a character."""

    def encode(self, text):
        return [20 + ord(c) % 200 for c in text]


@pytest.mark.parametrize(("family", "windows"), [("qwen3", 1), ("gemma3", 2)])
def test_bands_are_the_whole_call(bases, monkeypatch, family, windows):
    """Outputs and gradients, whatever the height of a band; packed rows and padding. All layers of
    a window share its bands."""
    base = load_base(str(bases[family]))
    rng = random.Random(2)
    layouts = [
        build_layout([5, 6], random_trace(rng), Letters(), base.markers, 2) for _ in range(3)
    ]
    batch = collate([concatenate(layouts[:2]), layouts[2]])
    shift = batch.pop("shift_labels")
    del batch["kinds"], batch["labels"]
    found, masks, make = [], [], attention.dense_mask
    monkeypatch.setattr(attention, "dense_mask", lambda *a, **k: masks.append(k) or make(*a, **k))
    for name, band in ((BRANCH, 0), (BRANCH_BANDS, 10**6), (BRANCH_BANDS, 64), (BRANCH_BANDS, 7)):
        base.model.set_attn_implementation(name)
        monkeypatch.setattr(attention, "BAND", band)
        loss = torch.nn.functional.cross_entropy(
            base.model(**batch, use_cache=False).logits.transpose(1, 2), shift, reduction="sum"
        )
        weights = base.model.model.layers[0].self_attn.k_proj.weight
        found.append((loss, *torch.autograd.grad(loss, weights)))
    for loss, gradient in found[1:]:
        torch.testing.assert_close(loss, found[0][0], rtol=1e-6, atol=0)
        torch.testing.assert_close(gradient, found[0][1], rtol=1e-4, atol=1e-4)
    assert len(masks) == 4 * windows


def test_shapes_of_batches_can_be_few():
    layouts = [rows_of(make_trace("a" * n)) for n in (5, 200)] + [rows_of(TOY)]
    examples = [Example(len(x), x) for x in layouts]
    collator = BranchCollator(examples, [[0], [1], [2], [0, 1]])
    assert collator.longest == len(layouts[0]) + len(layouts[1])
    alone = collator([{"sequence": 0, "linear": 0}])
    assert alone["attention_mask"].shape == (1, 2, len(layouts[0]))
    collator.limit_shapes(128)
    batches = [collator([{"sequence": n, "linear": 0}]) for n in range(4)]
    shapes = {n: batch["attention_mask"].shape for n, batch in enumerate(batches)}
    assert shapes == {0: (1, 4, 128), 1: (1, 4, 256), 2: (1, 4, 128), 3: (1, 4, 256)}
    batch = collator([{"sequence": 0, "linear": 0}])
    assert (batch["labels"][0, len(layouts[0]) :] == NO_TARGET).all()
