"""Real weights: greedy decoding is transformers' own, and branches are the reference decoder's.

REAL_MODELS names the models, separated by commas: folders, GGUF files or Hub ids of instruct
models. Without it `smollm2` alone, where `make smollm2` has brought it.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from pbranch.errors import BranchError
from pbranch.hf.base_models import default_adapter, locate
from pbranch.hf.gguf import smollm2
from pbranch.hf.load_model import load_model, load_tokenizer
from pinfer import Engine, SamplingParams
from pinfer.models.load import Loaded, load
from pinfer.reference import Reference
from ptrain.artifacts.merge import merge
from tests.support.checkpoints import save_adapter

pytestmark = pytest.mark.real
NAMES = os.environ.get("REAL_MODELS", smollm2.NAME).split(",")
QUESTIONS = """\
What is the capital of France?
Name three colours.
What is 17 + 25?
Write a haiku about rain.
Explain in one sentence why the sky is blue.
Translate "good morning" into German.
Write a Python function that reverses a string.
What does `git rebase` do?
List the planets from the sun outwards.
Give an antonym of "ancient".
Which is larger, 4.09 or 4.1?
Write a limerick about a cat who codes.
What is the boiling point of water in Fahrenheit?
Who wrote "Pride and Prejudice"?
Sort these numbers: 5, 3, 9, 1.
How many legs do three spiders have?
Summarise: "The meeting was moved from Monday to Wednesday because two people were ill."
What is a hash table?
Write an SQL query that counts the rows of a table `users`.
Complete the sequence: 2, 4, 8, 16,
Why do leaves turn red in autumn?
Write one line of JSON with the keys name and age.
What is the past tense of "go"?
Say hello in five languages.
Is 91 a prime number?
请用一句话介绍北京。
Écris une phrase sur la mer.
¿Cuántos días tiene febrero?
What does this print? `print([x * x for x in range(4)])`
Rewrite politely: "Send me the file now."
Tell me a fact about octopuses 🐙.
What is the derivative of x squared?
Name a fruit that is yellow.
Give me two tips for better sleep.
Describe a sunset without the word "red".
What is the chemical symbol of gold?
Write a regular expression that matches a date like 2024-05-01.
Convert 3 kilometres into metres.
Who painted the Mona Lisa?
What is the opposite of "increase"?
Write a C function that adds two integers.
How do you make tea?
What comes after Thursday?
Explain recursion to a child.
Give a synonym of "quick".
What is 12 times 12?
Write a short email that declines an invitation.
Which ocean is the largest?
What is HTTP status 404?
Count from one to five in Japanese.
Write a shell command that lists hidden files.
What is the sum of the angles of a triangle?
Name two countries that border Germany.
Correct the grammar: "He don't likes apples."
What is machine learning?
Write a title for a story about a lighthouse.
How many minutes are in a day?
Spell "necessary" backwards.
What is the square root of 144?
Say something kind.
""".splitlines()
NEW_TOKENS = 16
RUNNERS = """\
1. Ada Lind [weekly distance: 33 km]
2. Ben Moor [weekly distance: 18 km]

One runner has a weekly distance of less than 31 km. Tell me which."""
LEAD = "The task: weekly distance less than 31. To answer this, I go down the list.\n"


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """A model that can be loaded here; its folder is what `locate` says."""
    try:
        folder = locate(request.param)
        load_tokenizer(folder)
    except BranchError as e:
        pytest.skip(str(e))
    return request.param


def load_plain(name: str) -> tuple[Any, Any]:
    """Model and tokenizer, by transformers alone where the files are its own."""
    folder = locate(name)
    return load_model(folder, torch.float32).eval(), load_tokenizer(folder)


def test_greedy_linear_is_transformers_generate(name: str) -> None:
    model, tokenizer = load_plain(name)
    expected = []
    for question in QUESTIONS:
        turns = [{"role": "user", "content": question}]
        ids = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            out = model.generate(
                **ids, do_sample=False, max_new_tokens=NEW_TOKENS, repetition_penalty=1.0,
                temperature=None, top_k=None, top_p=None,
            )  # fmt: skip
        expected.append(out[0, ids["input_ids"].shape[1] :].tolist())
    del model
    engine = Engine.from_pretrained(name, "none", dtype="float32", device="cpu")
    params = SamplingParams(
        max_new_tokens=NEW_TOKENS, mode="linear", temperature=0.0, repetition_penalty=1.0
    )
    answers = engine.generate(QUESTIONS, params)
    found = [answer.token_ids for answer in answers]
    assert [q for q, a, b in zip(QUESTIONS, found, expected, strict=True) if a != b] == []


def adapter_of(name: str, folder: Path) -> Path:
    """The shipped adapter; else one with random weights that likes to fork."""
    if shipped := default_adapter(name):
        return shipped
    adapter = save_adapter(folder / "adapter", Path(locate(name)))
    (adapter / "recipe.yaml").write_text(
        f"model: {locate(name)}\ndata: [traces.jsonl]\nout: adapter\n"
    )
    return adapter


def token_ids(loaded: Loaded, prompts: list[list[int]], params: SamplingParams) -> list[list[int]]:
    """Greedy tokens of the engine."""
    engine = Engine(loaded, owned=True)
    answers = engine.generate([{"token_ids": p} for p in prompts], params)
    return [answer.token_ids for answer in answers]


def test_branches_are_the_reference_decoders(name: str, tmp_path: Path) -> None:
    """And so are those of the merged model, loaded without the adapter."""
    adapter = adapter_of(name, tmp_path)
    loaded = load(name, str(adapter), "float32", "cpu")
    begun = [{"role": "user", "content": RUNNERS}, {"role": "assistant", "content": LEAD}]
    text = loaded.tokenizer.apply_chat_template(begun, tokenize=False, continue_final_message=True)
    prompts = [loaded.tokenizer.encode(x, add_special_tokens=False) for x in (text, "Two ways")]
    params = SamplingParams(max_new_tokens=40, max_topics=3, max_topic_tokens=3)
    spec = loaded.spec
    oracle = Reference(
        loaded.model, spec.markers, spec.end_of_text, range(len(loaded.tokenizer)), spec.layout
    )
    expected = [oracle.generate(prompt, params) for prompt in prompts]
    assert any(spec.markers.spawn in answer for answer in expected), "no prompt forks"
    assert token_ids(loaded, prompts, params) == expected
    merge(adapter, tmp_path / "merged", dtype="float32")
    merged = load(str(tmp_path / "merged"), None, "float32", "cpu")
    assert token_ids(merged, prompts, params) == expected
