"""A model that is written ends where its chat template ends a turn, whatever its base knew."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ptrain.artifacts.merge import merge
from ptrain.artifacts.stop_tokens import stop_at_turn_end
from ptrain.config import LoraOptions, Recipe, TrainOptions
from ptrain.train import train
from tests.ptrain.conftest import make_tokenizer

TEXT_END, TURN_END, OTHER = 0, 2, 5  # of the byte tokenizer: <|endoftext|>, <|im_end|>


def ends_at(folder, *ids):
    """A copy of a base whose files say that a text ends at `ids`, and whose tokenizer agrees."""
    for name in ("config.json", "generation_config.json"):
        content = json.loads((folder / name).read_text())
        content["eos_token_id"] = ids[0] if len(ids) == 1 else list(ids)
        (folder / name).write_text(json.dumps(content))
    content = json.loads((folder / "tokenizer_config.json").read_text())
    content["eos_token"] = "<|endoftext|>"
    (folder / "tokenizer_config.json").write_text(json.dumps(content))
    return folder


def read_ends(folder):
    return [
        json.loads((folder / name).read_text())["eos_token_id"]
        for name in ("config.json", "generation_config.json")
    ]


@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("ids", [(TEXT_END,), (TEXT_END, OTHER)], ids=["one", "several"])
def test_what_a_run_leaves_stops_at_the_end_of_the_turn(bases, data, tmp_path, tuning, ids):
    base = ends_at(shutil.copytree(bases["qwen3"], tmp_path / "base"), *ids)
    out = train(
        Recipe(
            data=str(data), model=str(base), out=str(tmp_path / "run"), eval_share=0,
            tuning=tuning, form="linear", lora=LoraOptions(r=2),
            train=TrainOptions(steps=1, batch_rows=2, lr=1e-3, device="cpu"),
        )
    )  # fmt: skip
    folders = [merge(out, tmp_path / "merged")] if tuning == "lora" else [out, out / "checkpoint-1"]
    for folder in folders:
        assert read_ends(folder) == [[*ids, TURN_END]] * 2
    assert read_ends(base) == [ids[0] if len(ids) == 1 else list(ids)] * 2
    assert generate(folders[0]) == [7, 7, TURN_END]


def generate(folder):
    """What plain transformers writes where the third token would be the end of a turn."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    prompt = AutoTokenizer.from_pretrained(folder)("low high", return_tensors="pt")
    start = prompt.input_ids.shape[1]

    def force(tokens, scores):
        wanted = TURN_END if tokens.shape[1] == start + 2 else 7
        return torch.full_like(scores, -1e9).index_fill(1, torch.tensor([wanted]), 0.0)

    written = model.generate(**prompt, max_new_tokens=20, do_sample=False, logits_processor=[force])
    return written[0, start:].tolist()


@pytest.mark.parametrize(
    ("known", "expected"),
    [(None, 2), (2, 2), ([2], [2]), (0, [0, 2]), ([0, 5], [0, 5, 2]), ([2, 0], [2, 0])],
)
def test_the_others_stay(known, expected):
    text, generation = SimpleNamespace(eos_token_id=known), SimpleNamespace(eos_token_id=known)
    config = SimpleNamespace(get_text_config=lambda: text)
    stop_at_turn_end(SimpleNamespace(config=config, generation_config=generation), make_tokenizer())
    assert text.eos_token_id == generation.eos_token_id == expected
