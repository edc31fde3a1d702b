"""Chat templates of a run: their arguments, tools, and bases that have none."""

import pytest

from pbranch.errors import ModelError, RecipeError
from pbranch.format.layout import LayoutOptions
from pbranch.format.markers import add_markers
from pbranch.hf.prompt import render_prompt
from ptrain.config import Recipe
from ptrain.data.dataset import read_traces
from ptrain.data.encoder import Encoder, make_encoder, read_template
from tests.ptrain.conftest import make_records, make_tokenizer, write_records

OTHER = (
    "{% if tools %}{{ tools[0]['name'] }}\n{% endif %}"
    "{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}Q{% if deep is false %}shallow{% endif %}{% endif %}"
)


@pytest.fixture
def tokenizer():
    tokenizer = make_tokenizer()
    add_markers(tokenizer)
    return tokenizer


@pytest.fixture
def markers():
    return add_markers(make_tokenizer())


def test_a_base_without_a_template_is_one_error(tokenizer, markers):
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match=r"chat_template\.jinja in a copy of .* `chat_template:`"):
        Encoder(tokenizer, markers, LayoutOptions())


def test_the_recipe_s_template_becomes_the_tokenizer_s(tokenizer, markers, tmp_path):
    for value in (OTHER, "t.jinja", str(tmp_path / "t.jinja")):
        (tmp_path / "t.jinja").write_text(OTHER, encoding="utf-8")
        tokenizer.chat_template = None
        recipe = Recipe(data="x", chat_template=value, template_args={"deep": False})
        encode = make_encoder(recipe, tokenizer, markers, tmp_path)
        assert tokenizer.chat_template == OTHER
        layout = encode(make_records(1)[0])
        text = tokenizer.decode(layout.token_ids)
        assert "Qshallow" in text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("none.jinja", r"chat_template: cannot read none\.jinja \(No such file"),
        ("empty.jinja", r"chat_template: .*empty\.jinja is empty"),
        ("{% for m in %}", "chat_template, template_args: the chat template refuses"),
        ("{{ messages[0]['content'] }}", "leaves out what the assistant says"),
    ],
)
def test_a_template_that_does_not_work_is_one_error(tokenizer, markers, tmp_path, value, message):
    (tmp_path / "empty.jinja").write_text(" \n")
    with pytest.raises(RecipeError, match=message):
        make_encoder(Recipe(data="x", chat_template=value), tokenizer, markers, tmp_path)


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff")
    with pytest.raises(RecipeError, match=r"cannot read .*a \('utf-8'"):
        read_template(str(tmp_path / "a"))
    (tmp_path / "a").write_text("\ufeff{{ messages }}", encoding="utf-8")
    assert read_template(str(tmp_path / "a")) == "{{ messages }}"


def test_arguments_are_those_of_decoding_and_checked_at_once(tokenizer, markers):
    tokenizer.chat_template = OTHER
    record, args = make_records(1)[0], {"deep": False}
    layout = Encoder(tokenizer, markers, LayoutOptions(), template_args=args)(record)
    prompt = render_prompt(record["messages"], tokenizer, template_args=args)
    assert layout.token_ids[: len(prompt)] == prompt and layout.targets[len(prompt) - 1] >= 0
    for wrong, message in (("depp", "did you mean deep"), ("messages", "is always set")):
        with pytest.raises(RecipeError, match=f"template argument {wrong}: .*{message}"):
            Encoder(tokenizer, markers, LayoutOptions(), template_args={wrong: 1})


def test_a_record_s_tools_are_rendered_or_it_is_set_aside(tokenizer, markers, tmp_path):
    plain, with_tools = make_records(2)
    with_tools["tools"] = [{"name": "w"}]
    path = str(write_records(tmp_path / "a.jsonl", [plain, with_tools]))
    traces = read_traces(path, Encoder(tokenizer, markers, LayoutOptions()), 4096)
    assert traces.left_out == {"broken": 1} and len(traces.examples) == 1
    tokenizer.chat_template = OTHER
    traces = read_traces(path, Encoder(tokenizer, markers, LayoutOptions()), 4096)
    first, second = traces.examples
    assert tokenizer.decode(second.layout().token_ids).startswith("w\n")
    assert first.prompt == plain["messages"]
    assert second.prompt == {"messages": with_tools["messages"], "tools": with_tools["tools"]}
    assert traces.keys[0] != traces.keys[1]
