"""A cache of its own for every test, and the smallest models as GGUF files."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.gguf_files import write_gguf


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that stands for the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def llama(make_model: Any, byte_tokenizer: Any) -> Any:
    """A random model with a head of its own."""
    return make_model("llama", byte_tokenizer)


@pytest.fixture(scope="session")
def llama_file(tmp_path_factory: pytest.TempPathFactory, llama: Any, byte_tokenizer: Any) -> Path:
    """`llama` in float32."""
    return write_gguf(tmp_path_factory.mktemp("gguf") / "llama.gguf", llama, byte_tokenizer)
