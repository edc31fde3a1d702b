"""Markers in a tokenizer: added as special tokens, never over a vocabulary that has them."""

import copy

import pytest

from pbranch.errors import MarkerError
from pbranch.format.markers import MARKERS, Role, add_markers, find_markers


@pytest.mark.parametrize("name", ["byte_tokenizer", "metaspace_tokenizer"])
def test_markers_are_added_behind_the_vocabulary(name, request):
    original = request.getfixturevalue(name)
    tokenizer = copy.deepcopy(original)
    ids = add_markers(tokenizer)
    assert list(ids.as_dict().values()) == list(range(len(original), len(original) + 6))
    assert list(ids.as_dict()) == [role.value for role in Role]
    assert len(original) == len(tokenizer) - 6
    for role, text in MARKERS.items():
        token = ids.as_dict()[role.value]
        assert ids.role(token) is role
        assert tokenizer.convert_ids_to_tokens(token) == text
        added = tokenizer.added_tokens_decoder[token]
        assert added.special and not (added.normalized or added.lstrip or added.rstrip)
        assert token in tokenizer.encode(f"a {text} b")  # that is why segments are split
    assert ids.role(0) is None
    assert find_markers(tokenizer) == ids


def test_special_tokens_of_the_base_stay(byte_tokenizer, marked_tokenizer):
    assert set(byte_tokenizer.all_special_ids) < set(marked_tokenizer.all_special_ids)
    assert marked_tokenizer.eos_token_id == byte_tokenizer.eos_token_id


def test_markers_survive_saving(marked_tokenizer, marker_ids, tmp_path):
    from transformers import AutoTokenizer

    marked_tokenizer.save_pretrained(tmp_path)
    assert find_markers(AutoTokenizer.from_pretrained(tmp_path)) == marker_ids


@pytest.mark.parametrize("role", [Role.FORK, Role.JOIN])
@pytest.mark.parametrize("special", [True, False])
def test_a_vocabulary_that_has_a_marker_is_refused(byte_tokenizer, role, special):
    from transformers import AddedToken

    tokenizer = copy.deepcopy(byte_tokenizer)
    tokenizer.add_tokens([AddedToken(MARKERS[role], special=special)], special_tokens=special)
    before = len(tokenizer)
    with pytest.raises(MarkerError, match=role.value):
        add_markers(tokenizer)
    assert len(tokenizer) == before


def test_missing_markers_are_named(byte_tokenizer):
    with pytest.raises(MarkerError, match=r"no marker .*fork"):
        find_markers(byte_tokenizer)
