"""Merging: exact, written whole, nothing replaced unasked, and decoded as base and adapter are."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pbranch.errors import AdapterError, DataError
from pbranch.format.branch_config import load_branch_config
from pbranch.hf.base_models import shipped
from ptrain.artifacts.artifact import read_artifact
from ptrain.artifacts.merge import load_base_of, merge
from ptrain.config import LoraOptions, Recipe, TrainOptions
from ptrain.train import train


@pytest.fixture(scope="module")
def adapter(bases, data, tmp_path_factory) -> Path:
    """A trained adapter of the untied, resized base."""
    return train(
        Recipe(
            data=str(data), model=str(bases["wide"]), eval_share=0.1,
            out=str(tmp_path_factory.mktemp("merging") / "adapter"),
            lora=LoraOptions(r=4, alpha=8),
            train=TrainOptions(steps=4, batch_rows=4, lr=1e-2, device="cpu"),
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def merged(adapter) -> Path:
    return merge(adapter, adapter.parent / "merged")


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=ids).logits


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_decoding_and_merging_give_the_same_weights(dtype, tmp_path):
    """Of the shipped adapter."""
    from pinfer.models.load import load

    loaded = load(dtype=dtype, device="cpu").model
    merge(shipped("adapter"), tmp_path / "out", dtype=dtype)
    assert_same_weights(loaded, tmp_path / "out", getattr(torch, dtype))


def test_a_grown_vocabulary_is_the_same_at_every_merge(adapter, merged):
    """Also in the rows that nothing was trained in."""
    from pinfer.models.load import load

    loaded = load(None, str(adapter), device="cpu").model
    assert_same_weights(loaded, merged, torch.float32)


def assert_same_weights(model, folder, dtype):
    stored = load_file(folder / "model.safetensors")
    ours = model.state_dict()
    assert stored.keys() >= ours.keys() - {"lm_head.weight"}
    for name, tensor in stored.items():
        assert tensor.dtype == dtype and torch.equal(ours[name], tensor), name


def test_a_merged_folder_is_a_plain_model_with_our_records(adapter, merged):
    names = {p.name for p in merged.iterdir()}
    assert {"model.safetensors", "config.json", "recipe.yaml", "train_report.json"} <= names
    assert not (merged.parent / ".merged.part").exists() and "adapter_config.json" not in names
    config = json.loads((merged / "config.json").read_text())
    assert config["dtype"] == "float32" and "quantization_config" not in config
    tokenizer, plain = AutoTokenizer.from_pretrained(merged), AutoTokenizer.from_pretrained(adapter)
    assert tokenizer("low high").input_ids == plain("low high").input_ids
    card = (merged / "README.md").read_text()
    assert "library_name: transformers" in card and "A LoRA of rank 4 merged into" in card
    assert f"pinfer generate --model {merged} " in card and "eval_loss" in card


def test_pinfer_decodes_a_merged_folder_as_base_and_adapter(adapter, merged):
    from pinfer import Engine, SamplingParams
    from pinfer.models.load import load

    assert load(str(merged)).spec.markers == load(None, str(adapter)).spec.markers
    short = SamplingParams(max_new_tokens=24, fork="always")
    together = Engine.from_pretrained(adapter=str(adapter)).generate(["low", "seven"], short)
    alone = Engine.from_pretrained(str(merged)).generate(["low", "seven"], short)
    assert [g.token_ids for g in alone] == [g.token_ids for g in together]


def test_a_base_is_not_written_over_by_what_is_merged_into_it(adapter, bases):
    before = (bases["wide"] / "model.safetensors").read_bytes()
    with pytest.raises(AdapterError, match="a model that no merge has written"):
        merge(adapter, bases["wide"], force=True)
    load_branch_config(adapter).save(bases["wide"])
    try:
        with pytest.raises(DataError, match="is the source itself"):
            merge(adapter, bases["wide"], force=True)
    finally:
        (bases["wide"] / "branch_config.json").unlink()
    assert (bases["wide"] / "model.safetensors").read_bytes() == before


def test_a_full_disk_leaves_nothing_of_a_merge(adapter, tmp_path, monkeypatch):
    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    monkeypatch.setattr("transformers.modeling_utils.safe_save_file", full)
    with pytest.raises(OSError, match="cannot write") as caught:
        merge(adapter, tmp_path / "out")
    assert caught.value.filename == str(tmp_path / "out") and list(tmp_path.iterdir()) == []


def test_what_is_there_is_replaced_only_when_forced_and_only_a_merge(adapter, merged, tmp_path):
    out = Path(shutil.copytree(merged, tmp_path / "out"))
    (out / "model.safetensors").write_bytes(b"old")
    with pytest.raises(AdapterError, match="out: not empty"):
        merge(adapter, out)
    assert (out / "model.safetensors").read_bytes() == b"old"
    merge(adapter, out, force=True)
    again, first = ((f / "model.safetensors").read_bytes() for f in (out, merged))
    assert (again == first) is True  # bytes, too many to be shown
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(AdapterError, match=r"holds thesis\.tex, which no merge has written"):
        merge(adapter, out, force=True)
    with pytest.raises(AdapterError, match="which no merge has written"):
        merge(adapter, adapter, force=True)
    with pytest.raises(AdapterError, match="is a file"):
        merge(adapter, out / "thesis.tex", force=True)
    assert (adapter / "adapter_model.safetensors").is_file()
    assert (out / "thesis.tex").read_text() == "years of work"


def test_a_merge_that_fails_leaves_nothing_in_its_place(adapter, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr("ptrain.artifacts.merge.write_card", fail)
        merge(adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    merge(adapter, tmp_path / "out")  # over what the first has left beside it
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_whole_model_has_nothing_to_merge(merged, tmp_path):
    with pytest.raises(AdapterError, match="merged: a whole model, nothing to merge"):
        merge(merged, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_torn_adapter_is_one_line(adapter, tmp_path):
    folder = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(AdapterError, match=r"adapter: does not fit the base: "):
        merge(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_float32_weights_of_a_bfloat16_base_are_exact(adapter, tmp_path):
    """The base's own dtype would round the sum."""
    from peft import PeftModel

    source, ids = read_artifact(adapter), torch.tensor([[5, 9, 7, 20, 11]])
    base = AutoModelForCausalLM.from_pretrained(source.config.base_model, dtype=torch.bfloat16)
    base.save_pretrained(tmp_path / "base")
    folder = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    config = json.loads((folder / "branch_config.json").read_text())
    config["base_model"] = str(tmp_path / "base")
    (folder / "branch_config.json").write_text(json.dumps(config))
    base.float().resize_token_embeddings(
        len(AutoTokenizer.from_pretrained(adapter)), pad_to_multiple_of=64, mean_resizing=False
    )
    expected = logits(PeftModel.from_pretrained(base, adapter).eval(), ids)[..., :300]
    errors = {}
    for dtype in ("float32", "auto"):
        model = AutoModelForCausalLM.from_pretrained(merge(folder, tmp_path / dtype, dtype=dtype))
        assert model.dtype == (torch.float32 if dtype == "float32" else torch.bfloat16)
        errors[dtype] = (logits(model.float(), ids)[..., :300] - expected).abs().max().item()
    assert errors["float32"] < 1e-5 < errors["auto"]


