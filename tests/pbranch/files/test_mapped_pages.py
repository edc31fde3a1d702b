"""Pages of mapped weights: given back where nobody wrote to them, and read again when used."""

import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pbranch.files import mapped_pages
from pbranch.files.mapped_pages import MappedPages

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pages are told from /proc")
MIB = 1 << 20


def resident_of_files() -> int:
    """Bytes of mapped files that are in memory."""
    found = re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@pytest.fixture
def weights(tmp_path):
    """A matrix of 16 MiB and a small one, views of one file."""
    large = torch.arange(4 * MIB, dtype=torch.float32).view(4096, -1)
    save_file({"large": large, "small": torch.ones(4096)}, tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        return {name: file.get_tensor(name) for name in ("large", "small")}


def test_what_was_read_is_given_back_and_can_be_read_again(weights):
    pages = MappedPages([weights["small"].data_ptr()])  # of the same mapping
    total = weights["large"].double().sum()
    held = resident_of_files()
    pages.release()
    assert held - resident_of_files() > 15 * MIB
    assert weights["large"].double().sum() == total


def test_what_was_written_stays(weights):
    weights["small"].add_(1)
    pages = MappedPages(x.data_ptr() for x in weights.values())
    pages.release()
    assert torch.equal(weights["small"], torch.full((4096,), 2.0))


def test_memory_that_is_no_file_stays(weights):
    own = weights["large"].clone()
    MappedPages([own.data_ptr()]).release()
    assert torch.equal(own, weights["large"])


def test_a_system_that_does_not_tell_keeps_all(weights, monkeypatch, tmp_path):
    monkeypatch.setattr(mapped_pages, "_MAPS", tmp_path / "none")
    pages = MappedPages(x.data_ptr() for x in weights.values())
    held = resident_of_files()
    pages.release()
    assert resident_of_files() >= held
