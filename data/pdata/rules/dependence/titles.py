"""The title that a step has of its own: bold, a heading, or what stands before a colon or a dash.

Knows one step at a time, by its form alone.
"""

import re

from pdata.rules.blocks.steps import Step

# what counts a step: a bullet, a number or letter, "Step 3"
_CN = "一二三四五六七八九十"
_COUNTER = re.compile(
    r"[\s#*•+_-]*(?:"
    rf"(?:[A-Z][a-z]+ )?[(（]?(?:\d{{1,3}}|[A-Za-z]|[IVX]{{2,4}}|[{_CN}]{{1,3}})[)）.、．:：]+\s*|"
    rf"[A-Z][a-z]+ \d{{1,3}}\b[)）.:：]*\s*|"
    rf"(?:步骤|阶段)\s*[\d{_CN}]{{1,3}}[:：，、]?\s*|第[\d{_CN}]{{1,3}}[步个种点类项][:：，、]?)?[\s*_]*"
)
_TITLE = re.compile(
    r"(?:[*_]*([^\n*:：。]{1,80})(?:\*\*\s*[:：]|[:：]\*\*|[:：]|\*\*)(?=\s|\*|$|[^\x00-\x7f])"
    r"|([^\n*:：。.,;]{1,50}?)\s[-–—]\s(?=\S)"
    r"|(`[^`\n]{1,60}`|[\"“][^\"”\n]{1,60}[\"”])[:：]?(?=\s)|(《[^》\n]{1,60}》))"
)
# words and signs of a clause, which no title has
_CLAUSE = re.compile(
    r"\b(?:we|let|let's|is|are|was|were|have|has|had|get|can|will|gives?|implies|becomes?|there)\b|[=$\\]|"
    r"请|[您你]可以|因为|所以|可得|我们|得到|得出|推出|归结|代入|转化",
    re.IGNORECASE,
)


def strip_counter(text: str) -> str:
    """A step's text without its bullet, number and opening marks of bold type."""
    return text[_end(_COUNTER.match(text)) :]


def split_title(step: Step) -> tuple[str, str]:
    """A step's own title, empty where it has none, and the text that follows."""
    text = strip_counter(step.text)
    first = text.split("\n", 1)[0]
    if step.text.lstrip().startswith("#") and "\n" in text:
        title, body = first, text[len(first) :]
    elif match := _TITLE.match(first):
        title, body = next(g for g in match.groups() if g), text[match.end() :]
    else:
        return "", text
    return (title.strip(" *_"), body) if not _CLAUSE.search(title) else ("", text)


def _end(match: re.Match[str] | None) -> int:
    return match.end() if match else 0
