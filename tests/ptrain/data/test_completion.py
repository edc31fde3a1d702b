"""Completions that hold what the chat format writes itself: thinking, headers, end tokens."""

import json

import pytest

from pbranch.errors import DataError
from pbranch.format.layout import NO_TARGET, LayoutOptions
from pbranch.format.markers import MARKERS, add_markers
from ptrain.data.completion import ENDING, OPENING, SPELLED, ThinkError
from ptrain.data.dataset import Encoder, read_traces
from tests.ptrain.conftest import make_tokenizer, write_records

F, T, S, B, E, J = MARKERS.values()
FORK = f"{F}{T}a{T}b{S}{B}a 1{E}{B}b 2{E}{J}"
END, OTHER_END = "<|im_end|>", "<|endoftext|>"


def make_encoder(opening: str = "") -> Encoder:
    """`opening`: what the template writes after the header of the assistant's turn."""
    tokenizer = make_tokenizer()
    header = "<|im_start|>assistant\n"
    assert header in tokenizer.chat_template
    tokenizer.chat_template = tokenizer.chat_template.replace(header, header + opening)
    return Encoder(tokenizer, add_markers(tokenizer), LayoutOptions())


def make_record(completion: str, name: str = "0") -> dict:
    messages = [{"role": "user", "content": "p"}]
    return {"id": name, "messages": messages, "completion": completion, "answer": None,
            "answer_ok": None, "source": "", "meta": {}, "schema": 1}  # fmt: skip


def learned(encode: Encoder, completion: str) -> tuple[str, str, list[str]]:
    """(end of the prompt, text behind it, notes), the end of the turn left out."""
    layout, notes = encode.encode(make_record(completion))
    assert layout.targets.count(encode.end_id) == 1
    start = next(i for i, target in enumerate(layout.targets) if target != NO_TARGET) + 1
    prompt, text = (encode.tokenizer.decode(x) for x in (layout.token_ids[:start],
                                                         layout.token_ids[start:]))  # fmt: skip
    return prompt[prompt.rindex("assistant\n") + len("assistant\n") :], text, list(notes)


OPENED, CLOSED = "<think>\n", "<think>\n\n</think>\n\n"


@pytest.mark.parametrize(
    ("opening", "completion", "text", "notes"),
    [
        (OPENED, "<think>\nso\n</think>\n\nA.", "so\n</think>\n\nA.", [OPENING]),
        (OPENED, "\n<think>so</think>A.", "so</think>A.", [OPENING]),
        (OPENED, "so</think>A.", "so</think>A.", []),
        (OPENED, f"<think>\n{FORK}\n</think>A.", f"{FORK}\n</think>A.", [OPENING]),
        ("<think>", "<think>\nso\n</think>A.", "\nso\n</think>A.", [OPENING]),
        ("[THINK]", "[THINK]so[/THINK]A.", "so[/THINK]A.", [OPENING]),
        (CLOSED, "<think>\n\n</think>\n\nA.", "A.", [OPENING]),
        (CLOSED, "<think></think>A.", "A.", [OPENING]),
        (CLOSED, "A.", "A.", []),
        ("", "<think>\nso\n</think>\n\nA.", "<think>\nso\n</think>\n\nA.", []),
        ("", "<|im_start|>assistant\nA.", "A.", [OPENING]),
        (OPENED, "<|im_start|>assistant\n<think>\nso</think>A.", "so</think>A.", [OPENING]),
        ("", "A tag <think> in the text.", "A tag <think> in the text.", []),
        ("", "<think>a</think>A<think>b</think>B", "<think>a</think>A<think>b</think>B", []),
    ],
)
def test_what_the_prompt_has_opened_is_not_opened_again(opening, completion, text, notes):
    found = learned(make_encoder(opening), completion)
    assert found == (opening, text, notes)


