"""A trained adapter, and a Hub on loopback that it can be published to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ptrain.config import LoraOptions, Recipe, TrainOptions
from ptrain.train import train
from tests.support.fake_hub import Hub, serving


@pytest.fixture(scope="module")
def adapter(bases: dict[str, Path], data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained adapter of a base that is a folder; checkpoints and a log lie beside it."""
    out = tmp_path_factory.mktemp("published") / "adapter"
    options = TrainOptions(steps=4, batch_rows=4, lr=1e-2, save_steps=2, device="cpu")
    train(
        Recipe(
            data=str(data), model=str(bases["qwen3"]), out=str(out), eval_share=0.1,
            lora=LoraOptions(r=4, alpha=8), train=options,
        )
    )  # fmt: skip
    (out / "events.log").write_text("a log")
    (out / "optimizer.pt").write_bytes(b"states")
    return out


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as server:
        yield server
