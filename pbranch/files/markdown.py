"""Text of strangers in Markdown: as it is where nothing in it could be markup, else as code.

Names of files, keys of reports, words of a recipe go into cards that others read in a browser.
"""

import re

from pbranch.console import printable

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
    """`text` within a line."""
    line = one_line(text)
    return line if PLAIN.fullmatch(line) or not line else as_code(line)


def as_code(text: object) -> str:
    """`text` as code within a line: no backticks in it end the code."""
    line = one_line(text)
    ticks = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if line[:1] == "`" or line[-1:] == "`" or not line else ""
    return f"{ticks}{space}{line}{space}{ticks}"


def in_cell(text: str) -> str:
    """Markdown in a cell of a table: a bar ends it even within code."""
    return text.replace("|", "\\|")


def as_block(text: str, language: str) -> str:
    """Lines as a block of code that nothing in them ends."""
    ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{ticks}{language}\n{printable(text).rstrip()}\n{ticks}"


def is_repository(name: str) -> bool:
    """Whether `name` has the form of a Hub id."""
    return REPOSITORY.fullmatch(name) is not None
