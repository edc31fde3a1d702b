"""One rendering of prompts: template, BOS, markers as text, earlier answers as plain text."""

import copy
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbranch.bounds import bounded
from pbranch.errors import RequestError
from pbranch.format.markers import MARKERS, add_markers
from pbranch.format.tagged_text import render
from pbranch.format.tree import Fork, make_trace
from pbranch.hf.prompt import render_prompt, turn_end_id
from tests.conftest import CHAT_TEMPLATE
from tests.support.mutations import TEMPLATES
from tests.support.strategies import texts

FORK = next(iter(MARKERS.values()))
BLOCK = Fork(("a", "b"), (make_trace("a 1"), make_trace("b 2")))
TAGGED = render(make_trace("See: ", BLOCK, " so."))


@pytest.fixture(scope="session")
def marked_metaspace(metaspace_tokenizer):
    tokenizer = copy.deepcopy(metaspace_tokenizer)
    return tokenizer, add_markers(tokenizer)


def text_of(ids, tokenizer):
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def test_a_string_is_a_user_message(byte_tokenizer):
    ids = render_prompt("Hi", byte_tokenizer)
    assert ids == render_prompt([{"role": "user", "content": "Hi"}], byte_tokenizer)
    assert text_of(ids, byte_tokenizer) == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    messages = [{"role": "user", "content": "Hi"}]
    reference = byte_tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    assert ids == reference["input_ids"]


def test_a_switch_opens_the_system_text(byte_tokenizer):
    def system(prompt, **options):
        text = text_of(
            render_prompt(prompt, byte_tokenizer, switch="Fork.", **options), byte_tokenizer
        )
        return text.split("<|im_end|>")[0].removeprefix("<|im_start|>"), text.count("system\n")

    user, own = {"role": "user", "content": "Hi"}, {"role": "system", "content": "Be brief."}
    assert system("Hi") == system([user]) == ("system\nFork.", 1)
    assert system([own, user]) == ("system\nFork.\n\nBe brief.", 1)
    assert system([user], system="Be brief.") == system([own, user])
    late = system([user, own, user])  # not where a system text stands: left alone
    assert late == ("system\nFork.", 2)
    for prompt in ("Hi", [own, user]):
        plain = render_prompt(prompt, byte_tokenizer)
        assert render_prompt(prompt, byte_tokenizer, switch=None) == plain
        assert render_prompt(prompt, byte_tokenizer, switch="") == plain
    raw = render_prompt("Hi", byte_tokenizer, raw=True, switch="Fork.")
    assert raw == render_prompt("Hi", byte_tokenizer, raw=True)


@pytest.mark.parametrize("messages", [[{"role": "system", "content": 3}], ["text"]])
def test_a_switch_leaves_bad_messages_to_be_refused(byte_tokenizer, messages):
    with pytest.raises(RequestError):
        render_prompt(messages, byte_tokenizer, switch="Fork.")


def test_system_comes_first(byte_tokenizer):
    ids = render_prompt("Hi", byte_tokenizer, system="Be brief.")
    assert text_of(ids, byte_tokenizer).startswith("<|im_start|>system\nBe brief.<|im_end|>\n")
    assert ids == render_prompt(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        byte_tokenizer,
    )


def test_raw_is_fed_as_it_is(byte_tokenizer, metaspace_tokenizer):
    assert text_of(render_prompt("Hi", byte_tokenizer, raw=True), byte_tokenizer) == "Hi"
    ids = render_prompt("Hi you", metaspace_tokenizer, raw=True)
    assert ids == metaspace_tokenizer.encode("Hi you")
    assert ids == render_prompt("Hi you", metaspace_tokenizer)  # no template: raw


def test_bos_is_never_doubled(metaspace_tokenizer):
    bos = metaspace_tokenizer.bos_token_id
    for prompt in ("Hi", "<s>Hi", "<s> Hi", FORK, f"a {FORK} b", f"<s>a {FORK} b"):
        ids = render_prompt(prompt, metaspace_tokenizer)
        assert ids.count(bos) == 1 and ids[0] == bos, prompt
    templated = copy.deepcopy(metaspace_tokenizer)
    templated.chat_template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    for prompt in ("Hi", f"a {FORK} b"):
        ids = render_prompt(prompt, templated)
        assert ids.count(bos) == 1 and ids[0] == bos


