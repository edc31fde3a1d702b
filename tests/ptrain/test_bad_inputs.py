"""Bad recipes, data, models and checkpoints: one line that names the file, key or line."""

import gzip
import json
import shutil

import pytest

from pbranch.format.markers import MARKERS, Role
from ptrain import recipe as runner
from ptrain.checkpoints.storage import list_checkpoints
from tests.ptrain.conftest import make_records, write_records

PAGE = "model: {model}\ndata: {data}\nout: {out}\neval_share: 0\n"
TRAIN = "train: {steps: 2, batch_rows: 2, device: cpu, logging_steps: 1, save_steps: 1}\n"


@pytest.fixture
def attempt(bases, data, tmp_path, capsys):
    """Run a page with overrides; returns the one line that it fails with."""

    def run(*overrides, page=None, path=None):
        file = tmp_path / "recipe.yaml"
        values = {"model": bases["qwen3"], "data": data, "out": tmp_path / "out"}
        text = PAGE.format(**values) + TRAIN if page is None else page
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(SystemExit) as caught:
            runner.main(str(path or file), list(map(str, overrides)))
        assert caught.value.code == 1
        lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
        assert len(lines) == 1
        return lines[0]

    return run


PAGES = {
    "list": (b"- a\n", "recipe.yaml: expected a mapping of keys, found list"),
    "yaml": (b"data: x\ntrain: [1\n", "recipe.yaml:3: not YAML"),
    "latin-1": (b"data: \xe9\n", "recipe.yaml: cannot read recipe"),
    "twice": (b"data: x\nseed: 1\nseed: 2\n", "recipe.yaml:3: not YAML: key seed is here twice"),
    "nested twice": (
        b"data: x\ntrain:\n  lr: 1\n  lr: 2\n",
        "recipe.yaml:4: not YAML: key lr is here twice",
    ),
    "unknown": (b"dta: x\n", "recipe.yaml: unknown key dta; did you mean data?"),
    "nested": (b"data: x\nlora: {rank: 3}\n", "recipe.yaml: unknown key lora.rank"),
    "section": (b"data: x\ntrain: fast\n", "train: expected a section of keys, found 'fast'"),
    "quotes": (b'ptrain: r"""\ndata: x  # """\n# """\n', 'may not contain """'),
    "no data": (b"model: tiny\n", "recipe.yaml: missing key data"),
    "no value": (b"data:\n", "recipe.yaml: data: found None, expected"),
    "empty": (b"", "recipe.yaml: missing key data"),
}


@pytest.mark.parametrize("page, message", PAGES.values(), ids=PAGES)
def test_a_bad_page_is_one_line(attempt, page, message):
    assert message in attempt(page=page)


VALUES = {
    "train.steps": "override 'train.steps': expected key=value",
    "train.steps=[": "override value '[' is not YAML",
    "train.steps=many": "command line: train.steps: found 'many', expected int",
    "train.steps=0": "train.steps: found 0, expected at least 1",
    "train.batch_rows=2.5": "train.batch_rows: found 2.5, expected int",
    "train.batch_rows=0": "train.batch_rows: found 0, expected at least 1",
    "train.lr=0": "train.lr: found 0.0",
    "train.warmup=1": "train.warmup: found 1.0, expected a share in [0, 1)",
    "train.schedule=cosin": "train.schedule: found 'cosin', expected one of cosine",
    "train.device=cuda": "train.device: found cuda, but this machine has no CUDA device",
    "train.micro_rows=3": "train.batch_rows: 2 rows cannot be shared",
    "eval_share=1": "eval_share: found 1.0, expected a share in [0, 1)",
    "form=paralel": "form: found 'paralel', expected one of parallel, linear, mixed; did you mean",
    "lora.r=0": "lora.r: found 0, expected at least 1",
    "lora.target_modules=[w_proj]": "lora.target_modules: w_proj: the model has no such module",
    "branches.join=drop": "branches.join: found 'drop', expected one of keep",
    "data=[]": "data: found none, expected files or globs",
    "data=nowhere.jsonl": "data nowhere.jsonl: no such file",
    "eval_data=nowhere.jsonl": "data nowhere.jsonl: no such file",
    "train.max_length=4": "no trace to train on, 40 left out (40 longer than 4 tokens)",
    "model=./none": "model ./none: no such folder",
    "model=me/no-such-model": "model me/no-such-model: no such folder, nor on the Hub: not in",
    "train.eval_steps=-1": "train.eval_steps: found -1, expected 0 or more",
    "train.weight_decay=-1": "train.weight_decay: found -1.0, expected 0 or more",
    "train.max_grad_norm=-1": "train.max_grad_norm: found -1.0, expected 0 or more",
    "lora.alpha=0": "lora.alpha: found 0, expected more than 0",
    "train.optimizer=adamw_8bit": "train.optimizer: ",
    "train.optimizer=adam_w": "train.optimizer: found 'adam_w', expected one of transformers'",
}


