"""Loading: what fits is merged exactly, what does not is refused with one clear message."""

import json

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from pbranch.errors import AdapterError, BranchError, MarkerError, ModelError, RequestError
from pbranch.hf.mask_support import refuse_unmaskable
from pinfer import Engine, SamplingParams
from pinfer.models.load import load
from tests.support.checkpoints import copy_folder, save_adapter, save_base

SHORT = SamplingParams(max_new_tokens=40)


def edit(folder, name="branch_config.json", **changes):
    path = folder / name
    stored = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in stored.items() if v is not ...}))
    return folder


def one_line(error):
    text = str(error.value)
    assert text.strip() and "\n" not in text.strip()
    return text


@pytest.mark.parametrize("which", ["tied", "untied"])
def test_merged_logits_are_those_of_the_adapter(which, base, adapter, untied):
    from peft import PeftModel

    base, adapter = (base, adapter) if which == "tied" else untied
    loaded = load(str(base), str(adapter), dtype="float64")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    plain = model(torch.arange(30)[None]).logits
    # as in loading, the marker rows are within the base's spare rows
    peft_model = PeftModel.from_pretrained(model, str(adapter)).eval()
    ids = torch.tensor([[*range(20), *loaded.spec.markers.as_dict().values()]])
    with torch.inference_mode():
        torch.testing.assert_close(
            loaded.model(ids).logits, peft_model(ids).logits, rtol=0, atol=1e-6
        )
        changed = loaded.model(torch.arange(30)[None]).logits
    assert (changed - plain).abs().max() > 0.1, "the adapter does something"
    assert not any("lora" in name for name, _ in loaded.model.named_modules())


def test_the_base_may_be_named_by_the_adapter(base, adapter):
    named, both = load(None, str(adapter)), load(str(base), str(adapter))
    for one, two in zip(named.model.parameters(), both.model.parameters(), strict=True):
        assert torch.equal(one, two)
    assert named.spec == both.spec


def test_a_shipped_adapter_is_used_where_none_is_named(base, adapter, monkeypatch, caplog):
    monkeypatch.setattr("pinfer.models.load.default_adapter", {str(base): adapter}.get)
    assert load(str(base)).branch_config is not None
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"no --adapter given: using the shipped adapter of {base}"]
    caplog.clear()
    assert load(str(base), "none").branch_config is None
    assert load(str(base), str(adapter)).branch_config is not None
    assert not caplog.records


def test_a_merged_folder_decodes_as_base_and_adapter(base, adapter, merged):
    prompts = ["Check each record.", "a", "Case 1"]
    together = Engine.from_pretrained(str(base), str(adapter)).generate(prompts, SHORT)
    alone = Engine.from_pretrained(str(merged)).generate(prompts, SHORT)
    assert [g.token_ids for g in alone] == [g.token_ids for g in together]
    assert any(g.stats.blocks for g in together)


def test_a_bare_base_decodes_in_mode_linear_only(base):
    engine = Engine.from_pretrained(str(base), "none")
    with pytest.raises(RequestError, match="linear"):
        engine.generate(["a"], SamplingParams(max_new_tokens=9, mode="parallel"))
    (answer,) = engine.generate(["a"], SamplingParams(max_new_tokens=9))
    assert answer.stats.generated_tokens in range(1, 10) and answer.stats.blocks == 0


def test_what_the_adapter_was_trained_for_is_what_is_decoded(base, adapter, tmp_path):
    folder = edit(copy_folder(adapter, tmp_path / "a"), positions="flat", outline="own")
    rules = load(str(base), str(folder)).spec
    assert (rules.layout.positions, rules.layout.outline) == ("flat", "own")
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    assert rules.end_of_text == {tokenizer.eos_token_id}
    assert rules.context == 2048


