"""The one loader: foreign code stays out, and weights that do not fit are named."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pbranch.errors import ModelError
from pbranch.hf.load_model import load_config, load_model, load_tokenizer
from tests.support.checkpoints import copy_folder, save_base
from tests.support.hostile_code import HOSTILE_CONFIG, HOSTILE_TOKENIZER, edit_json, write_code
from tests.support.run_command import run_command

WEIGHTS = "model.safetensors"
LOADS = """
import sys
from pbranch.errors import ModelError
from pbranch.hf.load_model import load_config, load_model, load_tokenizer
for load in (load_config, load_tokenizer, lambda path: load_model(path, "auto")):
    try:
        load(sys.argv[1])
    except ModelError as e:
        print(e)
"""


@pytest.fixture(scope="session")
def tied(tmp_path_factory: Any, byte_tokenizer: Any) -> Path:
    return save_base(tmp_path_factory.mktemp("load") / "tied", byte_tokenizer, "qwen3")


@pytest.fixture(scope="session")
def untied(tmp_path_factory: Any, byte_tokenizer: Any) -> Path:
    return save_base(tmp_path_factory.mktemp("load") / "untied", byte_tokenizer, "llama")


@pytest.fixture
def hostile(tied: Path, tmp_path: Path) -> Path:
    """A model and a tokenizer of a type that only the Python file next to them knows."""
    folder = copy_folder(tied, tmp_path / "hostile")
    write_code(folder / "code.py", tmp_path / "ran")
    edit_json(folder / "config.json", **HOSTILE_CONFIG)
    edit_json(folder / "tokenizer_config.json", **HOSTILE_TOKENIZER)
    return folder


def test_a_yes_on_standard_input_runs_no_code(hostile: Path) -> None:
    done = run_command(sys.executable, "-c", LOADS, hostile, input="y\n" * 9)
    said = done.stdout.splitlines()
    assert [line.split(" (")[0] for line in said] == [
        f"model {hostile}: cannot load its {what}"
        for what in ("configuration", "tokenizer", "configuration")
    ], done.stderr
    assert all("--trust-remote-code" in line for line in said)
    assert not (hostile.parent / "ran").exists()


def run_pinfer(folder: Path, *options: str) -> None:
    from pinfer.cli import app

    app(["generate", "hi", "--model", str(folder), "--adapter", "none", *options])


def run_bench(folder: Path, *options: str) -> None:
    from pinfer.cli import app

    app(["bench", "--model", str(folder), *options])


def run_ptrain(folder: Path, *options: str) -> None:
    from pbranch.files.recipe import load_recipe
    from ptrain.check import check
    from ptrain.config import Recipe

    (folder.parent / "recipe.yaml").write_text(f"data: none.jsonl\nmodel: {folder}\n")
    trusted = ["trust_remote_code=true"] if options else []
    list(check(load_recipe(Recipe, folder.parent / "recipe.yaml", trusted)))


def run_pdata(folder: Path, *options: str) -> None:
    from pdata.cli import app

    (folder.parent / "in.jsonl").write_text('{"prompt": "q", "response": "1. a"}\n')
    out = ["--out", str(folder.parent / "out.jsonl"), "--judge-model", str(folder)]
    app(["build", str(folder.parent / "in.jsonl"), *out, *options])


def run_pbranch(folder: Path, *options: str) -> None:
    from pbranch.__main__ import app

    (folder.parent / "text").write_text("a")
    app(["show", str(folder.parent / "text"), "--tokenizer", str(folder), *options])


COMMANDS = [run_pinfer, run_bench, run_ptrain, run_pdata, run_pbranch]


@pytest.mark.parametrize("run", COMMANDS, ids=lambda f: f.__name__)
def test_commands_run_foreign_code_when_they_are_told_to(
    run: Callable[..., None], hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
    copies = str(hostile.parent / "modules")  # of the code, made before it runs
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", copies)
    with pytest.raises(ModelError, match="--trust-remote-code, or in a recipe by") as caught:
        run(hostile)
    assert str(hostile) in str(caught.value) and not (hostile.parent / "ran").exists()
    try:
        run(hostile, "--trust-remote-code")
    except (Exception, SystemExit):
        pass  # the code has nothing to offer
    assert (hostile.parent / "ran").exists()


def test_a_known_type_needs_no_code_of_its_own(tied: Path, hostile: Path) -> None:
    """As in many repositories whose model transformers has taken in since."""
    for name in ("config.json", "tokenizer_config.json"):
        auto_map = json.loads((hostile / name).read_text())["auto_map"]
        (hostile / name).write_bytes((tied / name).read_bytes())
        edit_json(hostile / name, auto_map=auto_map)
    load_tokenizer(hostile)
    assert type(load_model(str(hostile), "auto")).__module__.startswith("transformers.")
    assert not (hostile.parent / "ran").exists()


def change_weights(folder: Path, to: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """A copy of a model whose weights are changed by name."""
    copy_folder(folder, to)
    tensors = load_file(to / WEIGHTS)
    change(tensors)
    save_file(tensors, to / WEIGHTS, metadata={"format": "pt"})
    return str(to)


HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def drop_layer(tensors: dict[str, Any]) -> None:
    for name in [n for n in tensors if ".layers.1." in n]:
        del tensors[name]


MISFITS = {
    "no head": ("untied", lambda t: t.pop(HEAD), "1 missing (lm_head.weight)"),
    "no embedding": ("tied", lambda t: t.pop(EMBEDDING), f"2 missing ({HEAD}, {EMBEDDING})"),
    "no layer": (
        "untied",
        drop_layer,
        "9 missing (model.layers.1.input_layernorm.weight, model.layers.1.mlp.down_proj.weight, "
        "model.layers.1.mlp.gate_proj.weight, …)",
    ),
    "another head": (
        "untied",
        lambda t: t.update({"score.weight": torch.zeros(2, 64)}),
        "1 not in the model (score.weight)",
    ),
    "other rows": (
        "untied",
        lambda t: t.update({HEAD: t[HEAD][:400].contiguous()}),
        "1 of another shape (lm_head.weight 400x64, expected 448x64)",
    ),
    "other names": (
        "untied",
        lambda t: t.update({"head": t.pop(HEAD)}),
        "1 missing (lm_head.weight); 1 not in the model (head)",
    ),
}


@pytest.mark.parametrize("which, change, message", MISFITS.values(), ids=MISFITS)
def test_weights_that_do_not_fit_are_named(
    which: str, change: Any, message: str, tied: Path, untied: Path, tmp_path: Path, capfd: Any
) -> None:
    source = tied if which == "tied" else untied
    folder = change_weights(source, tmp_path / "model", change)
    with pytest.raises(ModelError) as caught:
        load_model(folder, torch.float32)
    expected = f"model {folder}: its weights do not fit its configuration: {message}"
    assert str(caught.value) == expected
    assert "REPORT" not in "".join(capfd.readouterr())


def test_what_is_known_to_be_harmless_is_not_refused(untied: Path, tmp_path: Path) -> None:
    """Tables of rotary angles, which old checkpoints of Llama carry along."""
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    extra = {name: torch.ones(8)}
    folder = change_weights(untied, tmp_path / "old", lambda t: t.update(extra))
    old, new = load_model(folder, torch.float32), load_model(str(untied), torch.float32)
    for key, value in new.state_dict().items():
        assert torch.equal(value, old.state_dict()[key])


@pytest.mark.parametrize("stored", [True, False])
def test_a_tied_head_may_be_stored_or_not(stored: bool, tied: Path, tmp_path: Path) -> None:
    def change(tensors: dict[str, Any]) -> None:
        tensors.pop(HEAD, None)
        if stored:
            tensors[HEAD] = tensors[EMBEDDING].clone()

    model = load_model(change_weights(tied, tmp_path / "model", change), torch.float32)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


@pytest.mark.parametrize("dtype", ["auto", torch.bfloat16])
def test_weights_and_dtype_are_those_asked_for(dtype: Any, untied: Path) -> None:
    model = load_model(str(untied), dtype, attention="eager")
    stored = load_file(untied / WEIGHTS)
    assert model.config._attn_implementation == "eager" and not model.training
    assert model.dtype == (torch.float32 if dtype == "auto" else dtype)
    for name, value in model.state_dict().items():
        assert torch.equal(value, stored[name].to(model.dtype))


@pytest.mark.parametrize("load", [load_config, load_tokenizer])
def test_files_that_cannot_be_read_are_one_line(load: Any, untied: Path, tmp_path: Path) -> None:
    folder = copy_folder(untied, tmp_path / "torn")
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{")
    with pytest.raises(ModelError, match=f"model {folder}: cannot load its") as caught:
        load(str(folder))
    assert "\n" not in str(caught.value)


def test_a_quantised_checkpoint_without_its_library_is_one_line(
    untied: Path, tmp_path: Path
) -> None:
    folder = copy_folder(untied, tmp_path / "gptq")
    scheme = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    edit_json(folder / "config.json", quantization_config=scheme)
    with pytest.raises(ModelError, match=r"cannot load its weights .*quantised \(gptq\)") as caught:
        load_model(str(folder), torch.float32)
    assert "\n" not in str(caught.value)


def test_weights_that_are_quantised_in_a_way_of_their_own_are_told(
    untied: Path, tmp_path: Path
) -> None:
    folder = copy_folder(untied, tmp_path / "mlx")
    edit_json(folder / "config.json", quantization={"bits": 4, "group_size": 64})
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.0.mlp.up_proj.scales"] = torch.ones(4)
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"not in the model .*quantised \(4 bit\)"):
        load_model(str(folder), torch.float32)


def test_a_hub_id_that_cannot_be_had_says_that_it_is_no_folder_either() -> None:
    message = "model no/such: no such folder, nor on the Hub: not in the cache, and HF_HUB_OFFLINE"
    with pytest.raises(ModelError, match=message):
        load_config("no/such")
    with pytest.raises(ModelError, match="not a name of the Hub"):
        load_config("no such name")
