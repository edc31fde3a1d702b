"""The model that is to be sped up, frozen, as pinfer decodes it; and the data in its own layout."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pbranch.errors import AdapterError, ModelError
from pbranch.format.branch_config import BranchConfig, load_branch_config
from pbranch.hf.base_models import locate
from pbranch.hf.fingerprint import fingerprint
from pbranch.hf.hub import fetch_adapter, find_branch_config
from pbranch.hf.load_model import load_config, load_model, load_tokenizer
from pbranch.hf.lookahead.files import LookaheadConfig, adapter_digest
from pbranch.hf.merge_adapter import check_markers, merge_adapter
from ptrain.config import BranchOptions, LookaheadRecipe, Recipe
from ptrain.lookahead.row_pass import ATTENTION, register

# what the head and the attention of `row_pass` leave out, by the configs' names
_UNSEEN = ("attn_logit_softcapping", "final_logit_softcapping", "logits_scaling", "logit_scale")


@dataclass(frozen=True, slots=True)
class Target:
    """What a look-ahead run trains for. learned: what the model was trained for, None for a bare
    one, which has no markers and writes plain text."""

    path: str
    config: Any
    tokenizer: Any
    adapter: Path | None
    learned: BranchConfig | None

    def describe(self, recipe: LookaheadRecipe) -> LookaheadConfig:
        """As it is stored beside the weights."""
        options = recipe.lookahead
        return LookaheadConfig(
            base_model=recipe.model,
            base_fingerprint=fingerprint(self.path, self.config),
            adapter=adapter_digest(self.adapter),
            tokens=options.tokens,
            r=options.r,
            markov_rank=options.markov_rank,
            width=self.config.get_text_config().hidden_size,
        )

    def load(self, dtype: torch.dtype, trust_remote_code: bool = False) -> Any:
        """The model, its adapter merged, no weight trained, attending by `attend_rows`."""
        register()
        model = load_model(
            self.path, dtype, trust_remote_code=trust_remote_code, attention=ATTENTION
        )
        if self.adapter is not None and self.learned is not None:
            model = merge_adapter(model, self.tokenizer, self.adapter, self.learned, dtype)
        return model.requires_grad_(False).eval()


def find_target(recipe: LookaheadRecipe) -> Target:
    """Look at model and adapter of the recipe; no weights are read. Raises ModelError,
    AdapterError or MarkerError where they cannot be used."""
    path, trust = locate(recipe.model), recipe.trust_remote_code
    config = load_config(path, trust)
    _check_scaling(path, config)
    if recipe.adapter is None:
        tokenizer, learned = load_tokenizer(path, trust), find_branch_config(path)
        if learned is not None:
            check_markers(tokenizer, learned, path)
        return Target(path, config, tokenizer, None, learned)
    folder = fetch_adapter(recipe.adapter)
    learned = load_branch_config(folder)
    if learned.quantization is not None:
        raise AdapterError(
            f"{folder}: trained on a base in 4 bit; merge it first by `ptrain merge`, and give the "
            "merged model"
        )
    return Target(path, config, load_tokenizer(folder, trust), folder, learned)


def _check_scaling(path: str, config: Any) -> None:
    """ModelError where logits are not plain products: rows would learn another model's."""
    text = config.get_text_config()
    for name in _UNSEEN:
        if (value := getattr(text, name, None)) not in (None, 1):
            raise ModelError(
                f"{path}: look-ahead rows cannot be trained for a model with {name} ({value}); "
                "expected one without, as Qwen or Llama"
            )


def data_recipe(recipe: LookaheadRecipe, learned: BranchConfig | None) -> Recipe:
    """What `ptrain sft` would call these data, laid out as the model has learned it."""
    branches, options = BranchOptions(), dict[str, Any]()
    if learned is not None:
        branches = BranchOptions(learned.positions, learned.outline, learned.join)
        options = {"switch": learned.switch, "template_args": learned.template_args}
        options["form"] = "linear" if learned.form == "linear" else "parallel"
    return Recipe(
        data=recipe.data,
        model=recipe.model,
        data_keep_wrong=recipe.data_keep_wrong,
        eval_data=recipe.eval_data,
        eval_share=recipe.eval_share,
        out=recipe.out,
        seed=recipe.seed,
        branches=branches,
        train=recipe.train,
        **options,
    )