REFUSED = {
    "format_version": ({"format_version": 99}, "format_version 99, this release reads"),
    "join": ({"join": "drop"}, "join is 'drop', expected keep or reencode"),
    "outline": ({"outline": "some"}, "outline is 'some', expected all or own"),
    "markers": ({"markers": {}}, "markers"),
    "no ids": ({"marker_ids": ...}, "not a branch config"),
    "role missing": ({"marker_ids": {"fork": 1}}, "not a branch config"),
    "other base": ({"base_fingerprint": "0123"}, "made for base"),
    "other ids": (
        {
            "marker_ids": dict(
                zip("fork topic spawn branch end join".split(), range(6), strict=True)
            )
        },
        "marker ids differ",
    ),
}


@pytest.mark.parametrize("changes, message", REFUSED.values(), ids=REFUSED)
def test_an_adapter_that_does_not_fit_is_refused(changes, message, base, adapter, tmp_path):
    folder = edit(copy_folder(adapter, tmp_path / "a"), **changes)
    with pytest.raises(AdapterError) as error:
        load(str(base), str(folder))
    assert message in one_line(error) and str(folder) in one_line(error)


def test_a_merged_folder_is_checked_too(merged, tmp_path):
    ids = json.loads((merged / "branch_config.json").read_text())["marker_ids"]
    folder = edit(copy_folder(merged, tmp_path / "m"), marker_ids={**ids, "fork": ids["join"]})
    with pytest.raises(AdapterError, match="marker ids differ"):
        load(str(folder))


def test_an_adapter_of_another_base_is_refused(base, untied):
    with pytest.raises(AdapterError, match="made for base"):
        load(str(base), str(untied[1]))


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda f: (f / "branch_config.json").unlink(), "no branch_config.json"),
        (lambda f: (f / "branch_config.json").write_text("[]"), "not a branch config"),
        (lambda f: (f / "branch_config.json").write_text("{"), "not a branch config"),
        (lambda f: (f / "adapter_config.json").unlink(), "does not fit the base"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "does not fit the base"),
        (lambda f: truncate(f / "adapter_model.safetensors"), "does not fit the base"),
    ],
    ids=["no config", "a list", "torn config", "no peft config", "no weights", "torn weights"],
)
def test_a_broken_adapter_is_refused(spoil, message, base, adapter, tmp_path):
    folder = copy_folder(adapter, tmp_path / "a")
    spoil(folder)
    with pytest.raises(AdapterError) as error:
        load(str(base), str(folder))
    assert message in one_line(error) and str(folder) in one_line(error)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_tokenizer_without_markers_is_refused(base, adapter, tmp_path):
    folder = copy_folder(adapter, tmp_path / "a")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((base / name).read_bytes())
    with pytest.raises(MarkerError, match="no marker"):
        load(str(base), str(folder))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f: (f / "config.json").unlink(),
        lambda f: (f / "config.json").write_text("{"),
        lambda f: edit(f, "config.json", model_type="nonsense"),
        lambda f: edit(f, "config.json", hidden_size=96),
        lambda f: (f / "model.safetensors").unlink(),
        lambda f: truncate(f / "model.safetensors"),
        lambda f: (f / "tokenizer.json").write_text("{"),
    ],
    ids=["no config", "torn config", "type", "shape", "no weights", "torn weights", "tokenizer"],
)
def test_a_broken_base_is_refused(spoil, base, tmp_path):
    folder = copy_folder(base, tmp_path / "b")
    spoil(folder)
    with pytest.raises(ModelError) as error:
        load(str(folder), "none")
    assert str(folder) in one_line(error)


@pytest.mark.parametrize("name", ["/no/such/folder", "no/such-model"])
def test_a_missing_folder_is_refused(name, base):
    with pytest.raises(ModelError) as error:
        load(name, "none")
    assert name in one_line(error)
    with pytest.raises(AdapterError) as error:
        load(str(base), name)
    assert name in one_line(error)


@pytest.mark.parametrize("wrong", [{"dtype": "float8"}, {"device": "tpu"}], ids=str)
def test_wrong_dtype_and_device_are_refused(wrong, base, adapter):
    with pytest.raises(RequestError, match=f"{next(iter(wrong.values()))}.*expected"):
        load(str(base), str(adapter), **wrong)


