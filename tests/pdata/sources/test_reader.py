"""Sources: keys guessed and overridden, broken lines, folders, literal markers, calls and tools."""

import gzip
import json
from pathlib import Path

import pytest
from pdata.build.pipeline import build
from pdata.record import Record
from pdata.roles.field_map import parse_overrides
from pdata.roles.guess import guess_fields
from pdata.sources.reader import list_files, look_at_fields, read_source_lines, say_fields
from pdata.sources.source import Source, read_source
from pdata.validate import find_problems

from pbranch.errors import DataError
from pbranch.files.jsonl import JsonLine
from pbranch.format.markers import MARKERS, Role
from pbranch.format.tagged_text import parse, render
from pbranch.format.tree import make_trace, plain_text

MARKUP = f"a {MARKERS[Role.FORK]} b {MARKERS[Role.END]} c"


def read(row: object, *flags: str) -> Source:
    fields = guess_fields(row if isinstance(row, dict) else {}, parse_overrides(flags))
    return read_source(JsonLine("some.jsonl", 3, json.dumps(row)), fields)


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"prompt": "p", "normal_response": "t", "gold_keys": "Zed"}, "Zed"),
        ({"question": "p", "answer": "t"}, None),
        ({"question": "p", "response": "t", "answer": 4}, "4"),
        ({"problem": "p", "solution": "t", "answer": "4"}, "4"),
        ({"prompt": "p", "response": "t"}, None),
        ({"messages": [{"role": "user", "content": "p"}], "completion": "t", "answer": "4"}, "4"),
        ({"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "t"}]},
         None),
    ],
)  # fmt: skip
def test_guesses_keys(row: dict[str, object], answer: str | None) -> None:
    source = read(row)
    assert (source.prompt, plain_text(source.trace), source.answer) == ("p", "t", answer)
    assert source.id == "some-000003" and source.origin == "some.jsonl:3"


def test_map_overrides_guesses() -> None:
    row = {"messages": [], "prompt": "no", "ask": "p", "response": "no", "trace": "t", "gold": "no"}
    source = read(row, "prompt=ask", "completion=trace", "id=gold")
    assert (source.prompt, plain_text(source.trace), source.id) == ("p", "t", "no")
    with pytest.raises(DataError, match="role=key"):
        parse_overrides(["promt=x"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p"}, "missing key 'response'"),
        ({"prompt": "p", "response": 3}, "expected text, found 3"),
        ({"prompt": "p", "response": "  "}, "the trace is empty"),
        (["p"], "expected a JSON object"),
    ],
)
def test_broken_lines_name_file_line_and_key(row: object, message: str) -> None:
    fields = guess_fields({"prompt": "p", "response": "t"}, {})
    with pytest.raises(DataError, match=f"some.jsonl:3: .*{message}"):
        read_source(JsonLine("some.jsonl", 3, json.dumps(row)), fields)


@pytest.mark.parametrize(
    "text", ['{"prompt": ', '{"prompt": "\\ud800", "response": "t"}', "nan", ""]
)
def test_what_is_not_json_or_not_text_is_broken(text: str) -> None:
    with pytest.raises(DataError, match=r"some.jsonl:3: "):
        read_source(
            JsonLine("some.jsonl", 3, text), guess_fields({"prompt": "", "response": ""}, {})
        )


def test_reads_gzip_and_folders_and_sets_bad_bytes_aside(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf{}\n\n\xff\n{}")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b"{}\n"))
    (tmp_path / "notes.txt").write_text("x")
    lines = [line for file in list_files(str(tmp_path)) for line in read_source_lines(file)]
    assert [line.origin for line in lines] == [
        "a.jsonl:1",
        "a.jsonl:3",
        "a.jsonl:4",
        "b.jsonl.gz:1",
    ]
    assert "not UTF-8" in lines[1].error and lines[0].text == "{}"


def test_missing_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        list_files(str(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="in this folder"):
        list_files(str(tmp_path))
    (tmp_path / "torn.jsonl.gz").write_bytes(gzip.compress(b"{}\n" * 99)[:-9])
    with pytest.raises(DataError, match=r"torn.jsonl.gz:\d+: cannot read"):
        list(read_source_lines(str(tmp_path / "torn.jsonl.gz")))


@pytest.mark.parametrize("extra", [{}, {"schema": 1}])
def test_literal_markers_are_ordinary_text(extra: dict[str, int]) -> None:
    row = {"messages": [{"role": "user", "content": MARKUP}], "completion": MARKUP, **extra}
    source = read(row)
    assert plain_text(source.trace) == MARKUP and source.prompt == MARKUP
    assert not list(source.trace.forks())
    assert plain_text(parse(render(source.trace))) == MARKUP


def test_records_of_ours_hold_tagged_text() -> None:
    tagged = render(make_trace(MARKUP))
    row = {"messages": [{"role": "user", "content": "p"}], "completion": tagged, "schema": 1}
    assert plain_text(read(row).trace) == MARKUP


TURNS = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "t"}]


