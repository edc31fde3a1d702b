"""Where a model's name leads, which adapter it has, and which models are refused unread."""

import json
import re

import pytest

from pbranch.errors import AdapterError, ModelError
from pbranch.hf import base_models
from pbranch.hf.base_models import default_adapter, find_shipped, locate, shipped
from pbranch.hf.hub import fetch_adapter
from pbranch.hf.load_model import load_config


def test_the_shipped_name_leads_to_the_shipped_base() -> None:
    assert locate("tiny") == str(shipped("base"))
    assert json.loads((shipped("base") / "config.json").read_text())["model_type"] == "qwen3"


def test_a_named_model_has_its_shipped_adapter_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(base_models, "__file__", str(tmp_path / "pbranch" / "hf" / "x.py"))
    assert default_adapter("smollm2") is None
    with pytest.raises(ModelError, match="the shipped adapter is missing"):
        shipped("adapter", "smollm2")
    for place in ("pbranch/smollm2", "data/smollm2", "data/tiny"):  # of a wheel, of a checkout
        folder = tmp_path / place / "adapter"
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text("{}")
        found = folder if "smollm2" in place else None
        assert default_adapter("smollm2") == (found or tmp_path / "data/smollm2/adapter")
    assert default_adapter("tiny") is None and find_shipped("adapter") is not None
    assert default_adapter("data/smollm2") is None and default_adapter(None) is None


def test_hub_ids_pass_and_missing_folders_do_not(tmp_path) -> None:
    assert locate("gpt2") == "gpt2"
    assert locate("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
    for name in ("./nowhere", str(tmp_path / "no"), "~/x"):
        with pytest.raises(ModelError, match="no such folder"):
            locate(name)
    with pytest.raises(ModelError, match=r"no config\.json"):
        locate(str(tmp_path))


def test_other_names_say_what_to_name(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    model = tmp_path / "models" / "small"
    model.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (model / name).write_text("{}")
    assert locate("~/models/small") == str(model) and locate("models/small") == "models/small"
    for name, message in {
        str(model / "model.safetensors"): f"a file; its folder is {model}",
        "models/small/config.json": "a file; its folder is models/small",
        "models/smal": "no such folder; did you mean models/small",
        "models": "no config.json in this folder; expected a model, as is models/small",
        "https://host.example/Qwen/Qwen3-0.6B/tree/main": "a web address; its Hub id is Qwen/Qwen3",
        "https://host.example": "a web address; expected a folder, a Hub id",
        "": "an empty name",
    }.items():
        with pytest.raises(ModelError, match=re.escape(message)):
            locate(name)


def test_an_adapter_s_name_is_read_likewise(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "adapter_model.safetensors").write_text("")
    assert fetch_adapter("~/a") == tmp_path / "a"
    with pytest.raises(AdapterError, match="a file; its folder is"):
        fetch_adapter("~/a/adapter_model.safetensors")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "t5"}, "encoder-decoder"),
        ({"model_type": "mamba"}, "state"),
        ({"model_type": "deepseek_v3"}, "MLA"),
        (
            {"model_type": "qwen3_next", "num_hidden_layers": 4},
            "linear_attention layers keep a state",
        ),
        (
            {
                "model_type": "llama",
                "rope_scaling": {"rope_type": "dynamic", "factor": 2.0},
            },
            "dynamic rotary frequencies",
        ),
        ({"model_type": "no-such-model"}, "cannot load its configuration"),
    ],
)
def test_models_that_no_mask_fits_are_refused(tmp_path, config, message) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message) as e:
        load_config(str(tmp_path))
    assert "\n" not in str(e.value)
