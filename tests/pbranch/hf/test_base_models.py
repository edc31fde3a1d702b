"""Where a model's name leads, and which models are refused before any weight is read."""

import json

import pytest

from pbranch.errors import ModelError
from pbranch.hf.base_models import locate, shipped
from pbranch.hf.load_model import load_config


def test_the_shipped_name_leads_to_the_shipped_base() -> None:
    assert locate("tiny") == str(shipped("base"))
    assert json.loads((shipped("base") / "config.json").read_text())["model_type"] == "qwen3"


def test_hub_ids_pass_and_missing_folders_do_not(tmp_path) -> None:
    assert locate("gpt2") == "gpt2"
    assert locate("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
    for name in ("./nowhere", str(tmp_path / "no"), "~/x"):
        with pytest.raises(ModelError, match="no such folder"):
            locate(name)
    with pytest.raises(ModelError, match=r"no config\.json"):
        locate(str(tmp_path))


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
