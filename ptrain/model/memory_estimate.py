"""How much memory a run will take on one device, from the configuration alone: no weights loaded.

Weights and optimiser are counted on a model without storage, activations by a forward pass over
tensors that have a shape and no content. Knows no sharding over devices and no fragmentation.
"""

import math
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from peft import PeftModel
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from pbranch.format.markers import MarkerIds
from ptrain.config import Recipe
from ptrain.model import attention
from ptrain.model.base import Base, add_lora, choose_dtype

# bytes of optimiser state a byte of trained weights, by a word in the optimiser's name
STATES = {"8bit": 0.5, "adafactor": 0.0, "lion": 1.0, "adagrad": 1.0, "rmsprop": 1.0, "sgd": 0.0}
ADAM = 2.0
FOUR_BIT = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes of a weight, with its scales quantised in turn
TILE = (4096, 32768)  # tokens and vocabulary of a tile of logits in trl's fused head
TILE_COPIES = 8  # of a tile in float32, where no Triton kernel works in place


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
    mask: int
    head: int

    @property
    def total(self) -> int:
        """At the peak: the backward pass begins, nothing of it has been freed."""
        parts = self.weights, self.trained, self.gradients, self.optimizer
        return sum(parts) + self.activations + self.head


def estimate(
    recipe: Recipe, config: Any, tokenizer: Any, markers: MarkerIds, length: int
) -> Estimate:
    """Memory of the run of `recipe` with sequences of up to `length` tokens."""
    train, sequences = recipe.train, recipe.train.micro_rows or recipe.train.batch_rows
    device = _device(train.device)
    dtype = choose_dtype(train.dtype, device)
    model = build_empty(recipe, config, tokenizer, markers)
    everything = {id(t): t for t in (*model.parameters(), *model.buffers())}.values()
    trained = [t for t in everything if t.requires_grad]
    size = sum(map(_bytes, trained))
    share = next((s for word, s in STATES.items() if word in train.optimizer), ADAM)
    spared = _saved_by_quantising(model) if recipe.quantization else 0
    return Estimate(
        sequences=sequences,
        length=length,
        weights=sum(map(_bytes, everything)) - size - spared,
        trained=size,
        gradients=size,
        optimizer=math.ceil(share * size) + 4 * len(trained),  # and a counter of steps each
        activations=count_activations(
            model, sequences, length, dtype, train.gradient_checkpointing
        ),
        mask=sequences * length * length,
        head=_head_bytes(model, sequences * length, device, dtype),
    )


def build_empty(recipe: Recipe, config: Any, tokenizer: Any, markers: MarkerIds) -> Any:
    """The model as it is trained, on the meta device: weights in float32 where all are trained."""
    from transformers import AutoModelForCausalLM

    attention.register()
    device = _device(recipe.train.device)
    full = recipe.tuning == "full"
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config,
            attn_implementation=attention.dense_name(config),
            dtype=torch.float32 if full else choose_dtype(recipe.train.dtype, device),
            trust_remote_code=recipe.trust_remote_code,
        )
        if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
            size = len(tokenizer)
            model.resize_token_embeddings(size, pad_to_multiple_of=64, mean_resizing=False)
        if not full:
            model = add_lora(Base(recipe.model, model, tokenizer, markers, ""), recipe.lora)
    return model


def count_activations(
    model: Any, sequences: int, length: int, dtype: torch.dtype, checkpointing: bool
) -> int:
    """Bytes that autograd keeps of one forward pass through all layers, with products in `dtype`.

    With gradient checkpointing: the input of each layer, and one layer at a time in full.
    """
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
        if checkpointing:
            layers = decoder.config.get_text_config().num_hidden_layers
            return total // layers + layers * _bytes(states)
        return total


def format_estimate(estimate: Estimate, recipe: Recipe) -> list[str]:
    """The estimate as lines, with what the device has."""
    e, device = estimate, _device(recipe.train.device)
    what = "embedding and all" if recipe.tuning == "full" else "LoRA and marker rows"
    spared = ", gradient checkpointing" if recipe.train.gradient_checkpointing else ""
    quantised = f" in {recipe.quantization}" if recipe.quantization else ""
    if device == "cuda":
        name, has = torch.cuda.get_device_name(), torch.cuda.mem_get_info()[1]
    else:
        name, has = "this machine", psutil.virtual_memory().total
    return [
        f"memory of one process, unsharded, for {e.sequences} rows of {e.length} tokens{spared}:",
        f"  frozen weights{quantised} {_spell(e.weights)}; {what} {_spell(e.trained)}, "
        f"gradients {_spell(e.gradients)}, {recipe.train.optimizer} {_spell(e.optimizer)}",
        f"  activations {_spell(e.activations)} (dense mask {_spell(e.mask)}), "
        f"head {_spell(e.head)}",
        f"  together about {_spell(e.total)}, {e.total / has:.0%} of the {_spell(has)} of {name}",
    ]


def _head_bytes(model: Any, tokens: int, device: str, dtype: torch.dtype) -> int:
    """Of trl's fused head: gradient of the states, a tile of logits, and what marker rows cost: a
    copy of the whole matrix with the rows in place, and its gradient in float32."""
    head = model.get_output_embeddings()
    words, width = head.weight.shape
    tile_tokens = min(tokens, TILE[0])
    tile = tile_tokens * TILE[1] * dtype.itemsize
    if device == "cpu":
        tile += TILE_COPIES * tile_tokens * min(words, TILE[1]) * 4
    learns = any(p.requires_grad for p in head.parameters())
    matrix = words * width * (head.weight.element_size() + 4) if learns else 0
    return tokens * width * 4 + tile + matrix


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


def _device(name: str) -> str:
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def _spell(size: float) -> str:
    power = min(4, int(math.log10(max(size, 1)) // 3))
    return f"{size / 1000**power:.3g} {'B kB MB GB TB'.split()[power]}"
