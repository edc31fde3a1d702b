"""Forms of a trace: the sequential twin, mixed runs by a curriculum, and the mode switch."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from pbranch.errors import RecipeError
from pbranch.files.recipe import load_recipe
from pbranch.format.branch_config import SwitchOptions, load_branch_config
from pbranch.format.layout import Kind, LayoutOptions
from pbranch.format.markers import add_markers
from pbranch.format.tagged_text import parse
from pbranch.format.tree import plain_text
from pbranch.hf.prompt import render_prompt, turn_end_id
from pbranch.hf.segment_codec import SegmentCodec
from ptrain.config import LoraOptions, Recipe, TrainOptions
from ptrain.data.batching import draw_forms
from ptrain.data.collator import BranchCollator
from ptrain.data.dataset import Encoder, load_split, read_traces
from ptrain.model.base import add_lora, load_base
from ptrain.model.defaults import fill_in
from ptrain.train import train
from ptrain.trainer.branch_trainer import make_trainer
from tests.ptrain.conftest import make_records, make_tokenizer

SWITCH = SwitchOptions(parallel="Fork.", linear="Go one by one.")


@pytest.fixture(scope="module")
def encode():
    tokenizer = make_tokenizer()
    return Encoder(tokenizer, add_markers(tokenizer), LayoutOptions(), SWITCH)


def mixed(*points, steps=40, **options) -> Recipe:
    """A recipe whose curriculum has these points."""
    return Recipe(
        data="none", form="mixed", curriculum=[list(p) for p in points],
        train=TrainOptions(steps=steps, batch_rows=16), **options,
    )  # fmt: skip


def test_the_linear_form_is_plain_text_tokenised_in_one_run(encode):
    for record in make_records(20):
        trace = parse(record["completion"])
        prompt = render_prompt(record["messages"], encode.tokenizer, switch=SWITCH.linear)
        text = SegmentCodec(encode.tokenizer).encode(plain_text(trace))
        layout = encode(record, "linear")
        assert layout.token_ids == prompt + text
        assert layout.position_ids == list(range(len(layout))) and not layout.hidden
        n, end = len(prompt), turn_end_id(encode.tokenizer)
        assert layout.targets == [-100] * (n - 1) + text + [end]
        assert layout.kinds == [Kind.PROMPT] * (n - 1) + [Kind.LINEAR] * (len(text) + 1)
        assert not set(encode.markers.as_dict().values()) & set(layout.token_ids + layout.targets)


@pytest.mark.parametrize("packing", [False, True])
def test_the_twin_takes_the_same_traces_in_the_same_steps(bases, data, tmp_path, packing):
    page = tmp_path / "recipe.yaml"
    settings = {"steps": 9, "batch_rows": 4, "micro_rows": 2, "device": "cpu", "packing": packing}
    page.write_text(
        json.dumps({"data": str(data), "model": str(bases["qwen3"]), "train": settings})
    )
    runs = {}
    for form in ("parallel", "linear", "mixed"):
        recipe = load_recipe(Recipe, page, [f"form={form}", f"out={tmp_path / form}"])
        base = load_base(recipe.model)
        recipe = fill_in(recipe, base.model.config, "cpu")
        encode = Encoder(base.tokenizer, base.markers, recipe.branches.layout)
        split = load_split(recipe, encode, None)
        traces, held_out = split.train, split.held_out
        model = add_lora(base, LoraOptions(r=2))
        trainer = make_trainer(recipe, model, base.tokenizer, traces, held_out)
        batches = [
            [
                [traces[i].messages for i in trainer.data_collator.sequences[x["sequence"]]]
                for x in micro
            ]
            for micro in torch.utils.data.DataLoader(
                trainer.train_dataset, batch_size=2, collate_fn=list
            )
        ]
        runs[form] = (trainer.args.max_steps, batches, [x.messages for x in held_out])
        linear = trainer.train_dataset["linear"]
        assert set(linear) == {"parallel": {0}, "linear": {1}, "mixed": {0, 1}}[form]
        kept = {(x.parallel is not None, x.linear is not None) for x in traces}
        assert kept == {(form != "linear", form != "parallel")}  # no more in memory than is used
        assert len(trainer.eval_dataset) == len(held_out) * (2 if form == "mixed" else 1)
    assert runs["parallel"] == runs["linear"] == runs["mixed"]
    assert runs["linear"][0] == 9 and len(runs["linear"][1]) == 18


def test_the_curriculum_gives_the_share_of_each_step():
    forms = draw_forms(mixed((0.0, 1.0), (0.5, 1.0), (1.0, 0.0), steps=101), 101)
    steps = [forms[i : i + 16] for i in range(0, len(forms), 16)]
    assert len(steps) == 101 and not any(any(s) for s in steps[:51]) and all(steps[-1])
    middle = [linear for step in steps[51:] for linear in step]
    assert 0.4 < sum(middle) / len(middle) < 0.6
    constant = draw_forms(mixed((0.3, 0.25), steps=200), 200)
    assert 0.72 < sum(constant) / len(constant) < 0.78


def test_forms_depend_on_the_seed_and_the_place_in_the_run_alone():
    recipe = mixed((0.0, 0.5))
    forms = draw_forms(recipe, 40)
    other = replace(recipe, train=replace(recipe.train, micro_rows=1, eval_steps=5))
    assert forms == draw_forms(other, 40) != draw_forms(replace(recipe, seed=1), 40)
    assert draw_forms(recipe, 80)[: len(forms)] == forms  # for a share that stays


def test_a_batch_holds_the_form_that_each_item_names(encode, data):
    traces = read_traces(str(data), encode, 4096, form="mixed")
    collate = BranchCollator(traces.examples, [[0], [1, 2]])
    batch = collate([{"sequence": 0, "linear": 1}, {"sequence": 1, "linear": 0}])
    flat, packed = traces.examples[0].linear, traces.examples[1:3]
    assert batch["input_ids"][0, : len(flat)].tolist() == flat.token_ids
    together = [t for x in packed for t in x.parallel.token_ids]
    assert batch["input_ids"][1, : len(together)].tolist() == together
    kinds = Counter(batch["kinds"][0].tolist())
    assert set(kinds) == {Kind.PROMPT, Kind.LINEAR}


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "at least one point"),
        ([[0.5, 1.0], [0.2, 1.0]], "in the order of the run"),
        ([[0.0, 1.5]], r"curriculum\[0\]: found \[0.0, 1.5\], expected .*in \[0, 1\]"),
        ([[0.0, 1.0], [1.0]], r"curriculum\[1\]: found \[1.0\]"),
        ([[0.0, 1.0], [-0.1, 1.0]], r"curriculum\[1\]"),
    ],
)
def test_a_curriculum_that_cannot_be_followed_is_named(points, message, tmp_path):
    page = tmp_path / "r.yaml"
    page.write_text(json.dumps({"data": "x", "form": "mixed", "curriculum": points}))
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(Recipe, page)
    assert str(page) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_mixed_run_resumes_to_the_same_weights(bases, data, tmp_path):
    recipe = Recipe(
        data=str(data), model=str(bases["qwen3"]), out=str(tmp_path / "run"), eval_share=0.1,
        form="mixed", switch=SWITCH, lora=LoraOptions(r=2), train=TrainOptions(
            steps=4, batch_rows=4, lr=1e-2, logging_steps=1, save_steps=2, device="cpu"),
    )  # fmt: skip
    folder = train(recipe)
    whole = load_file(folder / "adapter_model.safetensors")
    shutil.rmtree(folder / "checkpoint-4")
    train(recipe)
    for key, value in load_file(folder / "adapter_model.safetensors").items():
        assert torch.equal(value, whole[key])
    config = load_branch_config(folder)
    assert (config.form, config.switch) == ("mixed", SWITCH)
    report = json.loads((folder / "train_report.json").read_text())
    assert {"eval_loss", "eval_loss_linear", "eval_loss_body"} <= set(report)
    assert report["eval_loss"] != report["eval_loss_linear"]
