"""What a model's generation_config.json says holds where the caller says nothing."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from pinfer.engine import Engine
from pinfer.params import SamplingParams
from pinfer.sampling.generation_config import read_sampling

PROMPT = "Check each record."


@pytest.fixture
def with_config(base, tmp_path):
    """A copy of `base` whose generation_config.json says more."""

    def make(**values):
        folder = shutil.copytree(base, tmp_path / "model")
        file = folder / "generation_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
        return folder

    return make


@torch.inference_mode()
def transformers_answer(folder, ids, known):
    """Greedy; known: how many ids have text, as others are never drawn here."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    barred = [*range(known, model.config.vocab_size)]
    barred += model.generation_config.suppress_tokens or []
    out = model.generate(
        torch.tensor([ids]), max_new_tokens=30, do_sample=False, suppress_tokens=barred
    )
    return out[0, len(ids) :].tolist()


@pytest.mark.parametrize(
    "said", [{"repetition_penalty": 1.3}, {"suppress_tokens": list(range(20, 160))}]
)
def test_answers_equal_those_of_transformers(with_config, said):
    folder = with_config(**said)
    engine = Engine.from_pretrained(str(folder), "none")
    (found,) = engine.generate([PROMPT], SamplingParams(max_new_tokens=30))
    known = len(engine.tokenizer)
    assert found.token_ids == transformers_answer(folder, found.prompt_token_ids, known)
    neutral = {"repetition_penalty": 1.0, "suppress_tokens": ()}
    (plain,) = engine.generate([PROMPT], SamplingParams(max_new_tokens=30, **neutral))
    assert plain.token_ids != found.token_ids
    held = json.loads(json.dumps(found.as_dict()["sampling"]))
    assert {name: held[name] for name in said} == said


def test_what_shapes_draws_waits_for_a_temperature(with_config, caplog):
    said = {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.8}
    engine = Engine.from_pretrained(str(with_config(**said)), "none")
    assert engine.spec.sampling == {"top_k": 20, "top_p": 0.8}
    (line,) = [r.getMessage() for r in caplog.records if "generation_config" in r.getMessage()]
    assert line == (
        "generation_config.json: top_k 20, top_p 0.8 where tokens are drawn; it draws tokens at "
        "temperature 0.7, here the default is greedy"
    )
    greedy = engine.generate([PROMPT], SamplingParams(max_new_tokens=9))[0]
    assert greedy.sampling["temperature"] == 0
    drawn = SamplingParams(max_new_tokens=9, temperature=2.0, seed=3)
    own = engine.generate([PROMPT], drawn)[0]
    named = SamplingParams(max_new_tokens=9, temperature=2.0, seed=3, top_k=20, top_p=0.8)
    assert own.token_ids == engine.generate([PROMPT], named)[0].token_ids
    assert engine.spec.resolve(SamplingParams(top_k=0)).top_k == 0


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({}, None),
        ({"do_sample": False, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}, None),
        ({"num_beams": 1, "typical_p": 1.0, "no_repeat_ngram_size": 0}, None),
        ({"no_repeat_ngram_size": 3}, "not done here: no_repeat_ngram_size 3"),
        (
            {"bad_words_ids": [[3]], "min_new_tokens": 4},
            "not done here: bad_words_ids, min_new_tok",
        ),
        ({"top_p": 0.0}, "not taken: top_p 0.0: expected more than 0, at most 1"),
        ({"repetition_penalty": "high"}, "not taken: repetition_penalty 'high'"),
        ({"suppress_tokens": [5]}, "suppress_tokens by default"),
    ],
)
def test_one_line_says_what_holds_and_what_does_not(caplog, said, line):
    config = GenerationConfig()
    for name, value in said.items():
        setattr(config, name, value)
    read_sampling(config)
    found = [record.getMessage() for record in caplog.records]
    assert found == [] if line is None else found[0].startswith(f"generation_config.json: {line}")
