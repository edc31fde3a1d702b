"""Topics of steps that have no label: their first words, as few as tell them apart."""

import re
from collections.abc import Sequence

from pdata.rules.prompt import COMMON

MAX_TOPIC = 8  # words
# a word that says something, with the signs around it; of Chinese, two characters
_WORD = re.compile(r"[^\w\s]*(?:[一-鿿]{1,2}|[^\W一-鿿][^\s一-鿿]*)|[^\w\s]+(?=\s)")
_STOP = re.compile(r"(?<=\w)[,;:.!?，。：；、！？](?=\D|$)|[\d$€£<=(（]|\s[-–—]\s(?=\w)")


def first_words(text: str) -> str:
    """What a step says before its first number or stop; empty where it starts with one."""
    return _first(_STOP.split(text, maxsplit=1)[0], MAX_TOPIC // 2)


def make_topics(texts: Sequence[str]) -> list[str]:
    """A topic for each step, equal ones where nothing tells two of them apart."""
    topics = _shorten([first_words(text) for text in texts])
    if len(set(topics)) < len(topics) or not all(topics):
        topics = _shorten([_first(text.split("\n")[0], MAX_TOPIC) for text in texts])
    return topics


def _shorten(topics: Sequence[str]) -> list[str]:
    """The topics cut to as few words as tell them apart and say something."""
    for n in range(1, MAX_TOPIC + 1):
        cut = [_first(topic, n) for topic in topics]
        told = len({c.strip().lower() for c in cut}) == len(cut)
        if told and all(set(re.findall(r"\w+", c.lower())) - COMMON for c in cut):
            return cut
    return list(topics)


def _first(text: str, n: int) -> str:
    """The first n words, with the bullet before them."""
    ends = [m.end() for m in _WORD.finditer(text) if re.search(r"\w", m[0])]
    return text[: ends[min(n, len(ends)) - 1]] if ends else ""
