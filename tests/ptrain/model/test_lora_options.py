"""Options of LoRA: each is trained, resumed, decoded and merged, or refused by its key."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import ptrain.train
from pbranch.errors import RecipeError
from pinfer.models.load import load
from ptrain.artifacts.merge import merge
from ptrain.check import check
from ptrain.config import LoraOptions, Recipe, TrainOptions
from ptrain.model.base import add_lora, load_base
from ptrain.trainer.branch_trainer import make_trainer
from tests.ptrain.conftest import make_base, make_records, write_records

Q = {"target_modules": ["q_proj"]}


def lora(**keys: Any) -> LoraOptions:
    """Fields of LoraOptions, and any others as `options`."""
    own = {k: keys.pop(k) for k in list(keys) if k in LoraOptions.__dataclass_fields__}
    return LoraOptions(**{"r": 2, "alpha": 4, **own}, options=keys)


def make_recipe(base: Path, data: Path, out: Path, options: LoraOptions) -> Recipe:
    train = TrainOptions(steps=2, batch_rows=2, lr=2e-2, warmup=0.0, save_steps=1, device="cpu")
    return Recipe(
        data=str(data), model=str(base), out=str(out), eval_share=0.0, lora=options, train=train
    )


def trained_of(model: Any) -> list[tuple[str, torch.Tensor]]:
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


WORKS = {
    "dora": lora(use_dora=True, dropout=0.1),
    "rslora": lora(use_rslora=True, use_dora=True),
    "patterns": lora(rank_pattern={"q_proj": 4}, alpha_pattern={r"layers\.0\..*": 3}),
    "modules_to_save": lora(modules_to_save=["norm", "up_proj"]),
    "modules_to_save of layers": lora(**Q, modules_to_save=["layers.1.mlp"]),
    "layers_to_transform": lora(**Q, layers_to_transform=[0], layers_pattern="layers"),
    "exclude_modules": lora(exclude_modules=".*mlp.*"),
    "target_parameters": lora(target_modules=["k_proj"], target_parameters=["q_proj.weight"]),
    "parameters alone": lora(target_modules=[], target_parameters=["q_proj.weight"]),
    "a pattern": lora(target_modules=r".*\.(q|k)_proj"),
    "mica": lora(init="mica"),
    "gaussian": lora(init="gaussian", bias="all"),
    "orthogonal": lora(init="orthogonal", bias="lora_only"),
    "lora_bias": lora(**Q, lora_bias=True),
    "pissa": lora(init="pissa", bias="all", modules_to_save=["norm"]),
    "olora": lora(init="olora", use_rslora=True, rank_pattern={"q_proj": 4}),
    "random": lora(init=False),
}


@pytest.fixture(scope="module")
def biased(tmp_path_factory: Any) -> Path:
    """A tied base whose attention has biases."""
    return make_base(tmp_path_factory.mktemp("biased") / "base", "qwen2")


@pytest.fixture(scope="module")
def few(tmp_path_factory: Any) -> Path:
    """Traces for two steps."""
    return write_records(tmp_path_factory.mktemp("few") / "d.jsonl", make_records(6, depth=1))


@pytest.mark.parametrize("name", WORKS)
def test_what_is_trained_is_what_is_decoded(
    biased: Path, few: Path, tmp_path: Path, monkeypatch: Any, name: str
) -> None:
    made: list[Any] = []
    started: list[dict[str, torch.Tensor]] = []

    def keep(*args: Any) -> Any:
        made.append(make_trainer(*args))
        started.append({k: p.detach().clone() for k, p in trained_of(made[-1].model)})
        return made[-1]

    monkeypatch.setattr(ptrain.train, "make_trainer", keep)
    recipe = make_recipe(biased, few, tmp_path / "run", WORKS[name])
    base = load_base(str(biased))
    ids = torch.tensor([[5, 9, *base.markers.as_dict().values(), 7, 20]])
    known = len(base.tokenizer)

    def logits(model: Any) -> Any:
        with torch.no_grad():
            return model.eval()(input_ids=ids).logits[..., :known]

    list(check(recipe))
    folder = ptrain.train.train(recipe)
    expected = logits(made[-1].model)
    still = [k for k, p in trained_of(made[-1].model) if torch.equal(p, started[-1][k])]
    assert not still, "every weight that trains has moved"
    checkpoint = load(adapter=str(folder / "checkpoint-2"), device="cpu")
    assert torch.allclose(logits(checkpoint.model), expected, rtol=1e-4, atol=1e-4)
    merged = load(str(merge(folder, tmp_path / "merged")), device="cpu")
    assert torch.allclose(logits(merged.model), expected, rtol=1e-4, atol=1e-4)
    shutil.rmtree(folder / "checkpoint-2")
    ptrain.train.train(recipe)  # goes on from the first step
    assert torch.allclose(logits(made[-1].model), expected, rtol=1e-6, atol=1e-6)


MODULE = r"lora\.target_modules: "
VOCABULARY = r" holds the vocabulary, of which the rows of the markers are trained"
REFUSED = {
    "head": (lora(target_modules=["q_proj", "lm_head"]), MODULE + "lm_head" + VOCABULARY),
    "head by pattern": (lora(target_modules=".*(q_proj|lm_head)"), MODULE + "lm_head" + VOCABULARY),
    "embedding": (
        lora(target_modules=["embed_tokens"]),
        MODULE + "model.embed_tokens" + VOCABULARY,
    ),
    "saved head": (
        lora(modules_to_save=["norm", "lm_head"]),
        r"lora\.options\.modules_to_save: lm_head" + VOCABULARY,
    ),
    "saved embedding": (lora(modules_to_save=["embed_tokens"]), "modules_to_save: embed_tokens"),
    "saved all": (lora(modules_to_save=["model"]), "modules_to_save: model" + VOCABULARY),
    "parameter of the head": (
        lora(target_modules=[], target_parameters=["embed_tokens.weight"]),
        r"target_parameters: model\.embed_tokens\.weight" + VOCABULARY,
    ),
    "no module": (
        lora(target_modules=["q_proj", "k_prj"]),
        MODULE + r"k_prj: the model has no such module; did you mean k_proj\?",
    ),
    "no match": (lora(target_modules="query"), MODULE + "query: the model has no such module"),
    "no regex": (lora(target_modules="(q"), MODULE + r"\(q is no regular expression"),
    "norm": (lora(target_modules=["norm"]), MODULE + r"model\.norm is a \w+Norm, expected linear"),
    "block": (lora(target_modules=["mlp"]), MODULE + r"\S+mlp is a \w+MLP, expected linear"),
    "nothing": (lora(target_modules=[]), MODULE + "no layer remains"),
    "all excluded": (lora(**Q, exclude_modules=["q_proj"]), MODULE + "no layer remains"),
    "excluded": (
        lora(exclude_modules=["w"]),
        r"options\.exclude_modules: w: the model has no such",
    ),
    "saved": (
        lora(modules_to_save=["nrm"]),
        r"options\.modules_to_save: nrm: .* did you mean norm",
    ),
    "saved kind": (lora(modules_to_save="norm"), r"modules_to_save: found 'norm', expected a list"),
    "rank name": (lora(rank_pattern={"w": 4}), r"options\.rank_pattern: w matches no layer"),
    "rank": (lora(rank_pattern={"q_proj": 0}), "rank_pattern: found .*, expected a rank of 1 or"),
    "rank kind": (lora(rank_pattern=[4]), r"rank_pattern: found \[4\], expected a rank"),
    "alpha": (lora(alpha_pattern={"q_proj": "x"}), "alpha_pattern: found .*, expected a number"),
    "alpha regex": (lora(alpha_pattern={"(": 2}), r"alpha_pattern: \( is no regular expression"),
    "layer": (
        lora(**Q, layers_to_transform=[0, 2]),
        "layers_to_transform: found 2, expected 0 to 1",
    ),
    "layer kind": (
        lora(**Q, layers_to_transform="0"),
        "layers_to_transform: found '0', expected num",
    ),
    "layers": (
        lora(**Q, layers_to_transform=[0], layers_pattern="blocks"),
        "layers_pattern: blocks: the model has no such module",
    ),
    "layers of all": (lora(layers_to_transform=[0]), "`layers_to_transform` cannot be used when"),
    "bias kind": (lora(bias="some"), "bias: found 'some', expected none, all or lora_only"),
    "bias": (lora(target_modules=["o_proj"], bias="lora_only"), "bias: lora_only, but there is no"),
    "lora_bias": (lora(lora_bias=True), r"lora_bias: \S+o_proj has no bias"),
    "lora_bias kind": (lora(lora_bias="yes"), "lora_bias: found 'yes', expected true or false"),
    "lora_bias with dora": (lora(**Q, lora_bias=True, use_dora=True), r"^lora\.\S+: .*DoRA"),
    "parameter": (
        lora(target_parameters=["q_prj.weight"]),
        r"target_parameters: q_prj\.weight: the model has no such parameter; did you mean q_proj",
    ),
    "parameter twice": (
        lora(target_parameters=["q_proj.weight"]),
        r"target_parameters: \S+q_proj\.weight is of a layer that lora\.target_modules names",
    ),
    "vector": (lora(target_parameters=["norm.weight"]), "norm.weight has 1 dimensions, expected 2"),
    "parameter with dora": (
        lora(target_modules=[], target_parameters=["q_proj.weight"], use_dora=True),
        r"^lora\.use_dora: ",
    ),
    "parameter with dropout": (
        lora(target_modules=[], target_parameters=["q_proj.weight"], dropout=0.1),
        r"^lora\.dropout: ",
    ),
    "odd": (lora(r=3, init="orthogonal"), r"lora\.r: 3 for \S+, expected an even rank"),
    "pissa": (lora(r=33, init="pissa"), r"lora\.r: 33 for \S+, expected at most 32"),
    "mica": (lora(rank_pattern={"q_proj": 99}, init="mica"), r"lora\.r: 99 for \S+q_proj"),
    "mica with dora": (lora(init="mica", use_dora=True), r"^lora\.use_dora: .*mica"),
    "other": (
        lora(layer_replication=[[0, 2]]),
        "layer_replication: peft has this, ptrain does not",
    ),
    "eva": (lora(eva_config={}), "eva_config: peft has this, ptrain does not; keys: exclude_mod"),
    "unknown": (
        lora(bais="all"),
        r"unknown key lora\.options\.bais; did you mean lora.options.bias",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_by_its_key(biased: Path, name: str) -> None:
    options, message = REFUSED[name]
    with pytest.raises(RecipeError, match=message) as caught:
        add_lora(load_base(str(biased)), options)
    assert str(caught.value).startswith(("lora", "unknown key lora")) and "\n" not in str(
        caught.value
    )


@pytest.mark.parametrize("family", ["qwen3", "llama", "wide"])
@pytest.mark.parametrize("name", ["head", "saved head", "embedding", "lora_bias", "pissa", "odd"])
def test_a_check_refuses_what_a_run_would(
    bases: dict[str, Path], few: Path, tmp_path: Path, family: str, name: str
) -> None:
    options, _ = REFUSED[name]
    recipe = make_recipe(bases[family], few, tmp_path, options)
    with pytest.raises(RecipeError) as before:
        list(check(recipe))
    with pytest.raises(RecipeError) as then:
        ptrain.train.train(recipe)
    assert str(before.value) == str(then.value)


def test_values_and_combinations_are_refused_in_the_recipe() -> None:
    for keys, message in (
        ({"alpha": 0}, r"lora\.alpha"),
        ({"dropout": 1.0}, r"lora\.dropout: found 1\.0, expected a share in \[0, 1\)"),
        ({"dropout": -0.1}, r"lora\.dropout"),
        ({"init": "pissa", "save_dtype": "bfloat16"}, r"lora\.save_dtype: bfloat16 with .* pissa"),
    ):
        with pytest.raises(RecipeError, match=message):
            LoraOptions(**keys)
    for options, message in (
        (lora(init="pissa"), r"lora\.init: pissa .* quantization: nf4 rounds"),
        (lora(target_parameters=["x"]), r"target_parameters: .* quantization: nf4 packs"),
    ):
        with pytest.raises(RecipeError, match=message):
            Recipe(data="x", quantization="nf4", lora=options)
