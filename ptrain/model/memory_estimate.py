"""How much memory a run will take on one device, from the configuration alone: no weights loaded.

Weights and optimiser are counted on a model without storage, activations by a forward pass over
tensors that have a shape and no content. Knows no sharding over devices, and on a GPU no
fragmentation.
"""

import copy
import math
import sys
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil
import torch
from peft import PeftModel
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AttentionInterface, AttentionMaskInterface

from pbranch.format.markers import MarkerIds
from pbranch.hf.load_model import refusing, vocabulary_size
from ptrain.config import Recipe
from ptrain.model import attention, vocabulary
from ptrain.model.base import Base, add_lora
from ptrain.model.fast_layers import use_fast_layers

# bytes of optimiser state a byte of trained weights, by a word in the optimiser's name
STATES = {"8bit": 0.5, "adafactor": 0.0, "lion": 1.0, "adagrad": 1.0, "rmsprop": 1.0, "sgd": 0.0}
ADAM = 2.0
FOUR_BIT = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes of a weight, with its scales quantised in turn
TRL_TILE = (4096, 32768)  # tokens and vocabulary of a tile of logits in trl's fused head
ONE_BAND = "ptrain_branch_one_band"
LAYER_GRADIENTS = 1.3  # what a layer keeps, and gradients on the way through it
# measured on glibc: resident, beyond what torch has alive; and code that training alone pages in
PIECES, LIBRARIES = 0.3, 250_000_000
TILE_COPIES = 3  # of our head's tile in float32


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes on one device, by what they hold, for a micro-batch of so many `sequences` of `length`
    tokens."""

    sequences: int
    length: int
    weights: int  # frozen ones, in the base's type or in 4 bits
    trained: int
    gradients: int
    optimizer: int
    activations: int  # kept for the backward pass, the mask included
    mask: int  # of each pair of tokens a byte, on a CPU a float32
    head: int
    process: int  # Python, its libraries and the data, where the device is the machine itself
    pieces: int = 0  # freed, and kept by the C library in pieces between what is alive

    @property
    def total(self) -> int:
        """At the peak: the backward pass begins, nothing of it has been freed."""
        parts = self.weights, self.trained, self.gradients, self.optimizer, self.process
        return sum(parts) + self.activations + self.head + self.pieces


def estimate(
    recipe: Recipe, length: int, config: Any, tokenizer: Any, markers: MarkerIds
) -> Estimate:
    """Memory of the run of `recipe`, filled in, with sequences of up to `length` tokens."""
    train, sequences = recipe.train, recipe.train.micro_rows or recipe.train.batch_rows
    device = pick_device(train.device)
    dtype = getattr(torch, train.dtype)
    model = build_empty(recipe, config, tokenizer, markers)
    everything = {id(t): t for t in (*model.parameters(), *model.buffers())}.values()
    trained = [t for t in everything if t.requires_grad]
    size = sum(map(_bytes, trained))
    share = next((s for word, s in STATES.items() if word in train.optimizer), ADAM)
    spared = _saved_by_quantising(model) if recipe.quantization else 0
    activations, states = count_activations(model, sequences, length, dtype)
    head = _head_bytes(model, sequences * length, device, dtype)
    if train.gradient_checkpointing:  # inputs of all layers; the head, and then a layer in full
        layers = config.get_text_config().num_hidden_layers
        layer = math.ceil(LAYER_GRADIENTS * activations / layers)
        activations = layers * states + max(0, layer - head)
    return Estimate(
        sequences=sequences,
        length=length,
        weights=sum(map(_bytes, everything)) - size - spared,
        trained=size,
        gradients=size,
        optimizer=math.ceil(share * size) + 4 * len(trained),  # and a counter of steps each
        activations=activations,
        mask=(4 if device == "cpu" else 1) * sequences * length * length,
        head=head,
        process=psutil.Process().memory_info().rss + LIBRARIES if device == "cpu" else 0,
        pieces=round(PIECES * (activations + head)) if device == "cpu" else 0,
    )


@refusing
def build_empty(recipe: Recipe, config: Any, tokenizer: Any, markers: MarkerIds) -> Any:
    """The model as it is trained, on the meta device: weights in float32 where all are trained."""
    from transformers import AutoModelForCausalLM

    device = pick_device(recipe.train.device)
    full = recipe.tuning == "full"
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            copy.deepcopy(config),  # a vocabulary that grows is written into it
            attn_implementation=_attention_name(config, device),
            dtype=torch.float32 if full else getattr(torch, recipe.train.dtype),
            trust_remote_code=recipe.trust_remote_code,
        )
        size = vocabulary_size(tokenizer)
        if size > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(size, pad_to_multiple_of=64, mean_resizing=False)
        if not full:
            model = add_lora(Base(recipe.model, model, tokenizer, markers, ""), recipe.lora)
            vocabulary.use_frozen_vocabulary(model)
            use_fast_layers(model)
    return model


def _attention_name(config: Any, device: str) -> str:
    """A function that keeps what the run's keeps, and finds no keys: a tensor without content has
    none. Bands gather theirs anew, so that one band keeps as much as many."""
    attention.register()
    name = attention.choose_attention("dense", device, 0, config)
    if name == attention.BRANCH_BANDS:
        AttentionInterface.register(ONE_BAND, attention.banded_forward)
        one = partial(attention.branch_bands, band=sys.maxsize)
        AttentionMaskInterface.register(ONE_BAND, one)
        return ONE_BAND
    return name


def count_activations(
    model: Any, sequences: int, length: int, dtype: torch.dtype
) -> tuple[int, int]:
    """Bytes that autograd keeps of one forward pass through all layers, with products in `dtype`,
    and bytes of the states between two layers."""
    plain: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    decoder = plain.base_model.train()
    kept: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    with FakeTensorMode():
        own = {
            name: torch.empty(t.shape, dtype=t.dtype).requires_grad_(t.requires_grad)
            for name, t in (*decoder.named_parameters(), *decoder.named_buffers())
        }
        ids = torch.zeros(sequences, length, dtype=torch.long)
        layout = torch.zeros(sequences, 4, length, dtype=torch.int32)
        batch = {"input_ids": ids, "position_ids": ids, "attention_mask": layout}
        with (
            torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            states = torch.func.functional_call(
                decoder, own, kwargs={**batch, "use_cache": False}
            ).last_hidden_state
        weights = {t.untyped_storage()._cdata for t in own.values()}
        total = sum(storage.nbytes() for key, storage in kept.items() if key not in weights)
        return total, _bytes(states)


def free_memory(device: str) -> int:
    """Bytes that the run may take of `device` (cpu or cuda), with what this process holds already:
    an estimate counts that as well."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    return psutil.virtual_memory().available + psutil.Process().memory_info().rss