@pytest.mark.parametrize("value, message", VALUES.items(), ids=VALUES)
def test_a_bad_value_is_one_line(attempt, value, message):
    if torch_has_cuda() and value == "train.device=cuda":
        pytest.skip("this machine has a CUDA device")
    assert message in attempt(value)


def torch_has_cuda():
    import torch

    return torch.cuda.is_available()


def test_a_page_that_is_not_there_is_named(attempt, tmp_path):
    assert f"{tmp_path}/none.yaml: cannot read recipe" in attempt(path=tmp_path / "none.yaml")
    assert f"{tmp_path}: cannot read recipe" in attempt(path=tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n\n", "no trace to train on, 0 left out"),
        (b"{torn\n", "broken.jsonl:1: not JSON text"),
        (b'{"completion": "x"}\n', "broken.jsonl:1: missing key 'id'; a record has id, messages"),
        (
            json.dumps(make_records(1)[0] | {"messages": []}).encode(),
            "broken.jsonl:1: key 'messages': expected at least one message, found none",
        ),
        (
            json.dumps(make_records(1)[0] | {"completion": " "}).encode(),
            "broken.jsonl:1: the completion is empty",
        ),
        (
            json.dumps(make_records(1)[0] | {"completion": "a" + MARKERS[Role.TOPIC]}).encode(),
            "broken.jsonl:1: ",
        ),
    ],
)
def test_data_without_one_good_line_names_the_first_bad_one(attempt, tmp_path, content, message):
    path = tmp_path / "broken.jsonl"
    path.write_bytes(content)
    assert message in attempt(f"data={path}")


def test_a_torn_archive_is_named_with_its_line(attempt, tmp_path):
    lines = "".join(json.dumps(r) + "\n" for r in make_records(500)).encode()
    path = tmp_path / "torn.jsonl.gz"
    path.write_bytes(gzip.compress(lines)[:-2000])
    line = attempt(f"data={path}")
    assert f"{path}:" in line and "cannot decompress" in line


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, "no config.json in this folder"),
        ("config.json", "{torn", "cannot load its configuration"),
        ("tokenizer.json", "{torn", "cannot load its tokenizer"),
        ("model.safetensors", "torn", "cannot load"),
        ("model.safetensors", None, "cannot load"),
    ],
)
def test_a_broken_model_folder_is_named(attempt, bases, tmp_path, file, content, message):
    folder = shutil.copytree(bases["qwen3"], tmp_path / "base")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    line = attempt(f"model={folder}")
    assert f"model {folder}" in line and message in line


def test_checkpoints_of_another_run_are_named(attempt, bases, data, tmp_path):
    page = PAGE.format(model=bases["qwen3"], data=data, out=tmp_path / "out") + TRAIN
    (tmp_path / "first.yaml").write_text(page)
    runner.main(str(tmp_path / "first.yaml"), [])
    assert "train.lr was 0.012, is 0.1" in attempt("train.lr=0.1")
    more = write_records(tmp_path / "more.jsonl", make_records(4))
    assert "data was" in attempt(f"data={more}")
    last = list_checkpoints(tmp_path / "out")[-1]  # made to one of an earlier release
    (last / "recipe.yaml").unlink()
    facts = json.loads((last / "files.json").read_text())
    del facts["sizes"]["recipe.yaml"]
    (last / "files.json").write_text(json.dumps(facts))
    (tmp_path / "out" / "recipe.yaml").write_text("- torn")
    assert f"{tmp_path / 'out'}/recipe.yaml: expected a mapping" in attempt()
    (tmp_path / "out" / "recipe.yaml").unlink()
    assert f"{tmp_path / 'out'}/recipe.yaml: cannot read recipe" in attempt()