def test_an_adapter_of_a_4_bit_base_is_merged_into_what_it_was_trained_on(
    adapter, tmp_path, monkeypatch
):
    from peft import PeftModel

    folder = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    config = json.loads((folder / "branch_config.json").read_text()) | {"quantization": "nf4"}
    (folder / "branch_config.json").write_text(json.dumps(config))
    with monkeypatch.context() as patch, pytest.raises(AdapterError, match="install bitsandbytes"):
        patch.setattr("ptrain.artifacts.merge.find_spec", lambda name: None)
        merge(folder, tmp_path / "out")
    pytest.importorskip("bitsandbytes")
    source = read_artifact(folder)
    base = load_base_of(folder, source.config)
    plain = AutoModelForCausalLM.from_pretrained(source.config.base_model)
    ids = torch.tensor([[5, 9, 7, 20, 11]])
    rounded = (logits(base, ids) - logits(plain, ids)).abs().max()
    assert rounded > 0.01, "the base is rounded"
    base.resize_token_embeddings(
        len(AutoTokenizer.from_pretrained(folder)), pad_to_multiple_of=64, mean_resizing=False
    )
    expected = logits(PeftModel.from_pretrained(base.float(), folder).eval(), ids)[..., :300]
    model = AutoModelForCausalLM.from_pretrained(merge(folder, tmp_path / "out"))
    assert torch.allclose(logits(model, ids)[..., :300], expected, rtol=1e-5, atol=1e-5)
    assert not hasattr(model.config, "quantization_config")
