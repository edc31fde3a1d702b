"""What other libraries load gives our logits: merged models, adapters in peft, exported ones.

vLLM does not run here: the names and shapes that its source asks for are tested.
"""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pbranch.errors import AdapterError
from pbranch.format.markers import find_markers
from pbranch.hf.base_models import shipped
from pinfer.models.load import load
from ptrain.artifacts.export import export, find_vllm_limits
from ptrain.artifacts.merge import merge
from ptrain.config import LoraOptions, Recipe, TrainOptions
from ptrain.train import train

VLLM_NAME = re.compile(r"base_model\.model\.(.+)\.lora_(A|B)\.weight")  # the names that it parses


def make(bases, data, out, family, **lora):
    return train(
        Recipe(
            data=str(data), model=str(bases[family]), out=str(out), eval_share=0.1,
            lora=LoraOptions(**{"r": 4, "alpha": 8, **lora}),
            train=TrainOptions(steps=4, batch_rows=4, lr=1e-2, device="cpu"),
        )
    )  # fmt: skip


@pytest.fixture(scope="module", params=["qwen3", "llama", "wide"])
def adapter(request, bases, data, tmp_path_factory) -> Path:
    """Of a tied base, of an untied one, and of one whose vocabulary grows."""
    folder = tmp_path_factory.mktemp(request.param)
    return make(bases, data, folder / "adapter", request.param)


def logits(model, ids):
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


@pytest.fixture(scope="module")
def ours(adapter):
    """Ids with every marker, and the logits of our own loader."""
    loaded = load(None, str(adapter), device="cpu")
    ids = [5, 9, *find_markers(loaded.tokenizer).as_dict().values(), 20, 11]
    return torch.tensor([ids]), logits(loaded.model, torch.tensor([ids])), len(loaded.tokenizer)


def assert_ours(model, ours):
    ids, expected, size = ours
    found = logits(model, ids)[..., :size]
    assert torch.allclose(found, expected[..., :size], rtol=1e-4, atol=1e-4)


def test_transformers_loads_a_merged_model(adapter, ours, tmp_path):
    assert_ours(AutoModelForCausalLM.from_pretrained(merge(adapter, tmp_path / "merged")), ours)


def test_peft_loads_the_adapter(adapter, ours):
    """By itself, and around a base that was grown as the card says."""
    assert_ours(AutoPeftModelForCausalLM.from_pretrained(adapter), ours)
    stored = json.loads((adapter / "adapter_config.json").read_text())
    base = AutoModelForCausalLM.from_pretrained(stored["base_model_name_or_path"])
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    if len(tokenizer) > base.get_input_embeddings().num_embeddings:
        base.resize_token_embeddings(len(tokenizer))
    assert_ours(PeftModel.from_pretrained(base, adapter), ours)


def test_an_exported_adapter_is_plain(adapter, ours, tmp_path):
    out = export(adapter, tmp_path / "out")
    base = AutoModelForCausalLM.from_pretrained(out / "base")
    assert_ours(PeftModel.from_pretrained(base, out / "adapter"), ours)
    assert_ours(AutoPeftModelForCausalLM.from_pretrained(out / "adapter"), ours)
    plain = AutoModelForCausalLM.from_pretrained(out / "base")
    found = logits(plain, ours[0])[..., : ours[2]]
    assert not torch.allclose(found, ours[1][..., : ours[2]], atol=1e-2)  # the LoRA is not in it

    tensors = load_file(out / "adapter" / "adapter_model.safetensors")
    config = json.loads((out / "adapter" / "adapter_config.json").read_text())
    assert config["trainable_token_indices"] is None and config["modules_to_save"] is None
    assert config["base_model_name_or_path"] == str(out / "base")
    modules = dict(plain.named_modules())
    for name, tensor in tensors.items():
        module, side = VLLM_NAME.fullmatch(name).groups()
        rows, columns = modules[module].weight.shape
        assert {module, module.rsplit(".", 1)[-1]} & set(config["target_modules"])
        assert tensor.shape == ((config["r"], columns) if side == "A" else (rows, config["r"]))
    tokenizer = AutoTokenizer.from_pretrained(out / "base")
    assert len(tokenizer) <= json.loads((out / "base" / "config.json").read_text())["vocab_size"]
    assert find_markers(tokenizer) == find_markers(AutoTokenizer.from_pretrained(adapter))
    stored = load_file(out / "base" / "model.safetensors")
    assert stored.keys() <= plain.state_dict().keys()
    assert not find_vllm_limits(LoraConfig.from_pretrained(out / "adapter"), tensors)
    assert (out / "README.md").read_text() == (adapter / "README.md").read_text()
    with pytest.raises(AdapterError, match="out: not empty"):
        export(adapter, out)


def test_the_shipped_adapter(tmp_path):
    out = export(shipped("adapter"), tmp_path / "out", dtype="bfloat16")
    model = AutoPeftModelForCausalLM.from_pretrained(out / "adapter")
    assert model.get_base_model().dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        ({"use_dora": True}, "lora.use_dora; the weight base_model"),
        ({"options": {"modules_to_save": ["up_proj"]}, "target_modules": ["q_proj"]}, "to_save"),
        ({"options": {"rank_pattern": {"q_proj": 2}}}, "rank_pattern, where it takes one scale"),
    ],
)
def test_what_vllm_would_not_take_is_said(bases, data, tmp_path, capsys, lora, said):
    """peft still loads it."""
    adapter = make(bases, data, tmp_path / "adapter", "qwen3", **lora)
    capsys.readouterr()
    out = export(adapter, tmp_path / "out")
    error = capsys.readouterr().err
    assert "vLLM does not: " in error and said in error
    loaded = load(None, str(adapter), device="cpu")
    ids = torch.tensor([[5, 9, 20, 11]])
    found = logits(AutoPeftModelForCausalLM.from_pretrained(out / "adapter"), ids)
    assert torch.allclose(found, logits(loaded.model, ids), rtol=1e-4, atol=1e-4)


def test_a_card_that_is_a_link_to_another_file_is_not_copied(tmp_path):
    folder = Path(shutil.copytree(shipped("adapter"), tmp_path / "adapter"))
    (tmp_path / "secret").write_text("a key")
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(AdapterError, match=r"README.md: a link out of its folder"):
        export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_whole_model_is_not_exported(adapter, tmp_path):
    merged = merge(adapter, tmp_path / "merged")
    with pytest.raises(AdapterError, match="a whole model, which other libraries load as it is"):
        export(merged, tmp_path / "out")
