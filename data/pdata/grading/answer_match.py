"""Decides whether a trace ends with the gold answer of its source.

A closing form (`name: …`, `answer: …`, \\boxed{…}, `#### …`) counts; without one, the conclusion
does, when it names the gold answer and nothing else that a step was about. Knows no files.
"""

import re
from collections.abc import Sequence
from itertools import chain

from pdata.grading.closing_form import extract_answer

_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_HASHED = re.compile(r"^####[ \t]*([^\n#%]+)$", re.MULTILINE)
_WRAPPING = re.compile(r"""^[\s"'“”‘’*_`{}()\[\]$]+|[\s"'“”‘’*_`{}()\[\]$.,;:!?。]+$""")
_FORM = re.compile(r"^(?:name|answer)\s*:\s*", re.IGNORECASE)


def judge_answer(
    text: str, answer: str, tail: str = "", subjects: Sequence[str] = ()
) -> tuple[bool | None, str]:
    """(whether `text` ends with `answer`, or None when it cannot be told; by what).

    tail: what follows the steps; subjects: what the steps were about, `answer` among them or not.
    """
    gold = clean_answer(answer)
    closing = find_closing(text)
    if closing is not None:
        return clean_answer(closing) == gold, "closing"
    if not tail.strip() or not any(clean_answer(s) == gold for s in subjects):
        return None, ""
    named = {clean_answer(s) for s in subjects if re.search(rf"(?<!\w){re.escape(s)}(?!\w)", tail)}
    return named == {gold}, "conclusion"


def find_closing(text: str) -> str | None:
    """What the last closing form of `text` says, None without one."""
    closing = extract_answer(text)
    if closing is not None:
        return closing
    forms = list(chain(_BOXED.findall(text), _HASHED.findall(text)))
    return forms[-1] if len(forms) == 1 or _BOXED.search(text) else None


def clean_answer(answer: str) -> str:
    """`answer` without case, spacing, quotes, brackets and closing punctuation."""
    text = " ".join(answer.split()).casefold()
    while (shorter := _FORM.sub("", _WRAPPING.sub("", text))) != text:
        text = shorter
    number = text.replace(",", "")
    return number if re.fullmatch(r"-?\d+(\.\d+)?", number) else text
