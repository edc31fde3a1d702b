"""A file is converted once: whole or not at all, by one process, for all names that it has."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pbranch.errors import ModelError
from pbranch.hf.base_models import locate
from pbranch.hf.gguf import cache as cache_module
from pbranch.hf.gguf.gguf_file import read_header


def test_a_file_is_converted_once_whatever_its_name(llama_file, tmp_path, monkeypatch, capsys):
    first = locate(str(llama_file))
    said = capsys.readouterr()
    assert said.out == "" and "llama.gguf: read once, 21 tensors, into " in said.err
    monkeypatch.setattr(cache_module, "convert", None)
    copy = shutil.copy(llama_file, tmp_path / "other.gguf")
    assert locate(str(llama_file)) == locate(str(copy)) == first
    assert capsys.readouterr().err == ""


def test_a_file_that_has_changed_is_another_model(llama_file, tmp_path):
    file = tmp_path / "x.gguf"
    shutil.copy(llama_file, file)
    first = locate(str(file))
    changed = bytearray(file.read_bytes())
    changed[-2] ^= 1
    file.write_bytes(changed)
    assert locate(str(file)) != first


def test_what_breaks_off_leaves_nothing(llama_file, cache, monkeypatch):
    from transformers import PreTrainedTokenizerBase

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedTokenizerBase, "save_pretrained", full)
        with pytest.raises(ModelError, match=r"cannot be written .*No space left"):
            locate(str(llama_file))
    assert [p.suffix for p in (cache / "parallel-branches" / "gguf").iterdir()] == [".lock"]
    assert (Path(locate(str(llama_file))) / "tokenizer.json").is_file()


def test_of_processes_that_ask_at_once_one_converts(llama_file):
    code = "import sys; from pbranch.hf.base_models import locate; print(locate(sys.argv[1]))"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(llama_file)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for _ in range(2)
    ]  # fmt: skip
    told = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], told
    assert told[0][0] == told[1][0]
    assert sum(err.count("read once") for _, err in told) == 1


def test_the_header_is_read_once(llama_file, monkeypatch):
    """Which is what is slow: transformers asks for it for configuration, weights and tokenizer."""
    from pbranch.hf.gguf import conversion

    readers = []
    monkeypatch.setattr(
        conversion, "read_header", lambda file: readers.append(read_header(file)) or readers[-1]
    )
    import gguf

    class Counted(gguf.GGUFReader):
        made = 0

        def __init__(self, *args, **kwargs):
            Counted.made += 1
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(gguf, "GGUFReader", Counted)
    locate(str(llama_file))
    assert len(readers) == Counted.made == 1