@pytest.mark.parametrize(
    ("row", "prompt", "text", "answer"),
    [
        ({"problem": "p", "generated_solution": "t", "expected_answer": "4"}, "p", "t", "4"),
        ({"query": "p", "response": "t"}, "p", "t", None),
        ({"instruction": "p", "input": "more", "output": "t"}, "p\n\nmore", "t", None),
        ({"instruction": "p", "input": "", "output": "t"}, "p", "t", None),
        ({"input": "p", "output": "t", "task": "sums"}, "p", "t", None),
        ({"conversations": [{"from": "human", "value": "p"}, {"from": "gpt", "value": "t"}]},
         "p", "t", None),
        ({"system": "s", "conversations": TURNS}, "s\np", "t", None),
        ({"problem": "x", "solution": "gold text", "answer": "4", "messages": TURNS},
         "p", "t", "4"),
        ({"messages": TURNS[:1], "response": "t"}, "p", "t", None),
        ({"prompt": TURNS[:1], "completion": TURNS[1:]}, "p", "t", None),
        ({"question": "p", "reasoning_content": "r\n", "answer": "t"},
         "p", "<think>\nr\n</think>\n\nt", None),
        ({"question": "p", "thinking": "r", "response": "t", "answer": "4"},
         "p", "<think>\nr\n</think>\n\nt", "4"),
        ({"messages": [TURNS[0], {**TURNS[1], "reasoning_content": "r"}]},
         "p", "<think>\nr\n</think>\n\nt", None),
        ({"prompt": "p", "reasoning": None, "response": "<think>r</think>t"},
         "p", "<think>r</think>t", None),
        ({"prompt": "p", "reasoning": "r", "response": "<think>r</think>t"},
         "p", "<think>r</think>t", None),
        ({"prompt": "p", "reasoning": True, "response": "t", "id": None}, "p", "t", None),
    ],
)  # fmt: skip
def test_guesses_published_shapes(
    row: dict[str, object], prompt: str, text: str, answer: str | None
) -> None:
    source = read(row)
    assert (source.prompt, plain_text(source.trace), source.answer) == (prompt, text, answer)
    assert source.id == "some-000003"


def test_gold_behind_hashes() -> None:
    """Taken from the trace itself it is said so; a model's own claim is no gold."""
    alone = read({"question": "p", "answer": "2 * 36 = 72\n#### 72"})
    assert alone.answer == "72" and alone.meta == {"gold_from": "trace"}
    assert plain_text(alone.trace) == "2 * 36 = 72\n#### 72"
    beside = read({"question": "p", "response": "It is 70.", "answer": "2 * 36 = 72\n#### 72"})
    assert beside.answer == "72" and beside.meta == {}
    claimed = read({"question": "p", "response": "2 * 36 = 72\n#### 72"})
    assert claimed.answer is None and claimed.meta == {}
    assert read({"question": "p", "answer": "#### 72\nand more"}).answer is None


def test_what_was_guessed_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"instruction": "p", "input": "c", "thinking": "r", "output": "t"}))
    fields, lines = look_at_fields(str(path), {})
    assert len(list(lines)) == 1 and not capsys.readouterr().err
    say_fields(str(path), fields)
    said = "a.jsonl: prompt=instruction, context=input, completion=output, reasoning=thinking"
    assert said in capsys.readouterr().err


CALL = {"type": "function", "function": {"name": "w", "arguments": {"city": "Rome"}}}
TOOLS = [{"type": "function", "function": {"name": "w", "parameters": {}}}]


@pytest.mark.parametrize("content", ["", None, [{"type": "text", "text": ""}]])
def test_calls_and_tools_are_kept(tmp_path: Path, content: object) -> None:
    turns: list[dict[str, object]] = [
        {"role": "user", "content": "p", "name": None},
        {"role": "assistant", "content": content, "tool_calls": [CALL], "reasoning_content": "r"},
        {"role": "tool", "content": "21", "name": "w", "tool_call_id": "1"},
        {"role": "assistant", "content": "t"},
    ]
    kept = [TURNS[0], {**turns[1], "content": ""}, turns[2]]
    for tools in (TOOLS, json.dumps(TOOLS)):
        rows = [{"messages": TURNS}, {"messages": turns, "tools": tools}]
        (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
        build(str(tmp_path / "in.jsonl"), tmp_path / "out.jsonl")
        plain, record = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
        assert "tools" not in plain and record["tools"] == TOOLS and record["messages"] == kept
        assert Record.from_json(record).to_json() == record
        assert not list(find_problems(tmp_path / "out.jsonl"))
        build(str(tmp_path / "out.jsonl"), tmp_path / "again.jsonl")
        again = json.loads((tmp_path / "again.jsonl").read_text().splitlines()[1])
        assert (again["tools"], again["messages"]) == (TOOLS, kept)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": [TURNS[0], {**TURNS[1], "tool_calls": [CALL]}]}, "the last answer calls too"),
        ({"prompt": "p", "completion": [{**TURNS[1], "tool_calls": [CALL]}]}, "calls tools"),
        ({"messages": TURNS, "tools": "hammer"}, "key 'tools': expected a list of tools"),
        ({"messages": TURNS, "tools": ["w"]}, "key 'tools': expected a list of tools"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, TURNS[1]]},
         "key 'content': expected parts of type text, found 'image_url'"),
        ({"messages": [{"role": "user", "content": None}, TURNS[1]]}, "expected text, found None"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_rejected(row: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(row)


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "p"}, {"type": "text", "text": "q"}]
    source = read(
        {"messages": [{"role": "user", "content": parts}, {**TURNS[1], "content": parts}]}
    )
    assert source.prompt == plain_text(source.trace) == "p\nq"
