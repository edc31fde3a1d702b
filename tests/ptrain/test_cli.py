"""The command line, the recipes that launch themselves, and accelerate."""

import ast
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pbranch.files.recipe import load_recipe
from ptrain.config import Recipe
from tests.support.repository import ROOT
from tests.support.run_command import run_command as run

SFT = ROOT / "recipes" / "sft.yaml"
BIN = Path(sys.executable).parent


def tiny(base, data, out):
    return [
        f"model={base}", f"data={data}", f"out={out}", "train.steps=2", "train.batch_rows=4",
        "lora.r=2", "eval_share=0.2", "train.device=cpu", "train.logging_steps=1",
    ]  # fmt: skip


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.name)
def test_recipes_are_yaml_and_python(path):
    text = path.read_text(encoding="utf-8")
    assert yaml.safe_load(text)["ptrain"] == 'r"""'
    compile(text, str(path), "exec")
    assert [type(node).__name__ for node in ast.parse(text).body] == [
        "AnnAssign",
        "ImportFrom",
        "Expr",
    ]


def test_the_shipped_recipe_is_valid():
    recipe = load_recipe(Recipe, SFT)
    assert recipe.model == "tiny" and recipe.data == ["data/samples/branches.jsonl.gz"]


def test_help_does_not_import_torch():
    code = (
        "import sys; sys.argv = ['ptrain', '--help']\n"
        "from ptrain.cli import main\n"
        "try: main()\n"
        "except SystemExit as e: code = e.code\n"
        "assert not {'torch', 'transformers', 'trl'} & set(sys.modules); sys.exit(code)"
    )
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    for verb in ("sft", "check", "merge", "export", "pretrain"):
        assert verb in done.stdout


@pytest.mark.parametrize("launcher", [["-m", "ptrain"], ["-m", "ptrain.cli", "sft"], [SFT]])
def test_a_misspelt_key_is_one_line(launcher):
    recipe = [] if launcher == [SFT] else [SFT]
    done = run(sys.executable, *launcher, *recipe, "train.stepz=3")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        "error: command line: unknown key train.stepz; did you mean train.steps?"
    ]


def test_usage_errors_exit_with_2():
    assert run(sys.executable, "-m", "ptrain").returncode == 2
    assert run(sys.executable, "-m", "ptrain.cli", "sft").returncode == 2


def test_check_shows_an_example_as_it_is_trained(bases, data):
    done = run(BIN / "ptrain", "check", SFT, f"model={bases['llama']}", f"data={data}")
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "[outline]" in done.stdout and "[topic]" in done.stdout and "█" in done.stdout
    assert "targets:" in done.stdout and "epochs" in done.stdout


def test_accelerate_launches_the_recipe_itself(bases, data, tmp_path):
    config = ROOT / "recipes" / "accelerate" / "cpu1.yaml"
    done = run(
        BIN / "accelerate", "launch", "--config_file", config, SFT,
        *tiny(bases["qwen3"], data, "here"), cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "here" / "train_report.json").read_text())["steps"] == 2
    assert "loss_last" in done.stdout and "step 2/2" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("way", [[SFT], ["-m", "ptrain", SFT]])
def test_two_processes_train_what_one_trains(bases, data, tmp_path, way):
    from safetensors.torch import load_file

    config = ROOT / "recipes" / "accelerate" / "cpu2.yaml"
    for name, flags in (("two", ["--config_file", config]), ("one", ["--num_processes", "1"])):
        overrides = tiny(bases["llama"], data, tmp_path / name)
        done = run(BIN / "accelerate", "launch", *flags, *way, *overrides)
        assert done.returncode == 0, done.stderr
    reports = [json.loads((tmp_path / n / "train_report.json").read_text()) for n in ("one", "two")]
    assert [r["processes"] for r in reports] == [1, 2]
    for key in ("loss_first", "eval_loss", "eval_loss_body"):
        assert abs(reports[0][key] - reports[1][key]) < 2e-3, key
    one, two = (load_file(tmp_path / n / "adapter_model.safetensors") for n in ("one", "two"))
    assert all((one[k] - two[k]).abs().mean() < 1e-4 for k in one)


@pytest.mark.slow
def test_an_error_is_said_once_by_two_processes(bases, data, tmp_path):
    overrides = [*tiny(bases["llama"], tmp_path / "none.jsonl", tmp_path / "out")]
    flags = ["--multi_gpu", "--num_processes", "2"]
    done = run(BIN / "accelerate", "launch", *flags, SFT, *overrides)
    assert done.returncode == 1
    assert done.stderr.count("error: data") == 1


@pytest.mark.slow
def test_a_full_disk_is_one_line(bases, data, tmp_path):
    limit = 30 * 1024  # bytes of any one file: the tokenizer fits, a checkpoint does not
    done = run(
        BIN / "ptrain", "sft", SFT, *tiny(bases["qwen3"], data, tmp_path / "out"), "lora.r=16",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path / 'out'}: cannot write")


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_weights(bases, data, tmp_path):
    from safetensors.torch import load_file

    def command(name):
        overrides = [*tiny(bases["qwen3"], data, tmp_path / name), "train.save_steps=2"]
        return [BIN / "ptrain", "sft", SFT, *overrides, "train.steps=24"]

    assert run(*command("whole")).returncode == 0
    process = subprocess.Popen(list(map(str, command("killed"))), stderr=subprocess.DEVNULL)
    while not (tmp_path / "killed" / "checkpoint-4" / "trainer_state.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "killed" / "train_report.json").exists()
    done = run(*command("killed"))
    assert done.returncode == 0 and "from " in done.stderr
    whole, killed = (
        load_file(tmp_path / n / "adapter_model.safetensors") for n in ("whole", "killed")
    )
    assert all(abs(whole[k] - killed[k]).max() < 1e-6 for k in whole)
