"""Text of strangers in Markdown: as it is where nothing in it could be markup, else escaped.

Names of files, keys of reports, words of a recipe go into cards that others read in a browser.
"""

import html
import re

from pbranch.console import printable

_PUNCTUATION = re.compile(r"[\\`*_{}\[\]()#+!|~$-]")
_RISKY = re.compile(r"[`<>\[\]]")
# nothing in it is markup, a link or a mention, wherever in a line it stands
_WORD = r"(?:[^\W_]|[.%+-])+"
PLAIN = re.compile(rf"(?!.*www\.){_WORD}(?:(?:, |: |[ /:=]|\(){_WORD}\)?)*")
LONGEST = 300  # characters
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)  # an id of the Hub


def one_line(text: object) -> str:
    """`text` without line breaks and what steers a terminal, cut where it is long."""
    line = printable(" ".join(str(text).split()))
    return line if len(line) <= LONGEST else line[:LONGEST] + "…"


def as_text(text: object) -> str:
    """`text` within a line, with what could be markup escaped."""
    line = one_line(text)
    if PLAIN.fullmatch(line):
        return line
    line = html.escape(_PUNCTUATION.sub(r"\\\g<0>", line), quote=False)
    return line.replace("//", "&#47;&#47;").replace("www.", "www&#46;").replace("@", "&#64;")


def as_code(text: object) -> str:
    """`text` within a line as code, or as text where it could end the code or be taken for HTML."""
    line = one_line(text)
    return as_text(line) if _RISKY.search(line) else f"`{line or ' '}`"


def as_block(text: str, language: str) -> str:
    """Lines as a block of code that nothing in them ends."""
    ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{ticks}{language}\n{printable(text).rstrip()}\n{ticks}"


def is_repository(name: str) -> bool:
    """Whether `name` has the form of a Hub id."""
    return REPOSITORY.fullmatch(name) is not None
