"""Rows of a trace: ids, positions, targets, kinds; by hand, and against a second spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbranch.errors import LayoutError
from pbranch.format.layout import (
    NO_TARGET,
    Kind,
    LayoutOptions,
    build_layout,
    concatenate,
    critical_path,
)
from pbranch.format.markers import MARKERS as SPELLING
from pbranch.format.tagged_text import parse, render
from pbranch.format.tree import Fork, make_trace
from pbranch.hf.segment_codec import SegmentCodec
from tests.support.layout_oracle import MARKERS, LetterCodec, Rows
from tests.support.strategies import traces

CODEC = LetterCodec()
END = 7
PROMPT = [8, 9]
OPTIONS = st.builds(
    LayoutOptions,
    positions=st.sampled_from(["max", "flat"]),
    outline=st.sampled_from(["all", "own"]),
    join=st.sampled_from(["keep", "reencode"]),
)
TOY = make_trace("x", Fork(("A", "B"), (make_trace("A:"), make_trace("B:12"))), "z")


def rows_of(trace, options=None, prompt=PROMPT, end_id=END):
    return build_layout(prompt, trace, CODEC, MARKERS, end_id, options)


def letters(layout):
    """Marker rows as F T S B E J, text rows as they are."""
    names = dict(zip(MARKERS.as_dict().values(), "FTSBEJ", strict=True))
    return [names.get(t) or (chr(t - 10) if t >= 10 else "p") for t in layout.token_ids]


# row:          0  1  2  3  4  5  6  7 | 8  9 10 11 | 12 13 14 15 16 17 | 18 19
TOY_ROWS = "p   x  F  T  A  T  B  S   B  A  :  E   B  B  :  1  2  E    J  z".split()
TOY_MAX = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 8, 9, 10, 11, 12, 13, 14, 15]
TOY_FLAT = [*TOY_MAX[:18], 18, 19]  # extents 4 and 6: join at 7 + 1 + 10
TOY_TARGETS = "x   F  T  A  T  B  S  .   .  :  E  .   .  :  1  2  E  .    z  $".split()


def test_the_toy_by_hand():
    layout = rows_of(TOY, prompt=[8])
    assert letters(layout) == ["p", *TOY_ROWS[1:]]
    assert layout.position_ids == TOY_MAX
    names = dict(zip(layout.token_ids, TOY_ROWS, strict=True)) | {NO_TARGET: ".", END: "$"}
    assert [names[t] for t in layout.targets] == TOY_TARGETS
    k = Kind
    expected = [k.TEXT, k.OUTLINE, k.OUTLINE, k.TOPIC, k.OUTLINE, k.TOPIC, k.OUTLINE, k.PROMPT]
    expected += [k.PROMPT, k.BODY, k.BODY, k.PROMPT, k.PROMPT, *[k.BODY] * 4, k.PROMPT]
    assert layout.kinds == [*expected, k.JOIN, k.JOIN]
    assert layout.doc == [0] * 20


def test_flat_positions_by_hand():
    assert rows_of(TOY, LayoutOptions(positions="flat"), [8]).position_ids == TOY_FLAT
    assert (LayoutOptions().extent([4, 6]), LayoutOptions("flat").extent([4, 6])) == (6, 10)


# the branches' ten rows once more behind them, and then the join
TOY_AGAIN = [*TOY_ROWS[:18], *TOY_ROWS[8:18], "J", "z"]
TOY_AGAIN_AT = [*TOY_MAX[:18], *range(8, 20)]


def test_a_block_that_is_encoded_again_by_hand():
    layout = rows_of(TOY, LayoutOptions(join="reencode"), [8])
    assert letters(layout) == ["p", *TOY_AGAIN[1:]]
    assert layout.position_ids == TOY_AGAIN_AT
    before = rows_of(TOY, prompt=[8])
    assert layout.targets == [*before.targets[:18], *[NO_TARGET] * 10, *before.targets[18:]]
    assert layout.kinds[18:] == [*[Kind.PROMPT] * 10, Kind.JOIN, Kind.JOIN]


def test_a_block_in_a_branch_that_is_encoded_again_is_copied_once():
    inner = Fork(("", ""), (make_trace("12"), make_trace("1")))
    trace = make_trace(Fork(("",), (make_trace(inner),)))
    layout = rows_of(trace, LayoutOptions(join="reencode"), [8])
    block = "F T T S B 1 2 E B 1 E"
    copies = "B 1 2 E B 1 E"
    assert " ".join(letters(layout)) == f"p F T S B {block} {copies} J E B {block} J E J"
    assert layout.position_ids == (
        [*range(13), 9, 10, 11, *range(9, 18), *range(4, 19)]  # inner copies from 9, outer from 4
    )


def test_a_nested_block_counts_in_the_extent():
    inner = Fork(("", ""), (make_trace("12"), make_trace("1")))  # extents 4 and 3
    trace = make_trace(Fork(("",), (make_trace(inner),)))
    # p F T S | B  F T T S | B 1 2 E, B 1 E | J E | J
    assert rows_of(trace, prompt=[8]).position_ids == (
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 9, 10, 11, 13, 14, 15]
    )
    flat = rows_of(trace, LayoutOptions(positions="flat"), [8]).position_ids
    assert flat == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 9, 10, 11, 16, 17, 18]


@given(traces(), OPTIONS, st.booleans())
def test_rows_equal_the_second_spelling(trace, options, ends):
    end = END if ends else None
    layout = rows_of(trace, options, end_id=end)
    oracle = Rows(PROMPT, trace, CODEC.encode, options.positions, options.join)
    assert layout.token_ids == [r.token for r in oracle.rows]
    assert layout.position_ids == [r.position for r in oracle.rows]
    targets = oracle.targets(end)
    for row, (target, kind) in enumerate(zip(layout.targets, layout.kinds, strict=True)):
        if row in targets:
            assert (target, Kind(kind).name) == targets[row]
        else:
            assert (target, kind) == (NO_TARGET, Kind.PROMPT)


@given(traces(), OPTIONS)
def test_every_sampled_token_is_the_target_of_one_row(trace, options):
    layout = rows_of(trace, options)
    sampled = [r.token for r in Rows(PROMPT, trace, CODEC.encode).rows if r.sampled]
    assert sorted(t for t in layout.targets if t != NO_TARGET) == sorted([*sampled, END])
    for token, target in zip(layout.token_ids, layout.targets, strict=True):
        if token in (MARKERS.spawn, MARKERS.end, MARKERS.branch) and target != NO_TARGET:
            assert token == MARKERS.branch  # an empty topic: the marker is the whole header
        assert target not in (MARKERS.branch, MARKERS.join)
        if token == MARKERS.join and options.join == "keep":
            assert target != NO_TARGET  # something always follows: text, a fork, an end


@given(traces(empty=False), OPTIONS.filter(lambda o: o.join == "keep"))
def test_positions_along_a_block(trace, options):
    """Siblings start at pos(spawn) + 1; the join stands behind the longest, or all, of them."""
    layout = rows_of(trace, options)
    stack = []  # [position of spawn, extents so far] of open blocks
    for token, position in zip(layout.token_ids, layout.position_ids, strict=True):
        if token == MARKERS.spawn:
            stack.append([position, []])
        elif token == MARKERS.branch:
            assert position == stack[-1][0] + 1
        elif token == MARKERS.end:
            stack[-1][1].append(position - stack[-1][0])
        elif token == MARKERS.join:
            spawn, extents = stack.pop()
            assert position == spawn + 1 + (max if options.positions == "max" else sum)(extents)
    assert not stack


@given(traces(depth=1, empty=False))
def test_one_branch_is_plain_text(trace):
    """With one branch a block, positions are row numbers and nothing is hidden from the end on."""
    forks = [Fork(f.topics[:1], f.branches[:1]) for f in trace.forks()]
    layout = rows_of(make_trace("a", *forks, "z"))
    assert layout.position_ids == list(range(len(layout)))


@given(traces(depth=2, traps=False))
def test_rows_in_order_spell_the_tagged_text(marked_tokenizer, marker_ids, trace):
    codec = SegmentCodec(marked_tokenizer)
    spelled, run = "", []
    for token in build_layout([1], trace, codec, marker_ids).token_ids[1:]:
        role = marker_ids.role(token)
        if role is None:
            run.append(token)
        else:
            spelled, run = spelled + codec.decode(run) + SPELLING[role], []
    assert spelled + codec.decode(run) == render(trace)


@given(traces(depth=2))
def test_layout_of_the_parsed_text_is_the_same(trace):
    assert rows_of(parse(render(trace))) == rows_of(trace)


@given(st.lists(traces(depth=2), max_size=4), OPTIONS)
def test_concatenated_rows_are_those_of_the_documents(documents, options):
    layouts = [rows_of(t, options) for t in documents]
    whole = concatenate(layouts)
    for name in ("token_ids", "position_ids", "targets", "kinds"):
        assert getattr(whole, name) == [x for layout in layouts for x in getattr(layout, name)]
    assert whole.doc == [i for i, layout in enumerate(layouts) for _ in range(len(layout))]
    assert all(len(level) == len(whole) for level in whole.hidden)
    assert len(whole.hidden) == max((len(x.hidden) for x in layouts), default=0)


@given(st.lists(traces(depth=1), min_size=3, max_size=3))
def test_concatenation_is_associative(documents):
    a, b, c = map(rows_of, documents)
    assert concatenate([concatenate([a, b]), c]) == concatenate([a, b, c])
    assert concatenate([a, concatenate([b, c])]) == concatenate([a, b, c])


def test_the_critical_path_by_hand():
    assert critical_path(make_trace("abc"), CODEC) == 3
    assert critical_path(TOY, CODEC) == 1 + 6 + 4 + 1  # x, the outline, `:12` and end, z


@given(traces())
def test_the_critical_path_is_a_clock_over_lanes(trace):
    assert critical_path(trace, CODEC) == Rows(PROMPT, trace, CODEC.encode).clock()


def test_refusals():
    with pytest.raises(LayoutError, match="prompt token"):
        rows_of(TOY, prompt=[])
    with pytest.raises(LayoutError, match="needs markers"):
        build_layout([8], TOY, CODEC, None)
    linear = build_layout([8], make_trace("ab"), CODEC, None, END)
    assert linear.targets == [*CODEC.encode("ab"), END] and linear.hidden == []
