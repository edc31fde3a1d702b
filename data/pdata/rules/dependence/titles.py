"""The title that a step has of its own: bold, a heading, or what stands before a colon or a dash;
and how another step refers to what it is about, by a title, a number or a name.

Knows steps by their form alone.
"""

import re
from collections.abc import Collection, Iterator, Sequence

from pdata.rules.blocks.steps import Step
from pdata.rules.prompt import Prompt

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

_COMPARES = re.compile(
    r"(?:\b(?:similar to|the same as|same as|compared (?:to|with)|unlike|than|as with|just like|"
    r"based on)|(?<=[与和跟同])|(?<=比)|类似于|相比于?) ?(?:the )?"
    r"([A-Z][A-Za-z\d.+-]*\d[A-Za-z\d.]*|[a-z]{1,3}\d[A-Za-z\d.]*|\d+(?:\.\d+)+)"
)
# what a step is about, by number: "of length 2", 长度为2
_KEY = re.compile(r"((?<!\w)(?:of|with) [a-z]{3,}|[一-鿿]{2}为)\s?(\d{1,3})(?!\d)")
_KEYED = 60  # characters
# a name inside a sentence
NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{2,}\b")
_CAPITAL = r"[A-Z][\w'’&.-]*"
# "Field of Gold" is one name
_PHRASE = re.compile(rf"{_CAPITAL}(?: (?:(?:of|the|and|for|in) ){{0,2}}{_CAPITAL})*")
_AHEAD = 2  # words that introduce a name
_OPTION = re.compile(
    r"\W*(?:options?|choices?|answers?|statements?|items?|and|or|nor|than|is|are|not|to|for|with|"
    r"both|neither|either|from|in|by|of|like|as|选项|答案)\b|.*[:：]\s",
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


def find_sibling(body: str, earlier: Sequence[str]) -> str | None:
    """A word with the number that an earlier step is about: "of length 2", where each of the steps
    opens with "of length" and a number of its own."""
    keys = [_KEY.search(text[:_KEYED]) for text in (*earlier, body)]
    about = [(m[1], m[2]) for m in keys if m]
    if len(about) < len(keys) or len({*about}) < len(keys) or len({word for word, _ in about}) > 1:
        return None
    return next((m[0] for m in _KEY.finditer(body) if (m[1], m[2]) in about[:-1]), None)


def find_compared(title: str, body: str, earlier: Sequence[str], known: Prompt) -> str | None:
    """The name or version in the title of an earlier step that a step is set against: "similar to
    v3.0"; `earlier` holds titles."""
    for match in _COMPARES.finditer(body):
        word = match[1].rstrip(".")
        own = rf"(?<!\w){re.escape(word)}(?!\w)"
        if not re.search(own, title) and not known.says(word):
            if any(re.search(own, other) for other in earlier):
                return match[0]
    return None


def find_name(body: str, names: Collection[str], before: str) -> str | None:
    """The first name of `names` that `body` takes up from `before`, the text of earlier steps."""
    for name in sorted(names):
        here, there = _uses(name, body), _uses(name, before)
        if not here:
            continue
        wholes = {whole for whole, _ in there}
        same = any(a in b or b in a for a, _ in here[:1] for b in wholes)
        introduced = {ahead for _, ahead in there}
        if same and here[0][1] not in introduced:
            return name
    return None


def _uses(name: str, text: str) -> list[tuple[str, str]]:
    """Where a name stands: the whole name that it is a part of, and the words ahead of it."""
    found: list[tuple[str, str]] = []
    for match in re.finditer(rf"(?<!\w){name}(?!\w)", text):
        start = text.rfind("\n", 0, match.start()) + 1
        phrases = (m for m in _PHRASE.finditer(text, start) if m.end() >= match.end())
        whole = next(phrases, match)
        words = text[start : min(whole.start(), match.start())].split()
        found.append((whole[0].rstrip("."), " ".join(words[-_AHEAD:])))
    return found


def label_names(step: Step) -> list[str]:
    """What a step may be called in another step, the longest first."""
    text = re.sub(r"^[-*•+\s]+|\*\*|[:：.)\s]+$", "", step.label.text)
    names = {text, step.label.subject, step.label.text}
    return sorted((n for n in names if n), key=len, reverse=True)


def remove_names(body: str, names: Sequence[str]) -> str:
    """`body` without `names` where they stand as whole words."""
    for name in names:
        at = body.find(name)
        while at >= 0:
            end = at + len(name)
            before, after = body[at - 1 : at] if at else "", body[end : end + 1]
            if _is_word(before) or _is_word(after):
                at = body.find(name, at + 1)
            else:
                body = body[:at] + body[end:]
                at = body.find(name, at)
    return body


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def find_mentions(body: str, earlier: Step, known: Prompt) -> Iterator[str]:
    """The names of an earlier step that `body` says; a single letter not in words of `known`:
    "point B" where the prompt has a point B."""
    for name in label_names(earlier):
        if not re.search(r"[^\W\d_]", name) or name in ("a", "I"):
            continue
        # "A" may be the article, any other single letter is a label
        ahead = r"(?!\w|\s+[a-z\d])" if name == "A" else r"(?!\w)"
        uses = re.finditer(rf"([^\s(（]+\s)?(?<!\w){re.escape(name)}{ahead}", body)
        if any(len(name) > 1 or not _is_quoted(m, known) for m in uses):
            yield name


def _is_quoted(use: re.Match[str], known: Prompt) -> bool:
    """Whether the word ahead of a letter and the letter are the prompt's, and no option of it."""
    return bool(use[1] and not _OPTION.match(use[1]) and use[0].lower() in known.lower)


def _end(match: re.Match[str] | None) -> int:
    return match.end() if match else 0
