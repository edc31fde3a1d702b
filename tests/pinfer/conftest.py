"""Tiny bases, adapters and merged models on disk, made once; the command line on them."""

import io
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from pinfer import cli
from pinfer.bench.suite import Settings, Suite
from pinfer.bench.timing import BandwidthProbe
from tests.support.checkpoints import merge, save_adapter, save_base
from tests.support.run_command import call_main

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base(tmp_path_factory: Any, byte_tokenizer: Any) -> Any:
    """A random Qwen3 with a tied head, and a chat template."""
    return save_base(tmp_path_factory.mktemp("qwen3") / "base", byte_tokenizer, "qwen3", seed=1)


@pytest.fixture(scope="session")
def adapter(base: Any) -> Any:
    """An adapter of `base`."""
    return save_adapter(base.parent / "adapter", base)


@pytest.fixture(scope="session")
def merged(base: Any, adapter: Any) -> Any:
    """`base` and `adapter` as one plain model."""
    return merge(base.parent / "merged", base, adapter)


@pytest.fixture(scope="session")
def untied(tmp_path_factory: Any, byte_tokenizer: Any) -> Any:
    """A random Llama with a head of its own: (base, adapter)."""
    folder = tmp_path_factory.mktemp("llama")
    made = save_base(folder / "base", byte_tokenizer, "llama", seed=2)
    return made, save_adapter(folder / "adapter", made)


@pytest.fixture(scope="session")
def suite(base: Any) -> Suite:
    """The benchmark with all its peers on `base`, in seconds."""
    sizes: dict[str, Any] = {
        "prompt": 12,
        "long_prompt": 40,
        "tokens": 5,
        "trunk": 8,
        "requests": 3,
    }
    sizes |= {"branches": (2, 3), "lengths": (6, 4, 2), "rounds": 1, "warmups": 0}
    return Suite(Settings(shape=None, model=str(base), **sizes), bandwidth=BandwidthProbe(2**20))


@pytest.fixture
def pinfer(
    monkeypatch: Any, capsys: Any, base: Any, adapter: Any, tmp_path: Any
) -> Callable[..., Any]:
    """Runs `pinfer generate ARGS`; returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # no cost that a user measured

    def run(*args: Any, stdin: bytes = b"", model: bool = True) -> tuple[Any, str, str]:
        named = ["--model", str(base), "--adapter", str(adapter)] if model else []
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        return call_main(monkeypatch, capsys, cli.main, "pinfer", "generate", *args, *named)

    return run
