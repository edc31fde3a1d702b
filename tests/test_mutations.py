"""Mutated model folders and recipes: an answer, or one line that says what is wrong.

PB_MUTATIONS: how many of each; 500 folders take about half an hour on one core.
"""

import os
import random
from pathlib import Path

import pytest

from pbranch.hf.base_models import shipped
from tests.support.mutations import Outcome, copy_fresh, run_app, spoil, spoil_yaml

COUNT = int(os.environ.get("PB_MUTATIONS", "0"))
FILES = [
    ("adapter", "branch_config.json"), ("adapter", "adapter_config.json"),
    ("adapter", "tokenizer_config.json"), ("adapter", "tokenizer.json"),
    ("adapter", "chat_template.jinja"), ("adapter", "adapter_model.safetensors"),
    ("base", "config.json"), ("base", "config.json"), ("base", "generation_config.json"),
    ("base", "tokenizer_config.json"), ("base", "model.safetensors"),
]  # fmt: skip
pytestmark = pytest.mark.slow


def check(found: Outcome, what: str) -> None:
    assert found.code in (0, 1), (what, found)
    errors = [line for line in found.error.splitlines() if line.startswith("error: ")]
    assert len(errors) == found.code, (what, found.error)
    assert "Traceback" not in found.error and "\x1b" not in found.error, (what, found.error)
    assert found.seconds < 30 and found.grown < 2 << 30, (what, found)


@pytest.mark.timeout(0)
def test_mutated_model_folders(tmp_path, capsys, monkeypatch):
    from pinfer.cli import app

    codes = []
    for seed in range(COUNT or 40):
        draw = random.Random(seed)
        folders = {part: copy_fresh(shipped(part), tmp_path / part) for part in ("base", "adapter")}
        part, name = draw.choice(FILES)
        how = spoil(folders[part] / name, draw)
        models = ["--model", str(folders["base"]), "--adapter", str(folders["adapter"])]
        if part == "base" and draw.random() < 0.5:
            models = ["--model", str(folders["base"]), "--adapter", "none", "--mode", "linear"]
        short = ["--max-new-tokens", "4", "--max-memory", "0.05", "--device", "cpu"]
        found = run_app(lambda: app(["generate", "hi", *models, *short]), capsys)  # noqa: B023
        check(found, f"seed {seed}: {part}/{name}, {how}")
        codes.append(found.code)
    assert 0.1 < sum(codes) / len(codes) < 0.95  # some still answer


@pytest.mark.timeout(0)
def test_mutated_recipes(tmp_path, capsys):
    from ptrain.cli import app

    page = (shipped("adapter") / "recipe.yaml").read_text()
    codes = []
    for seed in range(COUNT or 200):
        draw = random.Random(seed)
        folder = copy_fresh(shipped("adapter"), tmp_path / "adapter")
        (folder / "recipe.yaml").write_text(spoil_yaml(page, draw), errors="surrogatepass")
        publish = ["publish", str(folder), "me/x", "--dry-run"]
        found = run_app(lambda: app(publish), capsys)  # noqa: B023
        check(found, f"seed {seed}")
        codes.append(found.code)
    assert 0.3 < sum(codes) / len(codes) < 0.95


@pytest.mark.timeout(0)
def test_recipes_that_can_be_read_are_checked(tmp_path, capsys, monkeypatch):
    """As above by `ptrain check`, which loads model and data; so fewer."""
    from ptrain.cli import app

    monkeypatch.chdir(tmp_path)
    data = Path(shipped("adapter")).parents[1] / "samples" / "branches.jsonl.gz"
    page = f"data: {data}\nmodel: tiny\ntrain: {{steps: 2, batch_rows: 2, lr: 1e-3, seed_: 1}}\n"
    page = page.replace(", seed_: 1", "") + "lora: {r: 4, options: {}}\nseed: 1\n"
    for seed in range((COUNT or 20) // 10):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(spoil_yaml(page, random.Random(seed)), errors="surrogatepass")
        found = run_app(lambda: app(["check", str(recipe)]), capsys)  # noqa: B023
        check(found, f"seed {seed}: {recipe.read_text(errors='surrogateescape')[:300]}")
