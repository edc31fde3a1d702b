"""Segments to ids and back, exactly, for tokenizers of both kinds."""

import copy

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pbranch.errors import ModelError
from pbranch.format.markers import MARKER_PATTERN, MARKERS
from pbranch.hf.segment_codec import SegmentCodec, split_markers
from tests.conftest import train_metaspace
from tests.support.real_tokenizers import REAL_TOKENIZERS, real_tokenizer
from tests.support.strategies import marker_soup, texts

FORK = next(iter(MARKERS.values()))
ANY_TEXT = st.one_of(texts(), marker_soup(), st.text(st.characters(exclude_categories=["Cs"])))


def with_prefix_space(tokenizer):
    """As GPT-2's family with add_prefix_space: a space goes before the first word of any text."""
    from tokenizers import pre_tokenizers

    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert tokenizer.decode(tokenizer.encode("a")) == " a"
    return tokenizer


# bytes that SmolLM2 has no token for: control characters, and planes of Unicode without characters
NO_TOKEN = {0x04, 0x06, 0x13, 0x14, 0x16, 0x1D, 0xF1, 0xF2}
KINDS = ["byte", "byte prefix", "metaspace first", "metaspace always", *REAL_TOKENIZERS]


@pytest.fixture(scope="session", params=KINDS)
def codec(request, byte_tokenizer, metaspace_tokenizer):
    if request.param == "byte":
        return SegmentCodec(byte_tokenizer)
    if request.param == "byte prefix":
        return SegmentCodec(with_prefix_space(byte_tokenizer))
    if request.param == "metaspace first":
        return SegmentCodec(metaspace_tokenizer)
    if request.param in REAL_TOKENIZERS:
        return SegmentCodec(real_tokenizer(request.param))
    return SegmentCodec(train_metaspace("always"))


@example(text=FORK)
@example(text=" leading")
@example(text="  two")
@example(text="\n\nbreaks\n")
@example(text="▁x")
@given(text=ANY_TEXT)
def test_decode_inverts_encode(codec, text):
    if "▁" in text and codec.tokenizer.bos_token:
        return  # sentencepiece's sign for a space: no such tokenizer tells the two apart
    if NO_TOKEN & set(text.encode()):
        return
    assert codec.decode(codec.encode(text)) == text


@given(parts=st.lists(texts(), max_size=4))
def test_segments_join_without_a_seam(codec, parts):
    ids = [token for part in parts for token in codec.encode(part)]
    if "▁" in "".join(parts) and codec.tokenizer.bos_token:
        return
    assert codec.decode(ids) == "".join(parts)


def test_no_prefix_space_and_no_special_tokens(codec):
    tokens = codec.tokenizer.convert_ids_to_tokens
    assert not tokens(codec.encode("check"))[0].startswith(("▁", "Ġ"))
    assert tokens(codec.encode(" check"))[0].startswith(("▁", "Ġ"))
    assert codec.encode("") == [] and codec.decode([]) == ""
    bos, eos = codec.tokenizer.bos_token_id, codec.tokenizer.eos_token_id
    assert not {bos, eos} & set(codec.encode("check"))
    assert codec.decode([*codec.encode("a"), eos]) == "a"


def test_line_breaks_that_merge_keep_the_segment_whole():
    codec = SegmentCodec(train_metaspace("first", byte_fallback=False))
    for text in ("\nDone.", "\n\nDone.", "Done.", " Done.", "\n Done.\n"):
        assert codec.decode(codec.encode(text)) == text


@given(text=ANY_TEXT)
def test_marker_strings_are_ordinary_text(marked_tokenizer, marker_ids, byte_tokenizer, text):
    ids = SegmentCodec(marked_tokenizer).encode(text)
    assert not set(ids) & set(marker_ids.as_dict().values())
    assert ids == SegmentCodec(byte_tokenizer).encode(text)  # added markers change nothing
    assert SegmentCodec(marked_tokenizer).decode(ids) == text


@given(text=st.one_of(marker_soup(), texts()))
def test_split_markers(text):
    runs = split_markers(text)
    assert "".join(runs) == text
    assert all(runs) and not any(MARKER_PATTERN.search(run) for run in runs)
    assert len(runs) == (len(MARKER_PATTERN.findall(text)) + 1 if text else 0)


def test_a_slow_tokenizer_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(ModelError, match="Slow: a fast tokenizer is expected"):
        SegmentCodec(Slow())


def test_control_tokens_in_a_text_are_ordinary_text(codec):
    special = [t.content for t in codec.tokenizer.added_tokens_decoder.values() if t.special]
    ids = set(codec.tokenizer.convert_tokens_to_ids(special))
    assert ids
    for text in (*special, f"a {special[-1]} b", f"{special[0]}{special[-1]}\n", special[0] * 2):
        found = codec.encode(text)
        assert not ids & set(found) and codec.decode(found) == text


def test_control_tokens_that_a_prompt_holds_are_read(byte_tokenizer):
    text = "<|im_start|>user"
    assert SegmentCodec(byte_tokenizer, control=True).encode(text)[0] == 1
    assert SegmentCodec(byte_tokenizer).encode(text)[0] != 1


def test_tags_of_thinking_stay_tokens(byte_tokenizer):
    from transformers import AddedToken

    tokenizer = copy.deepcopy(byte_tokenizer)
    tags = ["<think>", "</think>", "[THINK]"]
    tokens = [AddedToken(tag, special=True) for tag in tags]
    tokenizer.add_special_tokens({"extra_special_tokens": tokens})
    codec = SegmentCodec(tokenizer)
    assert [codec.encode(tag) for tag in tags] == [
        [tokenizer.convert_tokens_to_ids(t)] for t in tags
    ]


def test_a_decoder_may_strip_a_space_that_no_encoder_adds():
    codec = SegmentCodec(train_metaspace("never"))
    for text in ("First, compute", " compute 12", "  two", "\n\nDone."):
        ids = codec.encode(text)
        assert codec.decode(ids) == text == "".join(codec.decode([i]) for i in ids)


def test_bytes_of_a_character_that_is_cut_leave_the_others(metaspace_tokenizer):
    codec = SegmentCodec(metaspace_tokenizer)
    ids = codec.encode("a😀😀")
    assert codec.decode(ids[:-2]) == "a😀\ufffd"
    assert codec.decode([*ids[:-2], *codec.encode("b")]) == "a😀\ufffdb"


@given(text=ANY_TEXT, cut=st.integers(0, 12))
def test_text_is_what_was_streamed(codec, text, cut):
    from pinfer.request.detokenizer import Detokenizer

    ids = codec.encode(text)
    ids, stream = ids[: max(0, len(ids) - cut)], Detokenizer(codec.decode)
    for token in ids:
        stream.push(token)
    assert stream.text + stream.tail == codec.decode(ids)