def test_a_tokenizer_without_bos_gets_none(byte_tokenizer):
    ids = render_prompt(f"a {FORK}", byte_tokenizer, raw=True)
    assert text_of(ids, byte_tokenizer) == f"a {FORK}"


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ([{"role": "user", "content": "Hi"}], {}, "messages need a chat template"),
        ("Hi", {"system": "Be brief."}, "needs a chat template"),
        ([{"role": "user", "content": "Hi"}], {"raw": True}, "raw prompt must be a string"),
    ],
)
def test_without_a_template(metaspace_tokenizer, prompt, options, message):
    with pytest.raises(RequestError, match=message):
        render_prompt(prompt, metaspace_tokenizer, **options)


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ("Hi", {"raw": True, "system": "x"}, "fed raw"),
        ("", {"raw": True}, "empty"),
        ([{"role": "user"}], {}, "message 1: expected role and content"),
        ([{"role": "user", "content": "a"}, {"role": 1, "content": "b"}], {}, "message 2"),
        ([{"role": "user", "content": ["a"]}], {}, "message 1"),
        (["just text"], {}, "message 1"),
        ([{"role": "tool", "content": "a"}], {}, "template refuses.*unknown role tool"),
        ("half a pair: \ud83d", {}, "not valid text"),
        ("half a pair: \ud83d", {"raw": True}, "not valid text"),
    ],
)
def test_bad_prompts(byte_tokenizer, prompt, options, message):
    with pytest.raises(RequestError, match=message):
        render_prompt(prompt, byte_tokenizer, **options)


@given(text=texts(), system=st.one_of(st.none(), texts()), raw=st.booleans())
def test_markers_in_a_prompt_are_text(
    byte_tokenizer, marked_tokenizer, marker_ids, text, system, raw
):
    text = "x" + text
    options = {"raw": True} if raw else {"system": system}
    ids = render_prompt(text, marked_tokenizer, **options)
    assert not set(ids) & set(marker_ids.as_dict().values())
    assert text in text_of(ids, marked_tokenizer)
    assert (system or "") in text_of(ids, marked_tokenizer) or raw
    assert ids == render_prompt(text, byte_tokenizer, **options)  # whatever markers were added


@given(text=texts())
def test_markers_in_a_raw_sentencepiece_prompt(metaspace_tokenizer, marked_metaspace, text):
    tokenizer, markers = marked_metaspace
    text = "x" + text.replace("▁", "")
    ids = render_prompt(text, tokenizer)
    assert not set(ids) & set(markers.as_dict().values())
    assert ids == render_prompt(text, metaspace_tokenizer)
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_earlier_answers_become_plain_text(byte_tokenizer, marked_tokenizer):
    def conversation(answer):
        return [
            {"role": "user", "content": TAGGED},
            {"role": "assistant", "content": answer},
            {"role": "user", "content": "And?"},
        ]

    for tokenizer in (byte_tokenizer, marked_tokenizer):
        ids = render_prompt(conversation(TAGGED), tokenizer)
        assert ids == render_prompt(conversation("See: a 1\nb 2 so."), tokenizer)
        assert TAGGED in text_of(ids, tokenizer)  # the user's own spelling stays
        broken = f"an unclosed {FORK}"
        assert broken in text_of(render_prompt(conversation(broken), tokenizer), tokenizer)


def test_the_caller_s_messages_are_left_alone(byte_tokenizer):
    messages = [{"role": "assistant", "content": TAGGED}, {"role": "user", "content": "?"}]
    before = copy.deepcopy(messages)
    render_prompt(messages, byte_tokenizer, system="s")
    assert messages == before


def test_turn_end(byte_tokenizer, marked_tokenizer, metaspace_tokenizer):
    end = byte_tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert turn_end_id(byte_tokenizer) == turn_end_id(marked_tokenizer) == end
    assert turn_end_id(metaspace_tokenizer) == metaspace_tokenizer.eos_token_id
    other = copy.deepcopy(byte_tokenizer)
    other.eos_token = "<|endoftext|>"  # as Qwen's base: the template knows better
    assert turn_end_id(other) == end
    bare = copy.deepcopy(metaspace_tokenizer)
    bare.eos_token = None
    with pytest.raises(RequestError, match="no end-of-text"):
        turn_end_id(bare)


def test_template_arguments_reach_the_template(byte_tokenizer):
    tokenizer = copy.deepcopy(byte_tokenizer)
    tokenizer.chat_template += "{% if enable_thinking is false %}no thoughts{% endif %}"
    plain = render_prompt("Hi", tokenizer)
    assert render_prompt("Hi", tokenizer, template_args={"enable_thinking": True}) == plain
    quiet = render_prompt("Hi", tokenizer, template_args={"enable_thinking": False})
    assert text_of(quiet, tokenizer) == text_of(plain, tokenizer) + "no thoughts"
    with pytest.raises(RequestError, match=r"enable_thinkng: .* did you mean enable_thinking"):
        render_prompt("Hi", tokenizer, template_args={"enable_thinkng": False})
    with pytest.raises(RequestError, match="messages: is always set"):
        render_prompt("Hi", tokenizer, template_args={"messages": []})
    with pytest.raises(RequestError, match="template arguments need a chat template"):
        render_prompt("Hi", tokenizer, raw=True, template_args={"enable_thinking": False})


