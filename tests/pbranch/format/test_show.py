"""The drawing of traces, and its command line."""

import json

import pytest
from hypothesis import given
from typer.testing import CliRunner

from pbranch.__main__ import app
from pbranch.errors import BranchError, DataError, FormatError
from pbranch.format.layout import LayoutOptions, build_layout
from pbranch.format.markers import MARKERS, Role, find_markers
from pbranch.format.show import (
    WORD_MARKERS,
    WordCodec,
    draw_mask,
    draw_tree,
    fold_runs,
    show_trace,
)
from pbranch.format.tagged_text import render
from pbranch.format.tree import Fork, make_trace
from pbranch.hf.segment_codec import SegmentCodec
from tests.support.strategies import texts, traces

INNER = Fork(("x",), (make_trace("x 1"),))
NESTED = make_trace("go ", Fork(("a", "b"), (make_trace("a ", INNER, "!"), make_trace("b"))), " so")


def test_tree_by_hand():
    assert draw_tree(NESTED) == "\n".join(
        [
            "'go '",
            "fork: a | b",
            "├─ 'a '",
            "│  fork: x",
            "│  └─ 'x 1'",
            "│  join",
            "│  '!'",
            "└─ 'b'",
            "join",
            "' so'",
        ]
    )
    assert "└─ (empty)" in draw_tree(make_trace(Fork(("",), (make_trace(),))))


def test_rows_by_hand():
    trace = make_trace(Fork(("a", "b"), (make_trace("a 1"), make_trace("b"))), "z")
    drawn = show_trace("p", trace, LayoutOptions()).splitlines()
    rows = [line.split() for line in drawn if line.strip()[:1].isdigit()]
    m = {role.value: text for role, text in MARKERS.items()}
    labels = ["p", m["fork"], m["topic"], "a", m["topic"], "b", m["spawn"]]
    labels += [m["branch"], "a", "1", m["end"], m["branch"], "b", m["end"], m["join"], "z"]
    assert [row[2] for row in rows] == labels
    assert [int(row[1]) for row in rows] == [*range(7), 7, 8, 9, 10, 7, 8, 9, 11, 12]
    assert rows[9][3] == "█" * 10
    assert rows[12][3] == "█" * 7 + "····" + "██"
    assert rows[14][3] == "█" * 15
    own = show_trace("p", trace, LayoutOptions(outline="own")).splitlines()
    assert any(line.endswith("█······███") for line in own)


def test_long_rows_are_cut():
    drawn = show_trace("p", make_trace("a " * 200), LayoutOptions())
    assert drawn.endswith("more rows")


@given(traces(depth=2))
def test_any_trace_can_be_drawn(trace):
    drawn = show_trace("p", trace, LayoutOptions())
    assert drawn.startswith(draw_tree(trace))


@given(texts())
def test_words_are_exact(text):
    codec = WordCodec()
    assert codec.decode(codec.encode(text)) == text


def test_show_with_a_tokenizer(marked_tokenizer):
    codec, markers = SegmentCodec(marked_tokenizer), find_markers(marked_tokenizer)
    drawn = show_trace("Check.", NESTED, LayoutOptions(), codec, markers)
    assert MARKERS[Role.SPAWN] in drawn and drawn.count("\n") > 20


def call(*arguments, stdin=None):
    return CliRunner().invoke(app, ["show", *map(str, arguments)], input=stdin)


@pytest.fixture
def record(tmp_path):
    def write(*records):
        path = tmp_path / "traces.jsonl"
        lines = (json.dumps(r, ensure_ascii=False) for r in records)
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return path

    return write


def test_tagged_text_from_file_and_stdin(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(render(NESTED), encoding="utf-8")
    found = call(path)
    assert found.exit_code == 0 and found.stdout.startswith(draw_tree(NESTED))
    assert call("-", stdin=render(NESTED)).stdout == found.stdout


def test_records(record):
    custom = make_trace(Fork(("a",), (make_trace("a"),), "; "))
    path = record(
        {"messages": [{"role": "user", "content": "Hi there"}], "completion": render(NESTED)},
        {"completion": render(custom), "meta": {"separators": ["; "]}},
        {"completion": "one\u2028two", "meta": {}},
        {"completion": "last", "meta": None},
    )
    assert "Hi" in call(path).stdout
    assert "fork: a\n" in call(path, "--line", 2).stdout
    assert "one\\u2028two" in call(path, "--line", 3).stdout
    assert "'last'" in call(path, "--line", 4).stdout
    assert "Hi" in call("-", stdin=path.read_text(encoding="utf-8")).stdout


def test_options(record):
    path = record({"completion": render(NESTED)})
    flat, own = call(path, "--positions", "flat").stdout, call(path, "--outline", "own").stdout
    assert len({flat, own, call(path).stdout}) == 3


@pytest.mark.parametrize(
    ("records", "options", "error", "message"),
    [
        ([{"completion": "a"}], ["--line", "2"], DataError, "line 2 asked for, the file has 1"),
        ([{"completion": "a"}], ["--line", "0"], DataError, "line 0"),
        ([{"prompt": "a"}], [], DataError, "jsonl:1: not a trace record"),
        ([["completion"]], [], DataError, "not a trace record"),
        ([{"completion": 3}], [], DataError, "not a trace record"),
        ([{"completion": "a"}], ["--positions", "min"], BranchError, "--positions min"),
        ([{"completion": "a"}], ["--outline", "x"], BranchError, "expected all or own"),
        ([{"completion": MARKERS[Role.FORK]}], [], FormatError, "at character"),
        (
            [{"completion": "a", "meta": {"separators": ["x"]}}],
            [],
            FormatError,
            "1 separators for 0 forks",
        ),
    ],
)
def test_bad_input(record, records, options, error, message):
    found = call(record(*records), *options)
    assert isinstance(found.exception, error) and message in str(found.exception)


def test_a_file_that_is_no_text_and_one_that_is_missing(tmp_path):
    assert isinstance(call(tmp_path / "none.txt").exception, FileNotFoundError)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert isinstance(call(tmp_path / "binary").exception, DataError)


def test_rows_that_are_left_out_are_columns_that_are_left_out():
    layout = build_layout([9, 9, 9, 9], NESTED, WordCodec(), WORD_MARKERS)
    labels = list(map(str, range(len(layout))))
    whole = draw_mask(layout, labels, len(layout)).splitlines()[1:]
    shown = [0, *range(4, len(layout), 2)]
    lines = draw_mask(layout, labels, 999, [0, "… 3 tokens of prompt", *shown[1:]]).splitlines()[1:]
    assert lines.pop(1).split(maxsplit=2)[2] == "… 3 tokens of prompt"
    for q, line in zip(shown, lines, strict=True):
        row, position, label, cells = line.split(maxsplit=3)
        assert (int(row), int(position), label) == (q, layout.position_ids[q], str(q))
        kept = [whole[q].split(maxsplit=3)[3][k] for k in shown if k <= q]
        assert cells == "".join([kept[0], "┆" if q else "", *kept[1:]])


def test_long_runs_are_folded_alike():
    runs = [(range(600), "prompt"), (range(600, 605), "topic"), (range(605, 800), "branch")]
    order = fold_runs(runs, 60)
    assert len(order) <= 60 and [x for x in order if isinstance(x, str)] == [
        "… 574 tokens of prompt",
        "… 169 tokens of branch",
    ]
    assert set(range(600, 605)) <= set(order) and {0, 599, 605, 799} <= set(order)
    assert fold_runs(runs, 900) == list(range(800))
    assert fold_runs(runs, 1)[:5] == [0, 1, "… 596 tokens of prompt", 598, 599]