def format_estimate(estimate: Estimate, recipe: Recipe) -> list[str]:
    """The estimate as lines, with what the device has."""
    e, size, device = estimate, spell_bytes, pick_device(recipe.train.device)
    what = "embedding and all" if recipe.tuning == "full" else "LoRA and marker rows"
    spared = ", gradient checkpointing" if recipe.train.gradient_checkpointing else ""
    quantised = f" in {recipe.quantization}" if recipe.quantization else ""
    free, name = free_memory(device), "this machine"
    if device == "cuda":
        name = torch.cuda.get_device_name()
    process = (
        f", process with its data {size(e.process)}, freed in pieces {size(e.pieces)}"
        if device == "cpu"
        else ""
    )
    return [
        f"memory of one process, unsharded, for {e.sequences} rows of {e.length} tokens{spared}:",
        f"  frozen weights{quantised} {size(e.weights)}; {what} {size(e.trained)}, gradients "
        f"{size(e.gradients)}, {recipe.train.optimizer} {size(e.optimizer)}",
        f"  activations {size(e.activations)} (dense mask {size(e.mask)}), head "
        f"{size(e.head)}{process}",
        f"  together about {size(e.total)}, {e.total / free:.0%} of what is free on {name} "
        f"({size(free)})",
    ]


def _head_bytes(model: Any, tokens: int, device: str, dtype: torch.dtype) -> int:
    """Of the head: states with their gradient, and a tile of logits. trl's head takes large tiles,
    and where it trains anything a copy of the whole matrix with the marker rows in place, and its
    gradient in float32."""
    head = model.get_output_embeddings()
    words, width = head.weight.shape
    states = tokens * width * (4 + dtype.itemsize)
    if device == "cpu" and isinstance(model, PeftModel):
        tile = min(tokens, vocabulary.TOKENS) * min(words, vocabulary.WORDS)
        return states + TILE_COPIES * 4 * tile
    learns = any(p.requires_grad for p in head.parameters())
    matrix = words * width * (head.weight.element_size() + 4) if learns else 0
    copies = 12 * 4 if device == "cpu" else dtype.itemsize  # Triton works in place
    return states + copies * min(tokens, TRL_TILE[0]) * min(words, TRL_TILE[1]) + matrix


def _saved_by_quantising(model: Any) -> int:
    """Bytes that 4-bit matrices save; embedding and head stay as they are."""
    head = model.get_output_embeddings()
    heads = {id(m) for m in head.modules()}
    linear = [
        m.weight
        for m in model.modules()
        if isinstance(m, nn.Linear) and id(m) not in heads and not m.weight.requires_grad
    ]
    return sum(_bytes(w) - math.ceil(w.numel() * FOUR_BIT) for w in linear)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def pick_device(name: str) -> str:
    """cpu or cuda, of a recipe's `train.device`."""
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def spell_bytes(size: float) -> str:
    """`1.42 GB`."""
    power = min(4, int(math.log10(max(size, 1)) // 3))
    return f"{size / 1000**power:.3g} {'B kB MB GB TB'.split()[power]}"
