"""Finds what a completion closes with. Knows no trees and no gold answers.

Firm forms are `name: …`, `answer: …`, `\\boxed{…}`, `<answer>…</answer>` and a last line
`#### …`; the others are sentences (`the answer is …`, 故选 …) and an answer that stands alone.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pdata.grading.answer_forms import clean_answer, read_number, read_option, read_truth

_NAMED = re.compile(r"\b(?:name|answer)[*_ \t]*[:：]([^\n]*)", re.IGNORECASE)
# a title of its own: ### Final Answer
_HEADED = re.compile(
    r"^#{1,6}[*_ \t]*(?:the[ \t]+)?(?:(?:final|correct)[ \t]+)?answer[*_ \t]*\n\s*(\S[^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL)
_HASHED = re.compile(r"^####[ \t]*([^\n#%]+)\s*\Z", re.MULTILINE)
_LETTERS = r"[(（]?[A-J](?:[、,，\s]*[A-J])*[)）]?(?![A-Za-z])"
_SAID = (
    re.compile(r"\b(?:answer|option|choice)[ \t]+(?:is|was|(?:would|should|must)[ \t]+be)\b"
               r"(?:[ \t]+(?:therefore|thus|hence|clearly|indeed|simply),?)?[ \t]*[:：]?[ \t]*"
               r"(.+?)[ \t]*"
               r"(?=[.!?](?:[\s*<]|\Z)|[。；\n]|</|\Z)", re.IGNORECASE),
    re.compile(r"\b(?i:option|choice)[ \t]+([(]?[A-J][)]?)[ \t]+(?i:is)[ \t]+(?i:the[ \t]+)?"
               r"(?i:correct|right|best)\b"),
    re.compile(r"(?<![\w-])([(]?[A-J][)]?)[ \t]+(?i:is)[ \t]+(?i:the)[ \t]+"
               r"(?i:correct|right|best)[ \t]+(?i:answer|option|choice)\b"),
    re.compile(rf"\b(?i:correct|right)[ \t]+(?i:answer|option|choice)[ \t*_]*[:：]?[ \t*_]*"
               rf"({_LETTERS})[ \t*_]*[.]?$", re.MULTILINE),
    re.compile(r"(?:答案|正确选项)[】\]*]*[ \t]*(?:应该?|就)?(?:是|为|选)?[ \t]*[*]*[:：]?[ \t]*"
               r"([^\n。；;<]+)"),
    re.compile(rf"(?:^|[故应可须题此以上，,。、\s])(?:选择|选项[为是]|选)[ \t]*[:：]?"
               rf"[ \t$*“\"]*({_LETTERS})",
               re.MULTILINE),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Closing:
    """What one form says. firm: it says nothing else; a sentence may say more."""

    start: int
    text: str
    firm: bool = True


def find_closing(text: str) -> str | None:
    """What the last closing form of `text` says, None without one."""
    return next((closing.text for closing in find_closings(text)), None)


def find_closings(text: str) -> list[Closing]:
    """The last of each form, the last of all first; of reasoning only where no form follows it."""
    head, mark, tail = text.rpartition("</think>")
    found = _find_all(tail)
    return sorted(found or _find_all(head if mark else ""), key=lambda c: c.start, reverse=True)


def grade(text: str, answer: str) -> bool:
    """Whether `text` closes with `answer`, spelled in any way."""
    closing = find_closing(text)
    return closing is not None and clean_answer(closing) == clean_answer(answer)


def _find_all(text: str) -> list[Closing]:
    """The last of each form."""
    forms = [_find_named(text), _find_boxed(text)]
    forms.append(_find_last(_HEADED, text, False))
    forms += [_find_last(pattern, text, True) for pattern in (_TAGGED, _HASHED)]
    forms += [_find_last(pattern, text, False) for pattern in _SAID]
    found = [closing for form in forms for closing in form]
    alone = text.strip()
    if not found and "\n" not in alone and len(alone) <= 40:
        if read_option(alone)[0] or read_number(alone) or read_truth(alone) is not None:
            found.append(Closing(0, alone, False))
    return found


def _find_last(pattern: re.Pattern[str], text: str, firm: bool) -> Iterator[Closing]:
    matches = list(pattern.finditer(text))
    if matches:
        yield Closing(matches[-1].start(1), matches[-1][1].strip(), firm)


def _find_named(text: str) -> Iterator[Closing]:
    """After a name that ends its line, the next line that is not blank."""
    matches = list(_NAMED.finditer(text))
    if matches:
        last = matches[-1]
        said, start = last[1].strip(), last.start(1)
        if not re.search(r"\w", said) and (below := re.search(r"\S[^\n]*", text[last.end() :])):
            said, start = below[0].strip(), last.end()
        yield Closing(start, said)


def _find_boxed(text: str) -> Iterator[Closing]:
    """What stands in the last box, whose braces may hold others."""
    for found in reversed(list(_BOXED.finditer(text))):
        depth, at = 1, found.end()
        while at < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0) if text[at - 1] != "\\" else 0
            at += 1
        if not depth:
            yield Closing(found.end(), text[found.end() : at - 1])
            return
