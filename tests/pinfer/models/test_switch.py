"""The mode switch of an adapter: decoding feeds the prompts that training fed."""

import json

import pytest

from pbranch.format.branch_config import SwitchOptions
from pbranch.format.layout import LayoutOptions
from pbranch.hf.prompt import render_prompt
from pinfer import Engine, SamplingParams
from ptrain.data.dataset import Encoder
from tests.support.checkpoints import save_adapter, short

SWITCH = SwitchOptions(parallel="Fork where you can.", linear="In one line.")
CONVERSATIONS = [
    [{"role": "user", "content": "Check each."}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Check each."}],
]
FORM = {"parallel": "parallel", "serial": "parallel", "linear": "linear"}


@pytest.fixture(scope="module")
def switched(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("switch") / "adapter"
    return save_adapter(folder, base, switch=SWITCH, form="mixed")


@pytest.fixture(scope="module")
def engine(base, switched):
    return Engine.from_pretrained(str(base), str(switched), device="cpu")


@pytest.mark.parametrize("mode", FORM)
@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_decoding_feeds_the_prompt_ids_of_training(engine, mode, messages):
    encode = Encoder(engine.tokenizer, engine.spec.markers, LayoutOptions(), SWITCH)
    layout = encode({"messages": messages, "completion": "so"}, FORM[mode])
    prompt = engine.add(messages, SamplingParams(mode=mode)).prompt
    assert layout.token_ids[: len(prompt)] == prompt
    assert layout.targets[len(prompt) - 1] >= 0 and set(layout.targets[: len(prompt) - 1]) == {-100}
    assert SWITCH.text(FORM[mode]) in engine.tokenizer.decode(prompt)


def test_the_switch_stands_before_other_system_texts(engine):
    def prompt(messages, system=None, **params):
        return engine.tokenizer.decode(
            engine.add(messages, SamplingParams(**params), system=system).prompt
        )

    own = prompt(CONVERSATIONS[1], mode="linear")
    assert "<|im_start|>system\nIn one line.\n\nBe brief.<|im_end|>" in own
    assert own.count("system\n") == 1
    assert "system\nFork where you can.\n\nIn French.<|im_end|>" in prompt("hi", "In French.")
    assert "In one line." in prompt("hi", fork="never")  # no fork is allowed: as in mode linear


def test_raw_text_and_token_ids_get_no_switch(engine):
    params = SamplingParams()
    assert engine.add({"token_ids": [5, 6]}, params).prompt == [5, 6]
    raw = engine.add("Check each.", params, raw=True).prompt
    assert raw == render_prompt("Check each.", engine.tokenizer, raw=True)


def test_an_adapter_without_a_switch_is_prompted_as_before(base, adapter):
    engine = Engine.from_pretrained(str(base), str(adapter), device="cpu")
    for mode in FORM:
        for messages in CONVERSATIONS:
            found = engine.add(messages, SamplingParams(mode=mode)).prompt
            assert found == render_prompt(messages, engine.tokenizer)


def test_the_command_line_switches_by_mode(pinfer, base, switched):
    named = ["--json", "--model", base, "--adapter", switched]
    prompts = {}
    for mode in FORM:
        code, out, _ = pinfer("Check each.", *named, *short("--mode", mode), model=False)
        assert code == 0
        prompts[mode] = json.loads(out)["prompt_token_ids"]
    assert prompts["parallel"] == prompts["serial"] != prompts["linear"]
