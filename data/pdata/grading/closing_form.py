"""Decides whether a completion ends with the right answer. Knows only the closing form.

A synthetic trace closes with `name: …` or `answer: …`; the last of them in the text counts.
"""

import re

CLOSING = re.compile(r"\b(?:name|answer):[ \t]*([^\n]*)", re.IGNORECASE)


def extract_answer(text: str) -> str | None:
    """What the last closing form of `text` says, or None when there is none."""
    found = CLOSING.findall(text)
    return _normalise(found[-1]) if found else None


def grade(text: str, answer: str) -> bool:
    """Whether `text` closes with `answer`; case, spacing and closing punctuation are ignored."""
    return extract_answer(text) == _normalise(answer)


def _normalise(answer: str) -> str:
    return " ".join(answer.split()).rstrip(".,;:!? ").casefold()
