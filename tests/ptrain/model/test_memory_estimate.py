"""The memory estimate against what is really allocated."""

from dataclasses import replace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM, Qwen3Config
from trl.trainer.utils import add_fused_lm_head

from pbranch.hf.load_model import load_config
from ptrain.config import LoraOptions, Recipe, TrainOptions
from ptrain.data.batching import make_sequences, sequence_lengths
from ptrain.data.collator import collate
from ptrain.data.dataset import Encoder
from ptrain.model.attention import BRANCH_BANDS
from ptrain.model.base import add_lora, load_base, load_marked_tokenizer
from ptrain.model.defaults import fill_in
from ptrain.model.fast_layers import use_fast_layers
from ptrain.model.memory_estimate import build_empty, estimate, format_estimate
from ptrain.model.vocabulary import use_frozen_vocabulary
from tests.ptrain.conftest import make_records, make_tokenizer

FACTOR = 1.15  # how far the estimate of a peak may be off, either way


def bytes_of(tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


def look(recipe, length=64):
    path = recipe.model
    recipe = fill_in(recipe, load_config(path), "cpu")
    return estimate(recipe, length, load_config(path), *load_marked_tokenizer(path))


@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize(
    ("family", "dtype"),
    [("qwen3", "float32"), ("qwen3", "bfloat16"), ("llama", "bfloat16"), ("wide", "float32")],
)
def test_weights_and_optimiser_are_counted_exactly(bases, family, dtype, tuning):
    options = TrainOptions(device="cpu", dtype=dtype, batch_rows=1)
    recipe = Recipe(data="x", model=str(bases[family]), tuning=tuning, train=options)
    found = look(recipe)
    base = load_base(recipe.model, torch.float32 if tuning == "full" else getattr(torch, dtype))
    model = add_lora(base, recipe.lora) if tuning == "lora" else base.model
    trained = [p for p in model.parameters() if p.requires_grad]
    frozen = [p for p in model.parameters() if not p.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    states = [t for state in optimizer.state.values() for t in state.values()]
    assert found.weights == bytes_of([*frozen, *model.buffers()])
    assert found.trained == bytes_of(trained)
    assert found.gradients == bytes_of(p.grad for p in trained)
    assert found.optimizer == bytes_of(states)


def test_nothing_is_loaded(bases):
    options = TrainOptions(device="cpu", dtype="float32")
    recipe = Recipe(data="x", model=str(bases["llama"]), train=options)
    model = build_empty(recipe, load_config(recipe.model), *load_marked_tokenizer(recipe.model))
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_four_bits_are_counted_as_bitsandbytes_stores_them(bases):
    functional = pytest.importorskip("bitsandbytes").functional
    recipe = Recipe(data="x", model=str(bases["llama"]), train=TrainOptions(device="cpu"))
    quantised = replace(recipe, quantization="nf4")
    model = load_base(recipe.model).model
    saved = 0
    for name, weight in model.named_parameters():
        if weight.ndim == 2 and "embed" not in name and "lm_head" not in name:
            packed, state = functional.quantize_4bit(
                weight.detach(), quant_type="nf4", compress_statistics=True
            )
            scales = [state.absmax, state.state2.absmax]  # the tables beside them are of fixed size
            saved += bytes_of([weight]) - bytes_of([packed, *scales])
    found = look(recipe).weights - look(quantised).weights
    assert found == pytest.approx(saved, rel=2e-3)


def measure(recipe, model, batch):
    """Peak of what forward and backward of one batch allocate on the CPU, in bytes."""
    model.train()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        output = model(**batch, use_cache=False, fused_lm_head=True)
        (-output.log_probs).sum().backward()
        del output
    events = profiler.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    now = peak = 0
    for _, change in changes:
        now += change
        peak = max(peak, now)
    return peak


@pytest.fixture(scope="module")
def middle(tmp_path_factory):
    """A base of 6 layers, 256 wide, with 8,000 entries in its vocabulary: large enough that what
    a layer keeps is most of the peak."""
    folder, tokenizer = tmp_path_factory.mktemp("middle"), make_tokenizer()
    config = Qwen3Config(
        vocab_size=8000, hidden_size=256, intermediate_size=768, num_hidden_layers=6,
        num_attention_heads=8, num_key_value_heads=4, head_dim=32, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_the_peak_is_estimated_within_fifteen_percent(middle, tuning, checkpointing):
    options = TrainOptions(
        device="cpu", dtype="float32", micro_rows=4, gradient_checkpointing=checkpointing
    )
    recipe = Recipe(
        data="x", model=str(middle), tuning=tuning, train=options, lora=LoraOptions(r=8)
    )
    base = load_base(recipe.model)
    encode = Encoder(base.tokenizer, base.markers, recipe.branches.layout)
    rows = sorted(map(encode, make_records(40)), key=len)[-4:]
    batch = {key: x for key, x in collate(rows).items() if key != "kinds"}
    add_fused_lm_head(base.model)
    if checkpointing:
        base.model.gradient_checkpointing_enable({"use_reentrant": False})
        base.model.enable_input_require_grads()
    model = add_lora(base, recipe.lora) if tuning == "lora" else base.model
    use_frozen_vocabulary(model)
    use_fast_layers(model)
    model.set_attn_implementation(BRANCH_BANDS)
    measured = measure(recipe, model, batch)
    found = look(recipe, length=max(map(len, rows)))
    guess = found.activations + found.head + found.gradients
    print(f"{tuning}, checkpointing {checkpointing}: {guess:,} estimated, {measured:,} measured")
    assert measured / FACTOR < guess < measured * FACTOR


def test_the_lines_say_what_it_is_for(bases):
    options = TrainOptions(
        device="cpu", dtype="float32", batch_rows=8, packing=True, max_length=300
    )
    recipe = Recipe(data="x", model=str(bases["qwen3"]), train=options)
    lengths = [100, 200, 150]
    assert max(sequence_lengths(lengths, make_sequences(lengths, options, 0))) == 300
    lines = format_estimate(look(recipe, 300), recipe)
    assert lines[0] == "memory of one process, unsharded, for 8 rows of 300 tokens:"
    assert "free on this machine" in lines[-1] and "together about" in lines[-1]
    spared = look(replace(recipe, train=replace(options, gradient_checkpointing=True)), 300)
    assert spared.activations < look(recipe, 300).activations
