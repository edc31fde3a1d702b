"""Words of a text, where no tokenizer is known: runs without blanks, in Chinese and Japanese single
characters. Knows no markers.
"""

import re

# a character of a script without blanks takes the punctuation after it
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"\s*(?:[{_CJK}][^\w\s]*|[^\s{_CJK}]+)|\s+\Z")


def split_words(text: str) -> list[str]:
    """The words, each with the blanks before it, and the blanks at the end: they join to `text`."""
    return _WORD.findall(text)


def count_words(text: str) -> int:
    """How many words `text` has; blanks at its end are none."""
    if text.isascii():
        return len(text.split())
    return len(_WORD.findall(text.rstrip()))
