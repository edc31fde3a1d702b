"""What a trace record has to be, for all that write, read and train records."""

import pytest

from pbranch.errors import DataError
from pbranch.format.markers import MARKERS
from pbranch.format.trace_record import UniqueIds, check_keys, find_flaws, join_parts, read_trace
from pbranch.format.tree import make_trace

F, T, S, B, E, J = MARKERS.values()
RECORD = {
    "id": "a", "messages": [{"role": "user", "content": "p"}], "completion": "so", "answer": None,
    "answer_ok": None, "source": "", "meta": {}, "schema": 1,
}  # fmt: skip


def test_tools_may_be_there():
    check_keys(RECORD)
    check_keys(RECORD | {"tools": [{"type": "function"}]})
    with pytest.raises(DataError, match="key 'tools': expected list, found 'x'"):
        check_keys(RECORD | {"tools": "x"})
    with pytest.raises(DataError, match="key 'tools': expected objects, found 'x' as tool 0"):
        check_keys(RECORD | {"tools": ["x"]})


@pytest.mark.parametrize(
    ("completion", "meta", "flaw"),
    [
        (" \n", {}, "the completion is empty"),
        (f"{F}{T}a{S}{B}a 1{E}{J}", {}, "block 1: one branch; expected at least two"),
        (f"{F}{T}a{T}A{S}{B}a 1{E}{B}A 2{E}{J}", {}, "block 1: equal topics among 'a', 'A'"),
        (f"{F}{T}a{T}b{S}{B}a{E}{B}b 2{E}{J}", {}, r"block 1: branch 1 \('a'\) has an empty body"),
        ("so", {"form": "branches"}, "meta.form is 'branches', the completion has 0 blocks"),
        ("so", {"separators": "x"}, "meta.separators: expected a list of texts, found 'x'"),
        ("so", {"separators": ["x"]}, "completion: 1 separators for 0 forks"),
        (f"so {F}", {}, "completion: found the end of the text"),
    ],
)
def test_a_flaw_is_found_and_stops_a_reader(completion, meta, flaw):
    assert list(find_flaws(completion, meta))
    with pytest.raises(DataError, match=flaw):
        read_trace({"completion": completion, "meta": meta})


def test_a_good_completion_is_read():
    assert not list(find_flaws("so", {}))
    assert read_trace({"completion": "so"}) == make_trace("so")


def test_parts_of_text_stand_a_line_each():
    assert join_parts("so") == "so"
    assert join_parts([]) == ""
    assert join_parts([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]) == "a\nb"
    for wrong, found in ((None, "None"), ([{"type": "image_url"}], "'image_url'"), (["a"], "'a'")):
        with pytest.raises(DataError, match=f"found {found}"):
            join_parts(wrong)


def test_ids_become_unique_in_order():
    ids = UniqueIds()
    names = ["a", "a", "b", "a-2", "a", "b"]
    assert [ids.make(name) for name in names] == ["a", "a-2", "b", "a-2-2", "a-3", "b-2"]
    again = UniqueIds()  # as after an interruption: what is written is known, the rest follows
    assert [again.make(name) for name in ("a", "a-2", "b")] == ["a", "a-2", "b"]
    assert [again.make(name) for name in names[3:]] == ["a-2-2", "a-3", "b-2"]
    again.check("c", 7)
    with pytest.raises(DataError, match="id 'c' stands in line 7 already"):
        again.check("c", 8)
