"""What a run starts from: a plain base, a model that has the markers already, or an adapter."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pbranch.errors import AdapterError, RecipeError
from pbranch.format.branch_config import BranchConfig, load_branch_config
from pbranch.format.markers import MarkerIds
from pbranch.hf.base_models import locate
from pbranch.hf.fingerprint import check_base
from pbranch.hf.hub import fetch_adapter, find_branch_config
from pbranch.hf.load_model import describe_misfits, load_config, refusing
from pbranch.hf.merge_adapter import read_lora_config
from ptrain.config import Recipe
from ptrain.data.dataset import find_files
from ptrain.model.base import Base, load_marked_tokenizer
from ptrain.model.memory_estimate import Estimate, estimate
from ptrain.model.sharding import gathered

# of peft's configuration, what the weights alone do not tell, and the recipe's keys for it
SCALES = {
    "r": "lora.r", "lora_alpha": "lora.alpha", "use_rslora": "lora.use_rslora",
    "use_dora": "lora.use_dora", "rank_pattern": "lora.options.rank_pattern",
    "alpha_pattern": "lora.options.alpha_pattern",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Start:
    """The base's configuration, and the tokenizer that the run trains for.

    adapter: the folder of the one to train further. learned: what base or adapter was trained for
    before; None where the base is a plain one.
    """

    config: Any
    tokenizer: Any
    markers: MarkerIds
    adapter: Path | None
    learned: BranchConfig | None

    def measure(self, recipe: Recipe, length: int) -> Estimate:
        """Memory of the run of `recipe`, filled in, with sequences of up to `length` tokens."""
        return estimate(recipe, length, self.config, self.tokenizer, self.markers)

    def describe(self, recipe: Recipe) -> Iterator[str]:
        """Lines about an earlier round, and how its layout differs from this one's."""
        if self.learned is None:
            return
        name = recipe.adapter or recipe.model
        yield f"trained before, goes on from there: {name}"
        for key in ("positions", "outline", "join"):
            before, now = getattr(self.learned, key), getattr(recipe.branches, key)
            if before != now:
                yield f"branches.{key} is {now}; {name} was trained with {before}"
        for key in ("form", "template_args", "switch"):
            before, now = getattr(self.learned, key), getattr(recipe, key)
            if before != now:
                yield f"{key} is {_spell(now)}; {name} was trained with {_spell(before)}"


def _spell(value: Any) -> str:
    """As JSON has it."""
    return json.dumps(value, default=asdict, ensure_ascii=False)


@refusing
def find_start(recipe: Recipe) -> Start:
    """Look at model and adapter of the recipe; no weights are read.

    Raises ModelError, AdapterError or MarkerError where one cannot be trained further, RecipeError
    where the adapter was trained on a base of another quantization.
    """
    path = locate(recipe.model)
    config = load_config(path, recipe.trust_remote_code)
    if recipe.adapter is None:
        tokenizer, markers = load_marked_tokenizer(path, recipe.trust_remote_code)
        return Start(config, tokenizer, markers, None, find_branch_config(path))
    folder = fetch_adapter(recipe.adapter)
    learned = load_branch_config(folder)
    if not (folder / "adapter_config.json").is_file():
        raise AdapterError(f"{folder}: a whole model; expected an adapter, or this as `model`")
    if learned.quantization != recipe.quantization:
        found, was = (x or "null" for x in (recipe.quantization, learned.quantization))
        raise RecipeError(f"quantization: found {found}, but {folder} was trained on {was}")
    tokenizer, markers = load_marked_tokenizer(str(folder), recipe.trust_remote_code)
    return Start(config, tokenizer, markers, folder, learned)


def list_inputs(recipe: Recipe, start: Start, home: Path | None) -> list[str | Path]:
    """The files and folders that a run reads; home: see `find_files`. Raises DataError where data
    are missing."""
    data = [*find_files(recipe.data, home), *find_files(recipe.eval_data, home)]
    named = [recipe.model, locate(recipe.model), start.adapter, recipe.chat_template]
    return [*data, *(name for name in named if name is not None)]


def load_adapter(model: Any, base: Base, start: Start) -> None:
    """Put the weights of the start's adapter into `model`, which has a fresh one on `base`; nothing
    where the start has none.

    Raises AdapterError where it is of another base or has other markers, RecipeError where the
    recipe's LoRA is another one.
    """
    from peft import set_peft_model_state_dict
    from peft.utils import load_peft_weights

    folder, learned = start.adapter, start.learned
    if folder is None or learned is None:
        return
    check_base(base.model, learned, folder, start.config)
    if learned.ids != base.markers:
        raise AdapterError(f"{folder}: its marker ids are not those of base {base.name}")
    own = [p for name, p in model.named_parameters() if p.requires_grad or ".lora_" in name]
    with gathered(own, change=True):
        check_lora(model, folder)
        set_peft_model_state_dict(model, load_peft_weights(str(folder), device="cpu"))


def check_lora(model: Any, folder: Path) -> None:
    """Raise RecipeError unless the adapter of `model`, made by the recipe, has the form of the one
    in `folder`."""
    from peft import get_peft_model_state_dict
    from peft.utils import load_peft_weights

    stored, own = read_lora_config(folder), model.peft_config["default"]
    keys = [(key, getattr(stored, name), getattr(own, name)) for name, key in SCALES.items()]
    differs = [(key, was, now) for key, was, now in keys if was != now]
    if differs:
        found = ", ".join(f"{key} {now}" for key, _, now in differs)
        expected = " ".join(f"{key}={was}" for key, was, _ in differs)
        raise RecipeError(f"lora: found {found}; adapter {folder} needs {expected}")
    made = get_peft_model_state_dict(model, save_embedding_layers=False)
    there = load_peft_weights(str(folder), device="cpu")
    reshaped = [k for k in made.keys() & there.keys() if made[k].shape != there[k].shape]
    misfits = describe_misfits(made.keys() - there.keys(), there.keys() - made.keys(), reshaped)
    if misfits:
        raise RecipeError(
            f"lora: the weights of adapter {folder} are not those of this recipe on this model: "
            f"{misfits}; expected the model and the `lora` of its recipe.yaml"
        )
