"""The model card: what it says follows from recipe, branch config and report alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from pbranch.format.branch_config import BranchConfig
from pbranch.hf.base_models import shipped
from ptrain.artifacts.artifact import Artifact, read_artifact
from ptrain.artifacts.model_card import make_card
from ptrain.config import Recipe, SwitchOptions

REPORT = {
    "steps": 7, "traces": 90, "held_out": 10, "left_out": {"broken": 2}, "device": "cpu",
    "eval_loss": 0.5, "eval_loss_body": 0.25, "eval_marker_accuracy": 0.75,
    "eval_mean_branches": float("nan"), "eval_runtime": 3.0,
}  # fmt: skip
IDS = dict.fromkeys(["fork", "topic", "spawn", "branch", "end", "join"], 1)


def artifact(report: dict | None = None, is_adapter: bool = True, **recipe) -> Artifact:
    config = BranchConfig(IDS, "Qwen/Qwen3-0.6B", "0")
    made = Recipe(**{"data": ["a.jsonl"], "model": "Qwen/Qwen3-0.6B", **recipe})
    return Artifact(Path("runs/x"), is_adapter, config, made, "data: a.jsonl\n", report or {})


def head(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_the_model_index_holds_the_measured_numbers():
    card = make_card(artifact(REPORT), "me/x")
    (result,) = head(card)["model-index"][0]["results"]
    assert {m["name"]: (m["type"], m["value"]) for m in result["metrics"]} == {
        "eval_loss": ("loss", 0.5),
        "eval_loss_body": ("loss", 0.25),
        "eval_marker_accuracy": ("marker_accuracy", 0.75),
    }
    assert result["dataset"]["name"] == "10 held-out traces"
    assert "| loss, body | `eval_loss_body` | 0.25 |" in card
    assert "steps 7" in card and "device cpu" in card and "left out: 2 broken" in card
    assert "nan" not in card and "eval_runtime" not in card


def test_without_a_report_there_are_no_numbers():
    card = make_card(artifact(), "me/x")
    assert "model-index" not in head(card) and "| loss" not in card
    assert "Nothing was measured on held-out traces." in card and "Conditions" not in card


def test_data_sets_of_the_hub_are_named_and_files_are_not():
    card = make_card(artifact(REPORT, data=["hf:me/traces:train", "mine/*.jsonl"]), "me/x")
    assert head(card)["datasets"] == ["me/traces"]
    (result,) = head(card)["model-index"][0]["results"]
    assert result["dataset"]["type"] == "me/traces"
    assert "https://huggingface.co/datasets/me/traces)" in card and "- `mine/*.jsonl`" in card


def test_a_twin_says_that_it_never_forks():
    card = make_card(artifact(form="linear"), "me/x")
    assert "never forks" in card and "--mode linear" in card and 'mode="linear"' in card
    assert "derails" not in card and "side by side" not in card
    assert "derails" in make_card(artifact(), "me/x")


def test_a_mixed_run_says_its_shares_and_its_switch():
    switch = SwitchOptions(parallel="Fork.", linear=None)
    mixed = artifact(form="mixed", curriculum=[[0.0, 0.2], [1.0, 0.8]], switch=switch)
    card = make_card(mixed, "me/x")
    assert "0.2 at 0, 0.8 at 1" in card
    assert "The system text `Fork.` asks for an answer in parallel form." in card
    assert "in linear form" not in card.split("## Use")[0].split("The system text")[1]


@pytest.mark.parametrize(
    ("made", "library", "said"),
    [
        (artifact(), "peft", "A LoRA of rank 32 for `Qwen/Qwen3-0.6B`"),
        (artifact(is_adapter=False), "transformers", "A LoRA of rank 32 merged into `Qwen"),
        (artifact(is_adapter=False, tuning="full"), "transformers", "All weights of `Qwen/Qw"),
    ],
)
def test_adapters_merged_and_tuned_models_are_told_apart(made, library, said):
    card = make_card(made, "me/x")
    assert head(card)["library_name"] == library and said in card
    assert head(card)["base_model"] == "Qwen/Qwen3-0.6B"
    assert ('adapter="me/x"' in card) == made.is_adapter
    assert ("lora" in head(card)["tags"]) == (made.recipe.tuning == "lora")


def test_a_base_in_4_bit_is_said():
    config = replace(artifact().config, quantization="nf4")
    card = make_card(replace(artifact(), config=config), "me/x")
    assert "in 4 bit (nf4)" in card and "AutoPeftModelForCausalLM" not in card


def test_what_other_libraries_need_is_said():
    adapter, merged = (make_card(artifact(is_adapter=x), "me/x") for x in (True, False))
    twin = make_card(artifact(is_adapter=False, form="linear"), "me/x")
    assert 'AutoPeftModelForCausalLM.from_pretrained("me/x")' in adapter
    assert "ptrain merge me/x" in adapter and "ptrain export me/x" in adapter
    for card in (merged, twin):
        assert 'AutoModelForCausalLM.from_pretrained("me/x")' in card and "peft:" not in card
        assert "ptrain export" not in card and "vllm serve me/x" in card
    assert "derails" in merged and "derails" not in twin
    shipped_card = make_card(read_artifact(shipped("adapter")), "me/x")
    assert 'from_pretrained("FOLDER/adapter")' in shipped_card
    again = make_card(artifact(adapter="runs/first"), "me/x")
    assert "which goes on from `runs/first`" in again


@pytest.mark.parametrize(
    ("base", "on_the_hub", "said"),
    [
        ("smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct", "the smollm2 base of parallel-branches"),
        ("me/x-GGUF:in/x.Q4.gguf", "me/x-GGUF", "`me/x-GGUF`"),
        ("models/x.Q4.gguf", None, "for x.Q4.gguf"),
        ("x.gguf", None, "for x.gguf"),
    ],
)
def test_a_base_that_only_this_project_finds_is_said(base, on_the_hub, said):
    made = replace(artifact(), config=replace(artifact().config, base_model=base))
    card = make_card(made, "me/x")
    assert head(card).get("base_model") == on_the_hub and said in card
    assert "ptrain export me/x" in card and 'from_pretrained("FOLDER/adapter")' in card


HOSTILE = "x\n\n# Injected\n\n---\n<b>hi</b> ![x](http://example.org/p.png)\n```\n\x1b[31m"


@pytest.mark.parametrize(
    "made",
    [
        artifact(adapter=HOSTILE),
        artifact(switch=SwitchOptions(parallel=HOSTILE)),
        artifact(data=[HOSTILE, "hf:" + HOSTILE, "hf:me/" + HOSTILE]),
        artifact(out=HOSTILE),
        artifact({**REPORT, "torch": HOSTILE}),
        artifact({**REPORT, HOSTILE: 5, "eval_loss_" + HOSTILE: 1.0, "eval_loss": 10**400}),
        artifact({**REPORT, "left_out": {HOSTILE: 1}, "traces": HOSTILE, "held_out": HOSTILE}),
        artifact({**REPORT, "left_out": [1], "steps": "x", "steps_planned": {}}),
        replace(artifact(), config=BranchConfig(IDS, "me/" + HOSTILE, "0")),
        replace(artifact(), config=BranchConfig(IDS, "x: y\n- z", "0")),
        replace(artifact(), page=f"data: a.jsonl\n# {HOSTILE}\n"),
    ],
)
@pytest.mark.parametrize(("where", "license"), [("me/x", None), (HOSTILE, HOSTILE)])
def test_nothing_in_a_folder_is_markup_of_its_card(made, where, license):
    card = make_card(made, where, license)
    front = head(card)
    assert set(front) <= {
        "base_model", "library_name", "pipeline_tag", "license", "datasets", "tags",
        "model-index",
    }  # fmt: skip
    body = card.partition("\n---\n")[2]
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(body)
    assert not [t for t in tokens if t.type == "html_block"] and "\x1b" not in card
    titles = [tokens[i + 1].content for i, t in enumerate(tokens) if t.type == "heading_open"]
    assert titles[1:] == ["Use", "Other libraries", "Results", "Data", "Limits", "Recipe"]
    inside = [child for t in tokens for child in t.children or ()]
    assert not [c for c in inside if c.type in ("image", "html_inline")]
    links = [c.attrs["href"] for c in inside if c.type == "link_open"]
    assert all(str(link).startswith("https://huggingface.co/datasets/") for link in links)
    assert tokens[-1].type == "fence" and tokens[-1].info == "yaml"


def test_the_shipped_adapter_has_a_card():
    card = make_card(read_artifact(shipped("adapter")), "me/x")
    assert "base_model" not in head(card) and "the tiny base of parallel-branches" in card