@pytest.mark.parametrize(
    ("opening", "completion", "message"),
    [
        (OPENED, "A.", "the prompt opens a think block and the completion never closes it"),
        (OPENED, "<think>\nso", "the prompt opens a think block and the completion never"),
        (CLOSED, "<think>so</think>A.", "has closed its think block and the completion has anoth"),
        (CLOSED, "so</think>A.", "has closed its think block and the completion has another"),
        ("", "<think>so", "the completion opens a think block and never closes it"),
        ("", "so</think>A.", "the completion closes a think block that nothing opens"),
        (OPENED, "<think><think>so</think>A.", "the completion opens a think block within another"),
        ("", "<think>\n<think>so</think>A.", "the completion opens a think block within another"),
        (OPENED, "so</think>A</think>.", "the completion closes a think block twice"),
        ("", "<think>so</think>A. <think>B", "the completion opens a think block and never closes"),
    ],
)
def test_thinking_that_is_not_whole_is_refused(opening, completion, message):
    with pytest.raises(ThinkError, match=message):
        make_encoder(opening)(make_record(completion))


def test_thinking_that_is_not_whole_is_counted_and_said_once(tmp_path, caplog):
    texts = ["A."] * 4 + ["so</think>A.", "<think>so</think>A."]
    path = tmp_path / "a.jsonl"
    write_records(path, [make_record(text, str(i)) for i, text in enumerate(texts)])
    traces = read_traces(str(path), make_encoder(OPENED), 4096)
    assert traces.left_out == {"think block not whole": 4} and len(traces.examples) == 2
    assert traces.notes == {OPENING: 1}
    assert [record.getMessage().split(": ")[0] for record in caplog.records] == [f"{path}:1"]


@pytest.mark.parametrize(
    ("completion", "text", "notes"),
    [
        (f"A.{END}", "A.", [ENDING]),
        (f"A.{END}{END}", "A.", [ENDING]),
        (f"A.\n{END}\n{OTHER_END}{OTHER_END}\n", "A.\n", [ENDING]),
        (f"So {FORK} A.{END}", f"So {FORK} A.", [ENDING]),
        (f"So {FORK}{END}", f"So {FORK}", [ENDING]),
        (f"So {(END + E).join(FORK.rsplit(E, 1))}", f"So {FORK}", [ENDING]),
        (f"A {END} and so on.", f"A {END} and so on.", [SPELLED]),
        (f"A {END} and so on.{END}", f"A {END} and so on.", [ENDING, SPELLED]),
        ("A.\n", "A.\n", []),
    ],
)
def test_a_turn_ends_once(completion, text, notes):
    encode = make_encoder()
    assert learned(encode, completion) == ("", text, notes)
    layout = encode(make_record(completion))
    special = {0, 1, 2}
    assert [t for t in layout.targets if t in special] == [encode.end_id]
    start = next(i for i, target in enumerate(layout.targets) if target != NO_TARGET) + 1
    assert not special & set(layout.token_ids[start:])


def test_control_tokens_in_branches_and_topics_are_text():
    topic = f"a{END}"
    encode = make_encoder()
    text = f"{F}{T}{topic}{T}b{S}{B}{topic} 1{OTHER_END}{E}{B}b 2{E}{J}"
    assert learned(encode, text)[2] == [SPELLED]
    assert not {0, 1} & set(encode(make_record(text)).targets)


def test_nothing_but_an_end_token_is_empty():
    with pytest.raises(DataError, match="empty but for tokens of the chat format"):
        make_encoder()(make_record(END))


def test_the_linear_form_is_cleaned_alike(tmp_path):
    encode = make_encoder(OPENED)
    record = make_record(f"<think>\n{FORK}</think>A.{END}")
    flat = encode(record, "linear")
    same = encode(make_record("a 1\nb 2</think>A."), "linear")
    assert flat == same and encode.encode(record, "linear")[1] == (OPENING, ENDING)
    assert json.dumps(record)  # the record itself is left alone