TOOL_TEMPLATE = (
    "{% if tools %}tools {{ tools | map(attribute='name') | join(',') }}\n{% endif %}"
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function.arguments | tojson }}</call>{% endfor %}"
    "{{ m.name or '' }}\n{% endfor %}"
)


def test_tools_and_calls_reach_the_template(byte_tokenizer):
    tokenizer = copy.deepcopy(byte_tokenizer)
    tokenizer.chat_template = TOOL_TEMPLATE

    def turns(arguments):
        call = {"type": "function", "function": {"name": "w", "arguments": arguments}}
        return [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "name": "w", "content": "21"},
        ]

    text = text_of(render_prompt(turns({"a": 1}), tokenizer, tools=[{"name": "w"}]), tokenizer)
    assert text == 'tools w\nuser: Hi\nassistant: <call>{"a": 1}</call>\ntool: 21w\n'
    as_text = render_prompt(turns('{"a": 1}'), tokenizer, tools=[{"name": "w"}])
    assert text_of(as_text, tokenizer) == text  # as servers do
    fixed = render_prompt("Hi", tokenizer, template_args={"tools": [{"name": "x"}]})
    assert text_of(fixed, tokenizer).startswith("tools x\n")
    own = {"template_args": {"tools": [{"name": "x"}]}, "tools": [{"name": "w"}]}
    assert text_of(render_prompt("Hi", tokenizer, **own), tokenizer).startswith("tools w\n")


def test_a_template_without_tools_refuses_them(byte_tokenizer, metaspace_tokenizer):
    with pytest.raises(RequestError, match="template argument tools: the chat template has no"):
        render_prompt("Hi", byte_tokenizer, tools=[{"name": "w"}])
    call = [{"role": "assistant", "content": "", "tool_calls": [{"function": {}}]}]
    with pytest.raises(RequestError, match="message 1: tool_calls: the chat template has no such"):
        render_prompt(call, byte_tokenizer)
    with pytest.raises(RequestError, match="need a chat template"):
        render_prompt("Hi", metaspace_tokenizer, tools=[{"name": "w"}])


def test_parts_of_text_are_joined_and_others_refused(byte_tokenizer):
    def ask(*parts):
        return render_prompt([{"role": "user", "content": list(parts)}], byte_tokenizer, switch="S")

    texts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert ask(*texts) == render_prompt("a\nb", byte_tokenizer, switch="S")
    with pytest.raises(RequestError, match=r"message 1: .*found 'image_url'"):
        ask(*texts, {"type": "image_url", "image_url": "x"})


@pytest.mark.parametrize("template", ["{% for m in %}", "{{ messages[0]['content'] }}"])
def test_a_template_that_does_not_work_is_one_error(byte_tokenizer, template):
    tokenizer = copy.deepcopy(byte_tokenizer)
    tokenizer.chat_template = template
    with pytest.raises(RequestError, match=r"the chat template (refuses|leaves out)"):
        turn_end_id(tokenizer)


@pytest.mark.parametrize("template", TEMPLATES[:4] + TEMPLATES[11:12] + TEMPLATES[14:])
def test_a_template_that_does_not_end_is_refused(byte_tokenizer, monkeypatch, template):
    monkeypatch.setattr("pbranch.hf.chat_template.bounded", partial(bounded, 0.5))
    tokenizer = copy.deepcopy(byte_tokenizer)
    tokenizer.chat_template = template + CHAT_TEMPLATE
    with pytest.raises(RequestError, match=r"template (does not end|writes more|refuses)"):
        render_prompt("hello", tokenizer)


def test_a_template_that_does_not_end_is_tried_once(byte_tokenizer, monkeypatch):
    tried = []

    def counted():
        tried.append(0.2)
        return bounded(tried[-1])

    monkeypatch.setattr("pbranch.hf.chat_template.bounded", counted)
    tokenizer = copy.deepcopy(byte_tokenizer)
    tokenizer.chat_template = "{% set x = 9 ** (9 ** 9) %}" + CHAT_TEMPLATE
    for ask in (turn_end_id, partial(render_prompt, "hello")):
        with pytest.raises(RequestError, match="does not end"):
            ask(tokenizer)
    assert len(tried) == 2
