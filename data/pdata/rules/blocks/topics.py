"""Topics of steps that have no label: their first words, as few as tell them apart."""

import re
from collections.abc import Sequence

from pdata.rules.blocks.masks import shield, unshield, whole
from pdata.rules.prompt import COMMON

MAX_TOPIC = 8  # words
# a word that says something, with the signs around it; of Chinese, two characters
_WORD = re.compile(r"[^\w\s]*(?:[一-鿿]{1,2}|[^\W一-鿿][^\s一-鿿]*)|[^\w\s]+(?=\s)")
_LETTER = re.compile(r"\w")
_STOP = re.compile(
    r"(?<=[\w\ue000-\uf8ff])[,;:.!?，。：；、！？](?=\D|$)|[\d$€£<=(（]|\s[-–—]\s(?=\w)"
)


def first_words(text: str) -> str:
    """What a step says before its first number or stop; empty where it starts with one."""
    return _first(text, MAX_TOPIC // 2, _stop_of(text, 0))


def make_topics(texts: Sequence[str], labels: Sequence[str] | None = None) -> list[str]:
    """A topic for each step, equal ones where nothing tells two of them apart. It begins with the
    step's label, where there are any; no region and no bold type is cut."""
    labels = labels or [""] * len(texts)
    lines = [unshield(shield(text).partition("\n")[0]) for text in texts]
    ends = [
        _last_word(line) if line == text else len(line)
        for line, text in zip(lines, texts, strict=True)
    ]
    stops = [
        min(_stop_of(line, len(label)), end)
        for line, label, end in zip(lines, labels, ends, strict=True)
    ]
    topics, told = _shorten(lines, labels, stops, MAX_TOPIC // 2)
    if not told:
        topics, _ = _shorten(lines, labels, ends, MAX_TOPIC)
    return topics


def _shorten(
    lines: Sequence[str], labels: Sequence[str], stops: Sequence[int], most: int
) -> tuple[list[str], bool]:
    """The lines cut to as few words as tell them apart and say something, and whether they do."""
    cut, words = list[str](), list[str]()
    spans = zip(lines, labels, stops, strict=True)
    short = [
        len(line[:stop].rstrip()) if label and _is_phrase(line[len(label) : stop]) else 0
        for line, label, stop in spans
    ]
    for n in range(1, most + 1):
        cut = [
            line[: whole(line, end)] if end else _first(line, n, stop, len(label))
            for line, label, stop, end in zip(lines, labels, stops, short, strict=True)
        ]
        words = [c[len(label) :].strip().lower() for c, label in zip(cut, labels, strict=True)]
        told = len(set(words)) == len(words)
        if told and all(set(re.findall(r"\w+", w)) - COMMON for w in words):
            return cut, True
    return cut, len(set(words)) == len(words) and all(words)


def _is_phrase(text: str) -> bool:
    """Whether a text is a name or a title, which is not cut: of two words, or eight characters of
    Chinese."""
    words, characters = len(re.findall(r"[a-zA-Z0-9]\S*", text)), len(re.findall("[一-鿿]", text))
    return 0 < words + characters / 4 <= 2


def _last_word(line: str) -> int:
    """Where the last word begins, which is left for the step to say."""
    return len(line.rsplit(maxsplit=1)[0]) if line.count(" ") > 1 else len(line) - 1


def _stop_of(line: str, start: int) -> int:
    """Where the first stop is, outside of regions unless it is a number."""
    match = _STOP.search(shield(line), start)
    return match.start() if match else len(line)


def _first(line: str, n: int, stop: int, start: int = 0) -> str:
    """The first n words up to a stop, with the label or the bullet before them."""
    end = 0
    for match in _WORD.finditer(line, start):
        last = min(match.end(), stop)
        if match.start() < stop and _LETTER.search(line, match.start(), last):
            end, n = last, n - 1
        if not n or match.start() >= stop:
            break
    return line[: whole(line, end)] if end else ""
