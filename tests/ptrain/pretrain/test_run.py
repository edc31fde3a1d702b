"""The tiny base: its tokenizer, the packing of its corpus, resuming, and the folder it leaves."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pdata.record import write_jsonl
from pdata.synthetic.generator import make_record, synthesise
from pdata.synthetic.marked_answers import INSTRUCTIONS
from pdata.synthetic.wording import draw_names
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pbranch.errors import DataError, RecipeError
from pbranch.files.recipe import load_recipe
from pbranch.hf.prompt import render_prompt, turn_end_id
from ptrain.pretrain import loop
from ptrain.pretrain.config import ModelSection, PretrainRecipe, TrainSection
from ptrain.pretrain.corpus import list_files, load_corpus, read_texts
from ptrain.pretrain.model import write_card
from ptrain.pretrain.run import pretrain
from ptrain.pretrain.tokenizer import train_tokenizer
from tests.support.repository import ROOT

RECIPE = ROOT / "recipes" / "tiny_base.yaml"


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "mix.jsonl.gz"
    synthesise("mix", 200, 1, path)
    return path


@pytest.fixture(scope="module")
def tokenizer(traces: Path):
    return train_tokenizer(read_texts([traces], 200), 600, 4096)


@pytest.fixture
def recipe(traces: Path, tmp_path: Path) -> PretrainRecipe:
    shape = ModelSection(hidden=32, layers=2, heads=2, kv_heads=1, head_dim=16, ffn=64, vocab=600)
    train = TrainSection(
        steps=6, batch_tokens=2048, warmup=2, save_every=3, log_every=4, device="cpu"
    )
    return PretrainRecipe((str(traces),), str(tmp_path / "run"), 200, shape, train)


def test_tokenizer_splits_digits_and_returns_the_text(tokenizer) -> None:
    for text in ("Lina Varo: 3.47, age 120\n", " a  b\t😀 – é ", "12345"):
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids) == text
        assert all(sum(c.isdigit() for c in tokenizer.decode([i])) <= 1 for i in ids)
    assert [tokenizer.decode([i]) for i in tokenizer.encode("407")] == ["4", "0", "7"]
    assert tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]) == [
        0,
        1,
        2,
    ]


def test_names_are_read_by_syllables_also_those_never_seen(tmp_path: Path) -> None:
    synthesise("mix", 2000, 1, tmp_path / "mix.jsonl")
    tokenizer = train_tokenizer(read_texts([tmp_path / "mix.jsonl"], 2000), 832, 4096)
    for split in ("train", "heldout"):
        for name in draw_names(random.Random(0), 12, split):
            for text in (f"{name}: 1.2", f"- {name}; ", f"Round {name}\n"):
                pieces = [tokenizer.decode([i]) for i in tokenizer.encode(text)]
                at = pieces.index(name[:2])
                assert pieces[at + 1] == name[2:], pieces


def test_chat_template_renders_and_agrees_with_render_prompt(tokenizer) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>\n"
    asked = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    assert asked.endswith("hi<|im_end|>\n<|im_start|>assistant\n")
    assert render_prompt("hi", tokenizer) == tokenizer.encode(asked, add_special_tokens=False)
    assert turn_end_id(tokenizer) == tokenizer.eos_token_id


def test_corpus_holds_every_trace_whole_and_only_completions_as_targets(
    traces: Path, tokenizer, tmp_path: Path
) -> None:
    cache = tmp_path / "corpus.npz"
    corpus = load_corpus([traces], tokenizer, 1024, cache)
    assert len(corpus) + corpus.dropped == 200 and corpus.dropped < 10
    lengths = np.diff(corpus.starts)
    assert (lengths[:-1] <= lengths[1:]).all() and lengths[-1] <= 1024
    bounds = zip(corpus.starts, corpus.starts[1:], strict=False)
    texts = {tokenizer.decode(corpus.ids[a:b]) for a, b in bounds}
    learned = {
        tokenizer.decode(corpus.ids[a + n : b])
        for a, b, n in zip(corpus.starts, corpus.starts[1:], corpus.prompts, strict=False)
    }
    whole = 0
    for i in range(200):
        record = make_record("mix", 1, i, None, "train")
        text = tokenizer.apply_chat_template(
            [*record.messages, {"role": "assistant", "content": record.completion}], tokenize=False
        )
        whole += text in texts
        assert text not in texts or f"{record.completion}<|im_end|>\n" in learned
    assert whole == len(corpus)
    again = load_corpus([traces], tokenizer, 1024, cache)
    assert np.array_equal(again.ids, corpus.ids) and again.dropped == corpus.dropped
    assert np.diff(load_corpus([traces], tokenizer, 256, cache).starts).max() <= 256


def test_the_begun_part_of_a_completion_is_no_target(tokenizer, tmp_path: Path) -> None:
    records = [make_record("recall", 2, i, None, "train") for i in range(150)]
    path = tmp_path / "t.jsonl"
    write_jsonl(path, records)
    corpus = load_corpus([path], tokenizer, 4096, tmp_path / "corpus.npz")
    documents = {
        (tokenizer.decode(corpus.ids[a : a + n]), tokenizer.decode(corpus.ids[a + n : b]))
        for a, b, n in zip(corpus.starts, corpus.starts[1:], corpus.prompts, strict=False)
    }
    begun = 0
    for record in records:
        asked = tokenizer.apply_chat_template(
            list(record.messages), tokenize=False, add_generation_prompt=True
        )
        at = record.meta.get("begun", 0)
        rest = f"{record.completion[at:]}<|im_end|>\n"
        assert (asked + record.completion[:at], rest) in documents
        begun += at > 0
    assert begun > 5


def test_micro_batches_are_of_like_length_and_start_with_the_short(
    traces: Path, tokenizer, tmp_path
) -> None:
    corpus = load_corpus([traces], tokenizer, 1024, tmp_path / "corpus.npz")
    shortest = int(np.diff(corpus.starts)[: len(corpus) // 10].max())
    for i in range(20):
        ids, labels = corpus.micro_batch(0.1, 512, np.random.default_rng([0, i]))
        assert ids.size <= max(512, ids.shape[1]) and ids.shape[1] <= shortest
        targets = labels != -100
        assert (ids[targets] == labels[targets]).all()
        assert targets.any(1).all() and not targets[:, 0].any()
    longest = max(
        corpus.micro_batch(1.0, 512, np.random.default_rng([1, i]))[0].shape[1] for i in range(50)
    )
    assert longest > shortest


def test_rows_are_plainly_causal(recipe: PretrainRecipe, tokenizer) -> None:
    run = loop.start_run(recipe, tokenizer, "cpu")
    ids = torch.randint(3, 500, (2, 20))
    with torch.no_grad():
        plain = run.model(input_ids=ids).logits
        ours = run.model(input_ids=ids, attention_mask=loop.PLAIN_CAUSAL).logits
    assert torch.equal(plain, ours)


def test_resume_equals_an_undisturbed_run(
    recipe: PretrainRecipe, tmp_path: Path, monkeypatch
) -> None:
    whole = load_file(pretrain(recipe) / "model.safetensors")
    broken = replace(recipe, out=str(tmp_path / "broken"))

    def interrupt(line: str) -> None:
        if line.startswith("step 4/"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "say", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pretrain(broken)
    assert not (tmp_path / "broken" / "model.safetensors").exists()
    resumed = load_file(pretrain(broken) / "model.safetensors")
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[k], whole[k]) for k in whole)
    other = replace(broken, train=replace(broken.train, lr=1e-3))
    with pytest.raises(RecipeError, match="of another recipe"):
        pretrain(other)


def test_the_first_steps_see_the_first_data_alone(recipe: PretrainRecipe, tmp_path: Path) -> None:
    synthesise("recall", 120, 2, tmp_path / "recall.jsonl")
    later = (str(tmp_path / "recall.jsonl"),)

    def weights(first_steps: int) -> dict[str, torch.Tensor]:
        train = replace(recipe.train, first_steps=first_steps)
        out = str(tmp_path / f"run{first_steps}")
        staged = replace(recipe, first_data=recipe.data, data=later, train=train, out=out)
        return load_file(pretrain(staged) / "model.safetensors")

    alone = load_file(pretrain(recipe) / "model.safetensors")
    whole, half = weights(recipe.train.steps), weights(recipe.train.steps // 2)
    assert all(torch.equal(whole[k], alone[k]) for k in alone)
    assert not all(torch.equal(half[k], alone[k]) for k in alone)


def test_a_run_may_start_from_a_base(recipe: PretrainRecipe, tmp_path: Path) -> None:
    start = pretrain(recipe)
    weights = load_file(start / "model.safetensors")
    train = replace(recipe.train, steps=0)
    later = replace(recipe, start=str(start), out=str(tmp_path / "later"), train=train)
    same = load_file(pretrain(later) / "model.safetensors")
    assert all(torch.equal(same[k], weights[k]) for k in weights)
    for folder, said in ((start, False), (tmp_path / "later", True)):
        assert (f"from the weights of `{start}`" in (folder / "README.md").read_text()) == said
    tokenizer = (start / "tokenizer.json").read_text()
    assert (tmp_path / "later" / "tokenizer.json").read_text() == tokenizer
    more = replace(later, out=str(tmp_path / "more"), train=replace(train, steps=2))
    assert not torch.equal(
        load_file(pretrain(more) / "model.safetensors")["model.norm.weight"],
        weights["model.norm.weight"],
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": 64}, "start .*size mismatch for"),
        ({"layers": 3}, "start .*layers.2.* is not in both models"),
        (None, "start nowhere: no such folder with a tokenizer.json"),
    ],
)
def test_a_start_that_does_not_fit_is_named(
    recipe: PretrainRecipe, tmp_path: Path, change: dict[str, int] | None, message: str
) -> None:
    start = str(pretrain(recipe)) if change else "nowhere"
    model = replace(recipe.model, **(change or {}))
    other = replace(recipe, start=start, model=model, out=str(tmp_path / "other"))
    with pytest.raises(RecipeError, match=message):
        pretrain(other)


def test_folder_loads_generates_and_tells_its_scores(recipe: PretrainRecipe) -> None:
    out = pretrain(replace(recipe, instruction="Mark them."))
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.generation_config.paper_instruction == "Mark them."
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert model.dtype == torch.float32
    assert load_file(out / "model.safetensors")["model.norm.weight"].dtype == torch.bfloat16
    assert model.config.vocab_size % 64 == 0 and model.config.vocab_size >= len(tokenizer) + 16
    prompt = torch.tensor([render_prompt("Who has a score above 3.10?", tokenizer)])
    output = model.generate(prompt, max_new_tokens=5, attention_mask=torch.ones_like(prompt))
    assert output.shape[1] > prompt.shape[1]
    assert "Not measured yet." in (out / "README.md").read_text()
    (out / "scores.json").write_text(json.dumps({"sums": {"linear": 0.97}}))
    write_card(out)
    card = (out / "README.md").read_text()
    assert "## Scores\n\n| task | linear |\n|---|---|\n| sums | 0.97 |" in card


def test_shipped_recipe_is_yaml_and_python_and_names_real_keys() -> None:
    recipe = load_recipe(PretrainRecipe, RECIPE, ["train.steps=20"])
    assert recipe.train.steps == 20 and recipe.model == ModelSection()
    shipped = json.loads((RECIPE.parents[1] / "data/tiny/base/generation_config.json").read_text())
    assert recipe.instruction == shipped["paper_instruction"] == INSTRUCTIONS[0]
    compile(RECIPE.read_text(), str(RECIPE), "exec")
    assert next(iter(yaml.safe_load(RECIPE.read_text()))) == "ptrain"


@pytest.mark.parametrize(
    ("old", "new"),
    [("model.spare", "model: "), ("train.decay", "train.lr_decay_steps"), ("train.clip", "train.")],
)
def test_an_old_key_is_refused_by_name(old: str, new: str) -> None:
    with pytest.raises(RecipeError, match=f"unknown key {old}"):
        load_recipe(PretrainRecipe, RECIPE, [f"{old}=1"])


def test_bad_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        list_files([str(tmp_path / "*.jsonl")])
    path = tmp_path / "bad.jsonl"
    path.write_text('{"messages": [], "completion": "x"}\n{"messages"\n')
    with pytest.raises(DataError, match=r"bad\.jsonl:2"):
        list(read_texts([path], 5))
