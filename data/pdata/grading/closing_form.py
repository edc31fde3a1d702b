"""Finds what a completion closes with, and compares answers as text. Knows no trees.

Closing forms are `name: …` and `answer: …`, of which the last counts, or else \\boxed{…} and
`#### …`.
"""

import re

_NAMED = re.compile(r"\b(?:name|answer):[ \t]*([^\n]*)", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_HASHED = re.compile(r"^####[ \t]*([^\n#%]+)$", re.MULTILINE)
_WRAPPING = re.compile(r"""^[\s"'“”‘’*_`{}()\[\]$]+|[\s"'“”‘’*_`{}()\[\]$.,;:!?。]+$""")
_FORM = re.compile(r"^(?:name|answer)\s*:\s*", re.IGNORECASE)


def find_closing(text: str) -> str | None:
    """What the last closing form of `text` says, None without one."""
    if named := _NAMED.findall(text):
        return named[-1].strip()
    boxed = _BOXED.findall(text)
    forms = [*boxed, *_HASHED.findall(text)]
    return forms[-1] if boxed or len(forms) == 1 else None


def clean_answer(answer: str) -> str:
    """`answer` without case, spacing, quotes, brackets and closing punctuation."""
    text = " ".join(answer.split()).casefold()
    while (shorter := _FORM.sub("", _WRAPPING.sub("", text))) != text:
        text = shorter
    number = text.replace(",", "")
    return number if re.fullmatch(r"-?\d+(\.\d+)?", number) else text


def grade(text: str, answer: str) -> bool:
    """Whether `text` closes with `answer`, spelled in any way."""
    closing = find_closing(text)
    return closing is not None and clean_answer(closing) == clean_answer(answer)
