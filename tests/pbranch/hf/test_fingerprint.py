"""Fingerprints of bases: one for every copy of a base, another one after any change."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pbranch.errors import AdapterError, ModelError
from pbranch.format.branch_config import load_branch_config
from pbranch.hf.fingerprint import _embedding_fingerprint, check_base, fingerprint
from pbranch.hf.load_model import load_config, load_model
from tests.support.checkpoints import copy_folder, save_adapter, save_base

FILE = "model.safetensors"


@pytest.fixture(scope="module", params=["qwen3", "llama"])
def base(request: Any, tmp_path_factory: Any, byte_tokenizer: Any) -> Path:
    """With a tied head, and with one of its own."""
    return save_base(tmp_path_factory.mktemp("base"), byte_tokenizer, request.param)


def of(folder: Path) -> str:
    return fingerprint(str(folder), load_config(str(folder)))


def change(folder: Path, to: Path, name: str, act: Any) -> Path:
    """A copy of `folder` whose tensor `name` is changed in place."""
    tensors = load_file(copy_folder(folder, to) / FILE)
    act(tensors[name])
    save_file(tensors, to / FILE, metadata={"format": "pt"})
    return to


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_copies_in_other_dtypes_and_files_are_the_same_base(
    base: Path, tmp_path: Path, dtype: Any
) -> None:
    model = load_model(str(base), torch.float32).to(dtype)
    model.save_pretrained(tmp_path / "one")
    model.save_pretrained(tmp_path / "parts", max_shard_size="50KB")
    assert len(list((tmp_path / "parts").glob("model-*.safetensors"))) > 2
    assert of(base) == of(tmp_path / "one") == of(tmp_path / "parts")


def test_old_files_and_a_tied_head_that_is_stored_are_the_same_base(
    base: Path, tmp_path: Path
) -> None:
    copy = copy_folder(base, tmp_path / "copy")
    tensors = load_file(copy / FILE)
    (copy / FILE).unlink()
    tensors.setdefault("lm_head.weight", tensors["model.embed_tokens.weight"].clone())
    torch.save(tensors, copy / "pytorch_model.bin")
    assert of(copy) == of(base)


def test_any_row_any_column_and_any_vector_is_noticed(base: Path, tmp_path: Path) -> None:
    names = {
        "model.embed_tokens.weight", "model.norm.weight",
        "model.layers.0.input_layernorm.weight", "model.layers.1.mlp.down_proj.weight",
        "model.layers.1.self_attn.k_proj.weight", "model.layers.0.self_attn.q_proj.weight",
    }  # fmt: skip
    if "lm_head.weight" in load_file(base / FILE):
        names.add("lm_head.weight")
    found = {of(base)}
    for number, name in enumerate(sorted(names)):
        rows, columns = [*load_file(base / FILE)[name].shape, 1][:2]
        changes = [lambda t, r=rows: t[r // 2].mul_(1.5).add_(0.1)]
        if columns > 1:
            changes.append(lambda t, c=columns: t[:, c - 1].mul_(1.5).add_(0.1))
        for i, act in enumerate(changes):
            found.add(of(change(base, tmp_path / f"{number}-{i}", name, act)))
    assert len(found) == 1 + 2 * len(names) - sum("norm" in name for name in names)


def test_layers_that_change_places_are_another_base(base: Path, tmp_path: Path) -> None:
    copy = copy_folder(base, tmp_path / "copy")
    tensors = {
        name.replace(".0.", ".x.").replace(".1.", ".0.").replace(".x.", ".1."): tensor
        for name, tensor in load_file(copy / FILE).items()
    }
    save_file(tensors, copy / FILE, metadata={"format": "pt"})
    assert of(copy) != of(base)


def test_heads_of_another_number_are_another_base(base: Path, tmp_path: Path) -> None:
    copy = copy_folder(base, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"num_key_value_heads": 1}))
    assert of(copy) != of(base)


def test_a_grown_vocabulary_still_fits_and_a_smaller_one_does_not(
    base: Path, tmp_path: Path
) -> None:
    adapter = save_adapter(tmp_path / "adapter", base)
    config = load_branch_config(adapter)
    for name, rows in (("more", 512), ("less", 440)):
        model = load_model(str(base), torch.float32)
        model.resize_token_embeddings(rows, mean_resizing=False)
        model.save_pretrained(tmp_path / name)
    check_base(load_model(str(tmp_path / "more"), torch.float32), config, adapter)
    with pytest.raises(AdapterError, match="made for base"):
        check_base(load_model(str(tmp_path / "less"), torch.float32), config, adapter)


def test_a_fingerprint_of_the_first_form_is_compared_as_it_was(
    base: Path, tmp_path: Path, caplog: Any
) -> None:
    model = load_model(str(base), torch.float32)
    adapter = save_adapter(
        tmp_path / "adapter", base, base_fingerprint=_embedding_fingerprint(model)
    )
    check_base(model, load_branch_config(adapter), adapter)
    assert "tells bases apart by their embedding alone" in caplog.text
    name = "model.embed_tokens.weight"
    other = change(base, tmp_path / "other", name, lambda t: t[0].add_(1))
    with pytest.raises(AdapterError, match="this base is another one"):
        check_base(load_model(str(other), torch.float32), load_branch_config(adapter), adapter)


def test_a_folder_without_weights(base: Path, tmp_path: Path) -> None:
    copy = copy_folder(base, tmp_path / "copy")
    (copy / FILE).unlink()
    with pytest.raises(ModelError, match=r"no weights; expected model\.safetensors"):
        of(copy)
