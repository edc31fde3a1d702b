"""All spellings of the visibility rule are one: predicate, dense mask, mask_mod, and lane paths."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pbranch.format.layout import LayoutOptions, build_layout, concatenate
from pbranch.format.tree import Fork, make_trace
from pbranch.format.visibility import PADDING, dense_mask, layout_tensor, mask_mod, sees
from pbranch.hf.segment_codec import SegmentCodec
from tests.pbranch.format.test_layout import OPTIONS, PROMPT, TOY, rows_of
from tests.support.layout_oracle import LetterCodec, Rows
from tests.support.strategies import traces

CODEC = LetterCodec()
DEEP = traces(depth=3, traps=False, max_branches=2)
FLAT = traces(depth=1, traps=False)  # predicates are asked for all pairs of rows: keep them few


def oracle_mask(oracle, outline):
    n = len(oracle.rows)
    return torch.tensor([[oracle.sees(q, k, outline) for k in range(n)] for q in range(n)])


def predicate_mask(layout):
    n = len(layout)
    return torch.tensor([[sees(layout, q, k) for k in range(n)] for q in range(n)])


def flex_mask(tensor, window=None):
    """mask_mod on all pairs at once; indices broadcast."""
    batch, length = tensor.shape[0], tensor.shape[2]
    b, i = torch.arange(batch)[:, None, None], torch.arange(length)
    return mask_mod(tensor, window)(b, torch.tensor(0), i[None, :, None], i[None, None, :])


# one line a row, one cell a row that it could see: 1 seen, 0 hidden
PICTURE = """
p  0   1
x  1   11
F  2   111
T  3   1111
A  4   11111
T  5   111111
B  6   1111111
S  7   11111111
B  8   111111111
A  9   1111111111
:  10  11111111111
E  11  111111111111
B  8   1111111100001
B  9   11111111000011
:  10  111111110000111
1  11  1111111100001111
2  12  11111111000011111
E  13  111111110000111111
J  14  1111111111111111111
z  15  11111111111111111111
"""


def test_the_toy_drawn_by_hand():
    layout = rows_of(TOY, prompt=[8])
    drawn = [line.split() for line in PICTURE.strip().splitlines()]
    assert layout.position_ids == [int(position) for _, position, _ in drawn]
    mask = dense_mask(layout_tensor([layout]))[0, 0]
    for q, (_, _, cells) in enumerate(drawn):
        assert "".join(str(int(x)) for x in mask[q, : q + 1]) == cells
        assert not mask[q, q + 1 :].any()


def test_own_outline_by_hand():
    mask = dense_mask(layout_tensor([rows_of(TOY, LayoutOptions(outline="own"), [8])]))[0, 0]
    drawn = [cells for *_, cells in map(str.split, PICTURE.strip().splitlines())]
    for q, cells in enumerate(drawn):
        if 8 <= q < 18:  # branch rows do not see fork … spawn, rows 2 to 7
            cells = cells[:2] + "000000" + cells[8:]
        assert "".join(str(int(x)) for x in mask[q, : q + 1]) == cells


def test_a_block_that_is_encoded_again_by_hand():
    """Copy rows, 18 to 27, and what follows are plain text behind the outline."""
    mask = dense_mask(layout_tensor([rows_of(TOY, LayoutOptions(join="reencode"), [8])]))[0, 0]
    drawn = [cells for *_, cells in map(str.split, PICTURE.strip().splitlines())]
    drawn = [*drawn[:18], *("1" * 8 + "0" * 10 + "1" * n for n in range(1, 13))]
    for q, cells in enumerate(drawn):
        assert "".join(str(int(x)) for x in mask[q, : q + 1]) == cells


@given(DEEP, OPTIONS)
def test_all_spellings_are_one(trace, options):
    layout = rows_of(trace, options)
    oracle = Rows(PROMPT, trace, CODEC.encode, options.positions, options.join)
    expected = oracle_mask(oracle, options.outline)
    tensor = layout_tensor([layout])
    assert tensor.dtype == torch.int32 and tensor.shape == (1, 2 + 2 * trace.depth, len(layout))
    assert torch.equal(predicate_mask(layout), expected)
    assert torch.equal(dense_mask(tensor)[0, 0], expected)
    assert torch.equal(flex_mask(tensor)[0], expected)


@given(st.lists(FLAT, min_size=1, max_size=3), OPTIONS)
def test_documents_in_a_row_do_not_see_one_another(documents, options):
    layouts = [rows_of(t, options) for t in documents]
    whole = concatenate(layouts)
    expected = torch.block_diag(*(predicate_mask(x).int() for x in layouts)).bool()
    tensor = layout_tensor([whole])
    assert torch.equal(predicate_mask(whole), expected)
    assert torch.equal(dense_mask(tensor)[0, 0], expected)
    assert torch.equal(flex_mask(tensor)[0], expected)


@given(st.lists(FLAT, min_size=1, max_size=3), st.integers(0, 5), OPTIONS)
def test_a_batch_is_its_rows_and_padding_sees_itself(documents, extra, options):
    layouts = [rows_of(t, options) for t in documents]
    length = max(map(len, layouts)) + extra
    tensor = layout_tensor(layouts, length if extra else None)
    mask, flex = dense_mask(tensor), flex_mask(tensor)
    assert mask.shape == (len(layouts), 1, length, length) and mask.dtype == torch.bool
    assert torch.equal(mask[:, 0], flex)
    for i, layout in enumerate(layouts):
        n = len(layout)
        assert (tensor[i, 0, n:] == PADDING).all()
        expected = torch.eye(length, dtype=torch.bool)
        expected[:n, :n] = predicate_mask(layout)
        assert torch.equal(mask[i, 0], expected)
    assert mask.any(-1).all()  # a row that sees nothing is NaN under softmax


@given(FLAT, st.integers(1, 12), OPTIONS)
def test_windows_count_positions(trace, window, options):
    layout = rows_of(trace, options)
    tensor = layout_tensor([layout], len(layout) + 2)
    mask = dense_mask(tensor, window)[0, 0]
    assert torch.equal(mask, flex_mask(tensor, window)[0])
    n, pos = len(layout), torch.tensor(layout.position_ids)
    near = pos[:, None] - pos < window
    assert torch.equal(mask[:n, :n], predicate_mask(layout) & near)
    assert torch.equal(mask[n:, n:], torch.eye(2, dtype=torch.bool))


def test_a_window_is_no_wider_for_a_sibling():
    """Two rows at one position look back equally far, though one stands many rows later."""
    trace = make_trace("abc", Fork(("", ""), (make_trace("12345"), make_trace("123"))))
    layout = rows_of(trace, prompt=[8])
    first, second = (i for i, t in enumerate(layout.token_ids) if t == 10 + ord("1"))
    assert layout.position_ids[first] == layout.position_ids[second]
    mask = dense_mask(layout_tensor([layout]), window=5)[0, 0]
    back = [{layout.position_ids[k] for k in mask[q].nonzero()[:, 0]} for q in (first, second)]
    assert back[0] == back[1] and len(back[0]) == 5


def test_flex_attention_accepts_the_mask_mod():
    from torch.nn.attention.flex_attention import create_mask

    inner = Fork(("", "b"), (make_trace("1"), make_trace("b2")))
    nested = make_trace(Fork(("A", "B"), (make_trace("A", inner), make_trace("B"))), "z")
    tensor = layout_tensor([rows_of(TOY), rows_of(nested)])
    for window in (None, 4):
        mask = create_mask(mask_mod(tensor, window), 2, 1, *[tensor.shape[2]] * 2, device="cpu")
        assert torch.equal(mask, dense_mask(tensor, window))


# --- what the mask and the positions are for: a model's logits ---


def run(model, layouts):
    """Logits of a batch under the dense mask (a window would need the registered function)."""
    tensor = layout_tensor(layouts)
    ids = torch.zeros(len(layouts), tensor.shape[2], dtype=torch.long)
    for row, layout in zip(ids, layouts, strict=True):
        row[: len(layout)] = torch.tensor(layout.token_ids)
    with torch.no_grad():
        return model(
            input_ids=ids, position_ids=tensor[:, 1].long(), attention_mask=dense_mask(tensor)
        ).logits


@pytest.fixture(scope="module")
def model(make_model, marked_tokenizer):
    return make_model("qwen2", marked_tokenizer, attn_implementation="sdpa").double()


@pytest.fixture(scope="module")
def lay_out(marked_tokenizer, marker_ids):
    codec = SegmentCodec(marked_tokenizer)
    prompt = codec.encode("Check all.")
    return lambda trace, options=None: build_layout(
        prompt, trace, codec, marker_ids, marked_tokenizer.eos_token_id, options
    )


@settings(max_examples=10)
@given(trace=DEEP, options=OPTIONS)
def test_a_row_of_a_flat_pass_equals_its_lane_alone(model, lay_out, trace, options):
    """Inside a block, a row's logits are those of a plain causal pass over the rows it sees."""
    layout = lay_out(trace, options)
    logits = run(model, [layout])[0]
    mask = predicate_mask(layout)
    for q in range(0, len(layout), max(1, len(layout) // 4)):
        seen = mask[q].nonzero()[:, 0]
        sub = mask[seen][:, seen]
        if not torch.equal(sub, torch.ones_like(sub).tril()):
            continue  # after a join: the rows seen do not all see one another
        with torch.no_grad():
            alone = model(
                input_ids=torch.tensor(layout.token_ids)[seen][None],
                position_ids=torch.tensor(layout.position_ids)[seen][None],
                attention_mask=torch.ones_like(sub).tril()[None, None],
            ).logits[0, -1]
        torch.testing.assert_close(logits[q], alone, rtol=1e-9, atol=1e-9)


def test_a_sibling_s_body_changes_no_other_branch(model, lay_out):
    def trace(body):
        branches = (make_trace("A:", body), make_trace("B: two"), make_trace("C: three"))
        return make_trace("x", Fork(("A", "B", "C"), branches), "so")

    one, other = lay_out(trace("qq")), lay_out(trace("jq"))
    assert len(one) == len(other)
    pairs = zip(one.token_ids, other.token_ids, strict=True)
    changed = [row for row, (x, y) in enumerate(pairs) if x != y]
    a, b = run(model, [one])[0], run(model, [other])[0]
    moved = (a - b).abs().amax(-1) > 0
    end_of_a = one.hidden[0][changed[0]][0]
    join = one.hidden[0][changed[0]][1]
    assert moved[changed].all() and moved[join:].all()
    assert not moved[: changed[0]].any() and not moved[end_of_a:join].any()


@settings(max_examples=8)
@given(documents=st.lists(DEEP, min_size=2, max_size=3), options=OPTIONS)
def test_packed_and_padded_documents_get_the_logits_of_lone_ones(
    model, lay_out, documents, options
):
    layouts = [lay_out(t, options) for t in documents]
    lone = [run(model, [x])[0] for x in layouts]
    packed = run(model, [concatenate(layouts)])[0]
    torch.testing.assert_close(packed, torch.cat(lone), rtol=1e-9, atol=1e-9)
    for row, alone in zip(run(model, layouts), lone, strict=True):
        torch.testing.assert_close(row[: len(alone)], alone, rtol=1e-9, atol=1e-9)
