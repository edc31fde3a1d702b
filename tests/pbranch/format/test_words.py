"""Words where no tokenizer is known."""

import pytest
from hypothesis import given

from pbranch.format.words import count_words, split_words
from tests.support.strategies import texts


@given(texts())
def test_words_join_to_the_text(text):
    words = split_words(text)
    assert "".join(words) == text
    assert count_words(text) == sum(1 for word in words if word.strip())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \n", [" \n"]),
        ("Ann has  3.5 plums, ", ["Ann", " has", "  3.5", " plums,", " "]),
        ("naïve – “so”", ["naïve", " –", " “so”"]),
        ("一、**经济**:约 3 元。", ["一、**", "经", "济**:", "约", " 3", " 元。"]),
        ("GPA为3.5", ["GPA", "为", "3.5"]),
    ],
)
def test_words_by_hand(text, words):
    assert split_words(text) == words
