"""Topics of steps that have no label: their first words, as few as tell them apart."""

import re
from collections.abc import Sequence

from pdata.labels import COMMON

MAX_TOPIC = 4  # words


def first_words(text: str) -> str:
    """What a step says before its first number or stop; empty where it starts with one."""
    head = re.split(r"(?<=\w)[,;:.!?](?:\s|$)|[\d$€£<=(]|\s[-–—]\s(?=\w)", text, maxsplit=1)[0]
    words = [m for m in re.finditer(r"\S+", head) if re.search(r"\w", m[0])]
    return head[: words[min(len(words), MAX_TOPIC) - 1].end()] if words else ""


def shorten(topics: Sequence[str]) -> list[str]:
    """The topics cut to as few words as tell them apart and say something."""
    for n in range(1, MAX_TOPIC):
        cut = [_first(topic, n) for topic in topics]
        told = len({c.strip().lower() for c in cut}) == len(cut)
        if told and all(set(re.findall(r"\w+", c.lower())) - COMMON for c in cut):
            return cut
    return list(topics)


def opening(text: str) -> str:
    """The first words of a step, whatever they are."""
    return _first(text.split("\n")[0], MAX_TOPIC)


def _first(topic: str, n: int) -> str:
    """The first n words, with the bullet before them."""
    words = [m for m in re.finditer(r"\S+", topic) if re.search(r"\w", m[0])]
    return topic[: words[min(n, len(words)) - 1].end()] if words else topic
