"""Whether the modules that a LoRA configuration names are there, and can be tuned and merged.

peft passes over most names that match nothing, and finds the rest out late. Loads no weights: a
model on the meta device will do.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any

from peft.tuners.tuners_utils import check_target_module_exists
from torch import nn
from transformers.pytorch_utils import Conv1D

from pbranch.errors import RecipeError, did_you_mean
from ptrain.config import LoraOptions

ALL_LINEAR = "all-linear"
Names = str | Collection[str]  # a regular expression of whole names, or ends of names


def check_targets(model: Any, config: Any) -> None:
    """Raise RecipeError, naming the key, unless all that `config` (a LoraConfig) names is in
    `model` and can be tuned next to the marker rows of the vocabulary."""
    modules = dict(model.named_modules())
    vocabulary = {model.get_input_embeddings(), model.get_output_embeddings()}
    if config.target_modules != ALL_LINEAR:
        _refuse_unknown("lora.target_modules", config.target_modules, modules)
    _refuse_unknown("lora.options.exclude_modules", config.exclude_modules or (), modules)
    saved = config.modules_to_save or ()
    _refuse_unknown("lora.options.modules_to_save", saved, modules)
    for name in saved:
        for match in _matches([name], modules):
            if vocabulary & set(modules[match].modules()):
                _refuse_vocabulary("lora.options.modules_to_save", name)
    _check_layers(model, config)
    chosen = _choose(model, config, modules)
    for name in chosen:
        if modules[name] in vocabulary:
            _refuse_vocabulary("lora.target_modules", name)
        if not isinstance(modules[name], nn.Linear | Conv1D):
            kind = type(modules[name]).__name__
            raise RecipeError(f"lora.target_modules: {name} is a {kind}, expected linear layers")
    parameters = list(_find_parameters(model, config, vocabulary, chosen))
    if not chosen and not parameters:
        raise RecipeError(
            "lora.target_modules: no layer remains, expected one after exclude_modules, "
            "modules_to_save, layers_to_transform and layers_pattern of lora.options"
        )
    _check_patterns(config, [*chosen, *parameters])
    _check_ranks(config, {name: modules[name] for name in chosen})
    _check_biases(model, config, {name: modules[name] for name in chosen})


def _choose(model: Any, config: Any, modules: dict[str, nn.Module]) -> list[str]:
    """Names of the modules that peft will put LoRA on."""
    if config.target_modules != ALL_LINEAR:
        return [name for name in modules if check_target_module_exists(config, name)]
    # as peft: all but the head, and what is excluded or trained whole
    head = model.get_output_embeddings()
    probe = type(config)(
        target_modules=r".*",
        exclude_modules=config.exclude_modules,
        modules_to_save=config.modules_to_save,
    )
    return [
        name
        for name, module in modules.items()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
        if check_target_module_exists(probe, name)
    ]


def _find_parameters(
    model: Any, config: Any, vocabulary: set[nn.Module], chosen: Collection[str]
) -> Iterator[str]:
    """Full names of `target_parameters`."""
    key = "lora.options.target_parameters"
    owners = {
        f"{owner}.{name}": (owner, module, parameter)
        for owner, module in model.named_modules()
        for name, parameter in module.named_parameters(recurse=False)
    }
    _refuse_unknown(key, config.target_parameters or (), owners, "parameter")
    for name in _matches(config.target_parameters or (), owners):
        owner, module, parameter = owners[name]
        if module in vocabulary:
            _refuse_vocabulary(key, name)
        if owner in chosen:
            raise RecipeError(f"{key}: {name} is of a layer that lora.target_modules names as well")
        if parameter.ndim not in (2, 3):
            raise RecipeError(f"{key}: {name} has {parameter.ndim} dimensions, expected 2 or 3")
        yield name


def _check_layers(model: Any, config: Any) -> None:
    layers, count = config.layers_to_transform, model.config.get_text_config().num_hidden_layers
    for number in [layers] if isinstance(layers, int) else layers or ():
        if not 0 <= number < count:
            raise RecipeError(
                f"lora.options.layers_to_transform: found {number}, expected 0 to {count - 1}"
            )
    patterns = config.layers_pattern or ()
    _refuse_unknown(
        "lora.options.layers_pattern",
        [patterns] if isinstance(patterns, str) else patterns,
        dict(model.named_modules()),
    )


def _check_patterns(config: Any, names: Collection[str]) -> None:
    for key, patterns in (
        ("rank_pattern", config.rank_pattern),
        ("alpha_pattern", config.alpha_pattern),
    ):
        for pattern in patterns or ():
            if not any(_is_pattern_of(key, pattern, name) for name in names):
                raise RecipeError(f"lora.options.{key}: {pattern} matches no layer that has LoRA")


def _check_ranks(config: Any, layers: dict[str, Any]) -> None:
    """Starts that are computed from weights have no more directions than those."""
    init = config.init_lora_weights
    for name, layer in layers.items():
        ranks = (
            r for p, r in config.rank_pattern.items() if _is_pattern_of("rank_pattern", p, name)
        )
        rank, most = next(ranks, config.r), min(_shape(layer))
        if LoraOptions(init=init).reads_weights and rank > most:
            raise RecipeError(
                f"lora.r: {rank} for {name}, expected at most {most}, the directions that "
                f"lora.init: {init} finds there"
            )
        if init == "orthogonal" and rank % 2:
            raise RecipeError(f"lora.r: {rank} for {name}, expected an even rank for {init}")


def _check_biases(model: Any, config: Any, layers: dict[str, Any]) -> None:
    without = next((name for name, layer in layers.items() if layer.bias is None), None)
    if config.lora_bias and without:
        raise RecipeError(
            f"lora.options.lora_bias: {without} has no bias that it could be merged into"
        )
    there = {
        "none": True,
        "all": any(name.endswith("bias") for name, _ in model.named_parameters()),
        "lora_only": any(layer.bias is not None for layer in layers.values()),
    }
    if not there[config.bias]:
        raise RecipeError(f"lora.options.bias: {config.bias}, but there is no bias to train")


def _shape(layer: Any) -> tuple[int, ...]:
    """Whatever way the weights are stored."""
    if isinstance(layer, nn.Linear):
        return layer.out_features, layer.in_features
    return tuple(layer.weight.shape)


def _matches(names: Names, known: Collection[str]) -> list[str]:
    """Those of the `known` names that are meant, as peft matches them."""
    if isinstance(names, str):
        return [name for name in known if re.fullmatch(names, name)]
    ends = tuple(f".{name}" for name in names)
    return [name for name in known if name in names or name.endswith(ends)]


def _refuse_unknown(key: str, names: Names, known: dict[str, Any], what: str = "module") -> None:
    for name in [names] if isinstance(names, str) else names:
        try:
            found = _matches(names if isinstance(names, str) else [name], known)
        except re.error as e:
            raise RecipeError(f"{key}: {name} is no regular expression ({e})") from e
        if not found:
            ends = sorted(
                {".".join(full.rsplit(".", 2 if what == "parameter" else 1)[1:]) for full in known}
            )
            raise RecipeError(
                f"{key}: {name}: the model has no such {what}{did_you_mean(name, ends)}"
            )


def _refuse_vocabulary(key: str, name: str) -> None:
    raise RecipeError(
        f"{key}: {name} holds the vocabulary, of which the rows of the markers are trained and the "
        "others are not; expected other layers, or tuning: full"
    )


def _is_pattern_of(key: str, pattern: str, name: str) -> bool:
    try:
        return re.match(rf"(.*\.)?({pattern})$", name) is not None
    except re.error as e:
        raise RecipeError(f"lora.options.{key}: {pattern} is no regular expression ({e})") from e
