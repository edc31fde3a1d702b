"""What a cut may not go through: code, formulas, tables, HTML, bold type, and the end of a thought.

`split_lines` cuts a text into lines that hold such regions whole. In them the signs that lines and
labels are told by are shielded: each stands for itself as a character that no rule looks for.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

# a space that a line may begin with, also a wide one
BLANK = r"[ \t\xa0\u3000]"
_BRACES = r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}"
_REGION = re.compile(
    r"^[ \t>]*(?P<fence>```+|~~~+)[^\n]*(?:\n(?:.*?^[ \t>]*(?P=fence)[`~]*[ \t]*$|.*\Z)|\Z)|"
    r"(?P<ticks>`+)[^`\n]+(?P=ticks)|"
    r"\$\$.+?\$\$|\\\[.+?\\\]|\\\(.+?\\\)|"
    r"\\begin\{(?P<environment>[^}\n]*)\}.*?\\end\{(?P=environment)\}|"
    # as in Pandoc, so that prices are no formula; over lines only where something is set
    r"(?<![\\\w])\$(?=[^\s$])(?:[^$\n]|\n(?!\s*\n))*?(?<=[^\s\\])\$(?!\d)|"
    rf"\\[A-Za-z]+(?:\[[^\]\n]*\])?(?:{_BRACES})+|"
    r"\[asy\].*?\[/asy\]|"
    r"^[ \t]*\|[^\n]*(?:\n[ \t]*\|[^\n]*)+|"
    r"^[ \t]*<(?P<tag>table|ul|ol|div|pre|details|blockquote|dl|section)\b[^\n]*?>.*?</(?P=tag)>",
    re.MULTILINE | re.DOTALL,
)
# without one of these a text is looked at no further: most traces of arithmetic hold just prices
_MAY_HOLD = re.compile(
    r"[`~\\|]|<[a-z]|\[asy\]|\$\$|\$[^\s$][^$]*[^\s$\\]\$(?!\d)|\$[^\s$]\$(?!\d)"
)
_SET = re.compile(r"[\\^_{]")
_THOUGHT = re.compile(r"(</?think(?:ing)?>)")
_LINE = re.compile(r"[^\n]+\n?|\n")
# bold type, and names in quotation marks, which hold no stops
_BOLD = re.compile(
    r"\*\*[^*\n]+\*\*|《[^》\n]{1,40}》|"
    r"“[^”\n，。；！？]{1,40}”|「[^」\n，。；！？]{1,40}」"
)
_SIGNS = "\n:：.,;!?*#|`()[]{}-–—+•，。、；！？=<>（）&~$"
_SHIELD = str.maketrans({sign: chr(0xE000 + i) for i, sign in enumerate(_SIGNS)})
_UNSHIELD = str.maketrans({chr(0xE000 + i): sign for i, sign in enumerate(_SIGNS)})
# a line that is a formula, code, a table or HTML; its first sign is shielded, or begins a command
_DISPLAY = re.compile(r"[ \t]*(?:[\ue000-\uf8ff\\])")


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line with the regions that begin in it, shielded, without its line break."""

    start: int
    end: int
    text: str

    @property
    def is_thought_tag(self) -> bool:
        return bool(_THOUGHT.fullmatch(self.text.strip()))


@lru_cache(maxsize=8)  # a text is asked for by several rules, one after the other
def split_lines(text: str) -> tuple[TextLine, ...]:
    """The lines of `text`; a <think> tag is a line of its own."""
    lines: list[TextLine] = []
    at = 0
    for part in _THOUGHT.split(text) if "think" in text else (text,):
        for match in _LINE.finditer(shield(part)):
            line = match[0].rstrip("\n")
            lines.append(TextLine(at + match.start(), at + match.start() + len(line), line))
        at += len(part)
    return tuple(lines)


def shield(text: str) -> str:
    """`text`, as long as it was, with the signs inside of regions shielded."""
    if not _MAY_HOLD.search(text):
        return text
    pieces: list[str] = []
    cursor = 0
    for start, end in _regions(text):
        pieces += [text[cursor:start], text[start:end].translate(_SHIELD)]
        cursor = end
    return "".join((*pieces, text[cursor:]))


def unshield(text: str) -> str:
    """What was shielded, as it was."""
    return text if text.isascii() else text.translate(_UNSHIELD)


def is_display(line: str) -> bool:
    """Whether a shielded line is a formula, code, a table or HTML."""
    return bool(_DISPLAY.match(line))


def whole(text: str, end: int) -> int:
    """`end`, or where the region, the bold type or the quoted name ends that a cut of `text` there
    would go through; `text` is not shielded."""
    if text.isascii() and not _MAY_HOLD.search(text) and "**" not in text:
        return end
    spans = (*_regions(text), *(m.span() for m in _BOLD.finditer(text)))
    return max((last for first, last in spans if first < end < last), default=end)


def _regions(text: str) -> Iterator[tuple[int, int]]:
    """Where regions stand, without the space before them."""
    for match in _REGION.finditer(text):
        found = match[0]
        if found[0] == "$" and "\n" in found and not _SET.search(found):
            continue  # two prices
        yield match.start() + len(found) - len(found.lstrip(" \t>")), match.end()
