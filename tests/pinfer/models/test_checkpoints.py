"""Checkpoints as they are found: gaps between ids, tokens without a row, numbers that are none,
templates that refuse. What can be decoded is, the rest is refused in one line."""

import json

import pytest
import torch
from transformers import AddedToken, AutoModelForCausalLM, AutoTokenizer

from pbranch.errors import ModelError, RequestError
from pbranch.hf.load_model import vocabulary_size
from pinfer import Engine, SamplingParams
from pinfer.models.load import load
from tests.conftest import build_model
from tests.support.checkpoints import copy_folder

GREEDY = SamplingParams(max_new_tokens=6)


def engine_of(folder, **options):
    return Engine.from_pretrained(str(folder), "none", **options)


@pytest.fixture
def gapped(base, tmp_path):
    """`base`, with a token far above the others that it wants to say first."""
    folder = copy_folder(base, tmp_path / "gapped")
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    token = {"id": 390, "content": "<note>", "single_word": False, "lstrip": False}
    token |= {"rstrip": False, "normalized": False, "special": False}
    content["added_tokens"].append(token)
    content["model"]["vocab"]["<note>"] = 390
    file.write_text(json.dumps(content))
    return folder


@torch.inference_mode()
def test_a_token_above_a_gap_can_be_drawn(gapped):
    tokenizer = AutoTokenizer.from_pretrained(gapped)
    assert len(tokenizer) < 390 < vocabulary_size(tokenizer) == 391
    model = AutoModelForCausalLM.from_pretrained(gapped, dtype=torch.float32)
    ids = tokenizer.encode("Check each")
    rows = model.get_input_embeddings().weight
    rows[390] = model.model(torch.tensor([ids])).last_hidden_state[0, -1] * 20
    model.save_pretrained(gapped)
    (found,) = engine_of(gapped).generate([{"token_ids": ids}], GREEDY)
    assert found.token_ids[0] == 390 and found.text.startswith("<note>")


def test_a_token_without_a_row_refuses_its_prompt_alone(base, tmp_path):
    folder = copy_folder(base, tmp_path / "beyond")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    more = rows - len(tokenizer)
    tokenizer.add_tokens([AddedToken(f"[{i}]", normalized=False) for i in range(more + 1)])
    tokenizer.save_pretrained(folder)
    engine = engine_of(folder)
    with pytest.raises(RequestError, match=f"token id {rows}: the vocabulary has {rows} rows"):
        engine.generate([f"What is [{more}] for?"], GREEDY)
    assert engine.generate(["Hi"], GREEDY)[0].token_ids


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("path", ["auto", "general"])
def test_weights_that_are_no_numbers_are_named(byte_tokenizer, tmp_path, value, path):
    model = build_model("llama", byte_tokenizer)
    model.model.layers[1].mlp.down_proj.weight.data[0, 0] = value
    model.save_pretrained(tmp_path)
    byte_tokenizer.save_pretrained(tmp_path)
    name = r"its logits are NaN or infinite: .*weight model\.layers\.1\.mlp\.down_proj\.weight"
    with pytest.raises(ModelError, match=name):
        engine_of(tmp_path, path=path)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_numbers_that_break_later_end_the_request(byte_tokenizer, tmp_path, temperature):
    """One row of the embedding, which the probe at loading does not look at."""
    model = build_model("llama", byte_tokenizer)
    row = byte_tokenizer.encode("~")[0]
    model.get_input_embeddings().weight.data[row] = float("nan")
    model.save_pretrained(tmp_path)
    byte_tokenizer.save_pretrained(tmp_path)
    engine = engine_of(tmp_path)
    params = SamplingParams(max_new_tokens=6, temperature=temperature, seed=0)
    (whole,) = engine.generate(["a"], params)
    assert whole.error is None and whole.finish_reason != "error"
    (broken,) = engine.generate(["a ~"], params)
    assert "logits are NaN or infinite" in broken.error and broken.finish_reason == "error"


TEMPLATES = {
    "refuses": "{{ raise_exception('functions first') }}",
    "syntax": "{% for m in messages %}{{ m.content }",
    "named": {"rag": "{{ messages[0].content }}", "tool_use": "{{ messages[0].content }}"},
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_that_does_not_work_leaves_raw_prompts(base, tmp_path, name, caplog):
    folder = copy_folder(base, tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATES[name]
    tokenizer.save_pretrained(folder)
    engine = engine_of(folder)
    assert "only EOS ends a text" in caplog.text
    assert tokenizer.eos_token_id in engine.spec.end_of_text
    assert engine.generate(["Hi"], GREEDY, raw=True)[0].token_ids
    with pytest.raises(RequestError, match="chat template"):
        engine.generate(["Hi"], GREEDY)


def test_a_model_without_any_end_runs_to_its_limit(base, tmp_path, caplog):
    folder = copy_folder(base, tmp_path / "endless")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template, tokenizer.eos_token = None, None
    tokenizer.save_pretrained(folder)
    for name in ("config.json", "generation_config.json"):
        stored = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**stored, "eos_token_id": None}))
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    assert load(str(folder), "none").spec.end_of_text == frozenset()
    assert "nothing ends a text but max_new_tokens" in caplog.text


def test_without_an_adapter_the_mode_is_linear(base):
    engine = engine_of(base)
    (found,) = engine.generate(["Hi"], GREEDY)
    assert found.stats.mode == "linear"
    with pytest.raises(RequestError, match="mode parallel needs an adapter"):
        engine.generate(["Hi"], SamplingParams(mode="parallel"))
