"""A run's chat template and its arguments: stored, and what decoding feeds."""

import json

import pytest

from pbranch.errors import ModelError, RequestError
from pbranch.format.branch_config import load_branch_config
from pbranch.hf.prompt import render_prompt
from pinfer import Engine, SamplingParams
from ptrain.artifacts.merge import merge
from ptrain.config import EvaluationOptions, LoraOptions, Recipe, TrainOptions
from ptrain.train import train
from tests.ptrain.conftest import make_base, make_records, write_records

TEMPLATE = (
    "{% for t in tools or [] %}<{{ t['name'] }}>{% endfor %}"
    "{% for m in messages %}{{ m['role'] }} {{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant {% if think is false %}none {% endif %}{% endif %}"
)
ARGS = {"think": False}
ASK = [{"role": "user", "content": "check"}]
TOOLS = [{"name": "w"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An adapter of a base without a template, trained with one and an argument."""
    root = tmp_path_factory.mktemp("template")
    base = make_base(root / "base")
    (base / "chat_template.jinja").unlink()
    records = make_records(12)
    for record in records[::2]:
        record["tools"] = TOOLS
    recipe = Recipe(
        data=str(write_records(root / "a.jsonl", records)),
        model=str(base),
        out=str(root / "out"),
        eval_share=0.3,
        chat_template=TEMPLATE,
        template_args=ARGS,
        lora=LoraOptions(r=2),
        train=TrainOptions(steps=1, batch_rows=2, device="cpu"),
        evaluation=EvaluationOptions(prompts=3, max_new_tokens=3),
    )
    return train(recipe)


def test_a_run_says_what_it_was_given(folder):
    assert load_branch_config(folder).template_args == ARGS
    report = json.loads((folder / "train_report.json").read_text())
    assert 0 < report["traces_forked"] <= report["traces"] and "eval_fork_rate" in report


@pytest.mark.parametrize("merged", [False, True])
def test_decoding_feeds_what_was_trained(folder, tmp_path, merged):
    source = {"model": str(merge(folder, tmp_path / "m"))} if merged else {"adapter": str(folder)}
    engine = Engine.from_pretrained(**source, device="cpu")
    params = SamplingParams()
    assert engine.tokenizer.chat_template == TEMPLATE

    def prompt(asked, **rendering):
        return engine.add(asked, params, **rendering).prompt

    assert prompt(ASK) == render_prompt(ASK, engine.tokenizer, template_args=ARGS)
    assert prompt("check") == prompt(ASK) == prompt(ASK, template_args=ARGS)
    assert prompt(ASK, template_args={"think": True}) == render_prompt(ASK, engine.tokenizer)
    with_tools = prompt({"messages": ASK, "tools": TOOLS})
    assert engine.tokenizer.decode(with_tools).startswith("<w>user check")
    assert with_tools == render_prompt(ASK, engine.tokenizer, template_args=ARGS, tools=TOOLS)
    raw = prompt("check", raw=True)
    assert raw == render_prompt("check", engine.tokenizer, raw=True)
    with pytest.raises(RequestError, match="did you mean think"):
        prompt(ASK, template_args={"thinks": True})


def test_a_line_of_prompts_names_its_tools(folder):
    from pinfer.commands.jobs import Job

    line = {"messages": ASK, "tools": TOOLS}
    assert Job(line, SamplingParams(), "").prompt == line
    assert Job({"messages": ASK, "tools": []}, SamplingParams(), "").prompt == ASK
    engine = Engine.from_pretrained(adapter=str(folder), device="cpu")
    asked = Job({"prompt": "check", "tools": TOOLS}, SamplingParams(), "").prompt
    assert engine.add(asked, SamplingParams()).prompt == engine.add(line, SamplingParams()).prompt


def test_a_base_without_a_template_is_one_error(tmp_path, data):
    base = make_base(tmp_path / "base")
    (base / "chat_template.jinja").unlink()
    recipe = Recipe(data=str(data), model=str(base), out=str(tmp_path / "out"))
    with pytest.raises(ModelError, match=r"model .*base: .*no chat template.*chat_template"):
        train(recipe)