TINY = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
UNMASKABLE = {
    "hybrid": ("Qwen3NextConfig", TINY, "hybrid.*linear_attention"),
    "mamba layers": ("JambaConfig", TINY, "hybrid"),
    "recurrent": ("MambaConfig", {"hidden_size": 32, "num_hidden_layers": 2}, "hybrid"),
    "rwkv": ("RwkvConfig", {"hidden_size": 32, "num_hidden_layers": 2}, "recurrent"),
    "conv": (
        "Lfm2Config",
        {**TINY, "layer_types": ["conv", "full_attention"]},
        "hybrid.* conv layers",
    ),
    "MLA": ("DeepseekV3Config", TINY, "MLA"),
    "encoder-decoder": ("T5Config", {"d_model": 32, "num_layers": 2}, "encoder-decoder"),
    "dynamic rope": (
        "LlamaConfig",
        {**TINY, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
        "dynamic rotary",
    ),
    "chunked": (
        "Llama4TextConfig",
        {**TINY, "layer_types": ["chunked_attention", "full_attention"]},
        "chunked_attention",
    ),
}


@pytest.mark.parametrize("name, values, message", UNMASKABLE.values(), ids=UNMASKABLE)
def test_a_model_that_cannot_be_masked_is_refused_by_its_config(name, values, message, tmp_path):
    """No weights lie beside it: none are looked for."""
    getattr(transformers, name)(**values).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=message) as error:
        load(str(tmp_path), "none")
    one_line(error)


def test_yarn_and_default_rope_are_not_refused():
    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}
    for rope in (None, yarn):
        config = transformers.LlamaConfig(**TINY, rope_parameters=rope)
        refuse_unmaskable(config)


def test_ids_outside_the_vocabulary_are_no_prompt(base):
    engine = Engine.from_pretrained(str(base), "none")
    linear = SamplingParams(max_new_tokens=2, mode="linear")
    for wrong in (-1, 448):
        with pytest.raises(RequestError, match=f"token id {wrong}"):
            engine.generate([{"token_ids": [1, wrong]}], linear)


def test_a_refused_call_leaves_nothing_behind(base):
    """The good prompts of a batch with a bad one are not decoded by the next call."""
    engine = Engine.from_pretrained(str(base), "none")
    linear = SamplingParams(max_new_tokens=2, mode="linear")
    with pytest.raises(RequestError):
        engine.generate(["fine", {"token_ids": []}], linear)
    assert not engine.core.scheduler.busy
    assert len(engine.generate(["next"], linear)) == 1
    assert engine.core.runner.arena.rows == 0


@pytest.mark.parametrize("there", [True, False])
def test_an_adapter_of_a_base_in_4_bit_is_refused_with_what_to_do(
    there, base, monkeypatch, tmp_path
):
    """Without bitsandbytes, and with it on a CPU."""
    folder = save_adapter(tmp_path / "four", base, quantization="nf4")
    monkeypatch.setattr("pinfer.models.load.find_spec", lambda name: there or None)
    with pytest.raises(AdapterError, match=r"4 bit \(nf4\).*bitsandbytes and a CUDA device"):
        load(str(base), str(folder), device="cpu")
    stored = json.loads((folder / "branch_config.json").read_text())
    stored["quantization"] = "int3"
    (folder / "branch_config.json").write_text(json.dumps(stored))
    with pytest.raises(AdapterError, match="quantization is 'int3', expected None or nf4 or fp4"):
        load(str(base), str(folder), device="cpu")


def test_errors_are_of_one_tree():
    assert all(issubclass(e, BranchError) for e in (AdapterError, MarkerError, ModelError))


@pytest.mark.parametrize("kind", ["qwen2", "mistral", "gemma3", "gemma4"])
def test_bases_of_all_families_load(kind, byte_tokenizer, tmp_path):
    folder = save_base(tmp_path / kind, byte_tokenizer, kind)
    engine = Engine.from_pretrained(str(folder), "none")
    (answer,) = engine.generate(["Go."], SamplingParams(max_new_tokens=5, mode="linear"))
    assert 1 <= len(answer.token_ids) <= 5
