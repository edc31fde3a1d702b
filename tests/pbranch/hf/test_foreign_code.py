"""No code of a stranger runs unasked: every call that could load some, and folders that try."""

import ast
import json
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from pbranch.hf.base_models import shipped
from tests.support.hostile_code import (
    HOSTILE_CONFIG,
    HOSTILE_TOKENIZER,
    MODEL_NAMES,
    edit_json,
    pickle_code,
    write_code,
)
from tests.support.repository import ROOT
from tests.support.run_command import run_command

# classes that import nothing a folder names; the engine passes on its own trust_remote_code
HARMLESS = {"PeftModel", "LoraConfig", "PreTrainedTokenizerFast", "Engine"}
PLACES = ("pbranch", "pinfer", "ptrain", "data/pdata", "benchmarks", "recipes")


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """(place, dotted name, call) of all calls in what is shipped."""
    for place in PLACES:
        for path in sorted((ROOT / place).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    name = ast.unparse(node.func)
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", name, node


def keywords(call: ast.Call) -> dict[str | None, str]:
    return {k.arg: ast.unparse(k.value) for k in call.keywords}


def test_every_loading_call_says_whether_it_trusts():
    seen, silent = 0, []
    for place, name, call in calls():
        owner, _, verb = name.rpartition(".")
        if verb not in ("from_pretrained", "from_config") or owner.split(".")[-1] in HARMLESS:
            continue
        seen += 1
        if keywords(call).get("trust_remote_code", "True") in ("True", "None"):
            silent.append(f"{place} {name}")
    assert not silent and seen >= 8


def test_nothing_else_runs_what_it_reads():
    offenders = []
    for place, name, call in calls():
        if name in ("eval", "exec") or name.endswith(("pickle.load", "pickle.loads", "hub.load")):
            offenders.append(f"{place} {name}")
        if name.endswith("yaml.load") and "yaml_page" not in place:
            offenders.append(f"{place} {name}")
        if name == "torch.load" and keywords(call).get("weights_only") != "True":
            offenders.append(f"{place} {name}")
        if name.split(".")[-1] in ("load_dataset", "pipeline", "import_module"):
            offenders.append(f"{place} {name}")
    assert not offenders
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "datasets>=5" in project["dependencies"]  # the first that ran no scripts was 4


LOADS = """
import json, sys
from pbranch import console
from pbranch.errors import BranchError
from pinfer.models.load import load
from pdata.sources.parquet_and_hub import read_hub
from ptrain.artifacts.merge import merge
from pathlib import Path
sys.path.insert(0, "")
for how, where in json.loads(sys.argv[1]):
    try:
        if how == "hf":
            list(read_hub("hf:" + where))
        elif how == "merge":
            merge(where, Path(where + "-merged"))
        else:
            load(**{how: where, "device": "cpu"})
        print("loaded")
    except BranchError as e:
        print(str(e).replace("\\n", " "))
"""


def test_folders_that_bring_code_run_none_of_it(tmp_path: Path) -> None:
    mark = tmp_path / "ran"

    def copy(part: str, name: str) -> Path:
        folder = Path(shutil.copytree(shipped(part), tmp_path / name))
        write_code(folder / "code.py", mark)
        return folder

    base = copy("base", "base")
    edit_json(base / "config.json", **HOSTILE_CONFIG)
    leads = copy("adapter", "leads")  # to a base with code
    edit_json(leads / "branch_config.json", base_model=str(base))
    reads = copy("adapter", "reads")
    edit_json(reads / "tokenizer_config.json", **HOSTILE_TOKENIZER)
    imports = copy("adapter", "imports")
    write_code(tmp_path / "hostile_module.py", mark)
    megatron = {"megatron_config": {"tensor_model_parallel_size": 1}}
    edit_json(imports / "adapter_config.json", **megatron, megatron_core="hostile_module")
    other = copy("adapter", "other")
    edit_json(other / "adapter_config.json", peft_type="XLORA", auto_mapping=MODEL_NAMES)
    decodes = copy("base", "decodes")
    (decodes / "custom_generate").mkdir()
    write_code(decodes / "custom_generate" / "generate.py", mark)
    own = {"custom_generate": str(decodes), "auto_map": MODEL_NAMES}
    edit_json(decodes / "generation_config.json", **own)
    weights = copy("base", "weights")
    (weights / "model.safetensors").unlink()
    pickle_code(weights / "pytorch_model.bin", mark)
    lora = copy("adapter", "lora")
    (lora / "adapter_model.safetensors").unlink()
    pickle_code(lora / "adapter_model.bin", mark)
    data = tmp_path / "data"
    data.mkdir()
    write_code(data / "data.py", mark)
    ways = [
        ("model", base), ("adapter", leads), ("adapter", reads), ("adapter", imports),
        ("adapter", other), ("merge", leads), ("merge", imports), ("model", decodes), ("hf", data),
        ("model", weights), ("adapter", lora), ("merge", lora),
    ]  # fmt: skip
    done = run_command(
        sys.executable, "-c", LOADS, json.dumps([[how, str(where)] for how, where in ways]),
        input="y\n" * 99, cwd=tmp_path, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'data'}"},
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert not mark.exists() and done.returncode == 0, done.stderr
    assert len(said) == len(ways), done.stdout
    for (how, where), line in zip(ways, said, strict=True):
        if where in (base, leads, reads):
            assert "--trust-remote-code" in line, line
        elif where == imports:
            assert "megatron_config is" in line, line
        elif where == other:
            assert "peft_type is 'XLORA', expected LORA" in line, line
        elif where in (weights, lora):
            assert line != "loaded"
        elif how == "hf":
            assert "cannot read" in line, line
