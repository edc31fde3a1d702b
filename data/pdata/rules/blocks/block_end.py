"""Where the last step of a block ends: at a mark, or by the form of the steps before it, with the
list, formula, code or table that it leads to; what concludes the trace is no part of it."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice, pairwise

from pdata.rules.blocks.conclusions import answers, concludes, follows_from_cases
from pdata.rules.blocks.labels import heading_level, is_heading
from pdata.rules.blocks.lines import (
    Line,
    belongs,
    goes_on_list,
    is_item,
    is_open,
    is_outside,
    is_set_item,
)
from pdata.rules.blocks.masks import is_display, shield

# a sign of a formula
_FORMULA = re.compile(r"[=$]|\\[([a-z]")
# a paragraph that is drawn from all steps, or is a part of the page by itself
_OF_ALL = re.compile(
    r"\W*(?:#|\*\*|---|</?think|\d|in all\b)|[^\n]*?(?:\b(?:answers?|total|sums?|cases|altogether|"
    r"overall|combin\w+|adding|conclu\w+|summary|options?|both (?:\w+ )?\w+s)\b|\\boxed|"
    r"答案|综上|总|选|共|合计|以上|上述|结论)",
    re.IGNORECASE,
)
# the number of a further item, at the end of a line
_COUNT_LEFT = re.compile(r"[.!?;。] +\(?\d{1,2}[.)]$")
# what goes on about the last thing that was said
_ADDS = re.compile(
    r"(?:Since|Then|Also|But|However|In (?:this|that|the) (?:\w+ )?case|Clearly|Similarly|Indeed|"
    r"Here)\b|此时|这时|其中|由于|另外"
)
# a case that was told goes on, or is divided
_OF_CASE = re.compile(
    r"\W*(?:as for (?:the )?(?:\w+ )?(?:option|choice|statement|case)\b|"
    r"(?:in|for) the (?:case (?:where|when|that|in which|of)|"
    r"(?:latter|former|second|other) case\b))|至于(?:选项|情况|[A-H]\b|第)|"
    r"(?:在|对于)?(?:前|后)(?:者|一种情况)",
    re.IGNORECASE,
)
_LEADS = re.compile(r"^(?![-*•+#\d|]).*[:：][*_ \t]*$", re.DOTALL)
# what heads a part of a step: Proof. 【答案】
_PART_HEAD = re.compile(r"[\s*_#]*(【\w{1,4}】|(?:[A-Z][a-z]+|证明|解析?|答案?)(?=[*_]*[.:：]))")
_SENTENCE = re.compile(r"(?<=[.!?])[ \t]+(?=\S)|(?<=[。！？])(?=[^\s\n”』」）)])|\n+")
# what the steps said before it does not hold: they are no list that is done
_TAKES_BACK = re.compile(
    r"\W*(?:(?:wait|hmm+|hold on|actually)\W+no\b|no\W+wait\b|(?:等等|等一下)?\W*不对)", re.I
)
# tags that close a post: #spring #travel
_TAGS = re.compile(r"\s*(?:#(?!\s|#)[^\s#]+[ \t]*)+$")
# how a line or a paragraph begins
_OPENING = re.compile(r"\s*([^\W\d_一-鿿]+|[一-鿿]{2})")
# the text so far asks for more: it leads to a list, or breaks off before a formula
_OPEN = re.compile(
    r"(?:[:：,，]|\b(?:including|such as|by|is|are|as|and|or|the|of|that|to))[*_ \t]*$"
)
_PARAGRAPH = re.compile(r"\n\s*\n")
_STOPPED = re.compile(r"[.!?;。！？；:：][*_\"”)’ \t]*$")
# a further part of the last step: its ③ after ②, its 2.1 after 2.
_NEXT_PARTS = {"(ii)": "(i)", "(iii)": "(ii)", "(b)": "(a)", "(c)": "(b)", "②": "①", "③": "②"}
_NEXT_PART = re.compile(r"[\s*_]*(\((?:iii?|[bc])\)|[②③])")
_PART_NUMBER = re.compile(r"[\s*_]*(\d{1,2})[.-]\d{1,2}[.)、]?\s*[^\W\d]")
# the start of a further item, and nothing else
_STUB = re.compile(
    r"[*_]*(?:(?P<sign>[-•+*])[ \t]|\(?(?P<number>\d{1,2})[.)、]|"
    r"(?:Third|Fourth|Fifth|Finally|Lastly)\b|第[三四五][，,、点]|最后[，,])[^.!?。！？\n]{0,30}$"
)
_BROKEN = re.compile(r"[\w,，、(（]\s*$")  # the end of a text that was cut off
_GOES_ON = re.compile(r"[ \t]*(?:[a-z,;.，。；]|其中|即|则)")


def last_end(lines: list[Line], run: list[int], closed: bool) -> int:
    """Where the last step ends: at the close mark, or by the form of the steps before it."""
    tagged = any(_TAGS.match(line.text) for line in lines[run[0] : run[-1]])
    if not tagged:  # else each step has tags of its own
        ends = (i for i in range(run[-1] + 1, len(lines)) if _TAGS.match(lines[i].text))
        lines = lines[: next(ends, len(lines))]
    rest = lines[run[-1] + 1 :]
    if closed:
        kept = [line.end for line in rest if not line.blank]
        # the close mark ends the block, unless a new paragraph came before it
        gap = any(a.blank and not b.blank for a, b in pairwise(rest))
        if kept and not gap:
            return kept[-1]
    counts = [_count_paragraphs(lines[a + 1 : b]) for a, b in pairwise(run)]
    if max(counts) > 1:
        often = Counter(counts).most_common()
        usual = min(n for n, k in often if k == often[0][1])
        if _ends_cases(rest, max(counts)):
            usual = max(counts)
        last = _last_of_paragraphs(lines, run[-1], usual, _openings(lines[run[0] : run[-1]]))
    else:
        last = _last_of_lines(lines, run)
    return lines[_take_belongings(lines, run[-1], last)].end


def _last_of_lines(lines: list[Line], run: list[int]) -> int:
    """The last line of a step of one paragraph, where the others have one too."""
    between = [[line for line in lines[a + 1 : b] if not line.blank] for a, b in pairwise(run)]
    label = lines[run[-1]]
    listed = any(belongs(line, label) for group in between for line in group)
    plain = [sum(not belongs(line, label) for line in group) for group in between]
    # without blank lines between the steps, the last one has as many lines as the others
    apart = all(lines[b - 1].blank for b in run[1:])
    left = len(lines) if apart and min(plain) else min(plain)
    if left < max(plain) and _ends_within(lines[run[-1] + 1 :], max(plain)):
        left = max(plain)
    lazy = any(is_outside(x, lines[a]) for a, g in zip(run, between, strict=False) for x in g)
    last = run[-1]
    for i in range(last + 1, len(lines)):
        goes_on = belongs(lines[i], label)
        if (
            lines[i].blank
            or (is_outside(lines[i], label) and not lazy)
            or (not goes_on and len(set(plain)) > 1 and concludes(lines[i].text))
            or (goes_on and not listed)
            or (not goes_on and not left)
        ):
            break
        left -= not goes_on
        last = i
    return last


def _ends_within(rest: list[Line], most: int) -> bool:
    """Whether a gap, a conclusion or the end of the text comes after at most so many lines."""
    ends = (i for i, x in enumerate(rest) if x.blank or concludes(x.text))
    return next(ends, len(rest)) <= most


def _ends_cases(rest: list[Line], most: int) -> bool:
    """Whether after at most so many paragraphs one says what follows from all cases."""
    starts = (b.text for a, b in pairwise(rest) if a.blank and not b.blank)
    return any(follows_from_cases(text) for text in islice(starts, most))


def _count_paragraphs(rest: list[Line]) -> int:
    """Paragraphs of a step whose first line stands before `rest`."""
    return 1 + sum(a.blank and not b.blank for a, b in pairwise(rest))


def _openings(lines: list[Line]) -> set[str]:
    """The words that the paragraphs of the other steps begin with."""
    after = (b.text for a, b in pairwise(lines) if a.blank and not b.blank)
    return {m[1] for m in map(_OPENING.match, after) if m}


def _last_of_paragraphs(lines: list[Line], label: int, paragraphs: int, usual: set[str]) -> int:
    """The last line of a step of at most so many paragraphs; a conclusion is not part of it, unless
    it begins as paragraphs of the other steps do, with a word of `usual`."""
    last, gap = label, False
    level = heading_level(lines[label].text) or 6
    for i in range(label + 1, len(lines)):
        line = lines[i]
        if line.blank:
            gap = True
            continue
        paragraphs -= gap
        if (
            not paragraphs
            or is_outside(line, lines[label])
            or is_heading(line.text, level)
            or (gap and concludes(line.text) and not _opens(line.text, usual))
        ):
            break
        last, gap = i, False
    return last


def _opens(text: str, openings: set[str]) -> bool:
    """Whether a text begins with one of these words."""
    match = _OPENING.match(text)
    return match is not None and match[1] in openings


def _take_belongings(lines: list[Line], label: int, last: int) -> int:
    """The last line with what it leads to: a list or a formula that the text asks for, the rest of
    a sentence that a formula breaks, what stands further in than the item's own line, further
    lines that begin as the one it leads to, and the rest of a list."""
    led, level = False, heading_level(lines[label].text)
    while (i := _next_line(lines, last)) is not None:
        line, before = lines[i], lines[last]
        gap = i > last + 1
        item = is_item(lines[label])
        further = item and line.indent > lines[label].indent and line.indent > 1
        opening = _OPENING.match(before.text)
        alike = led and not gap and _opens(line.text, {opening[1]} if opening else set())
        # under a heading, deeper ones and what stands right under them
        deeper = level and (heading_level(line.text) > level or is_heading(before.text))
        if is_heading(line.text, level or 6) or not (
            further
            or (deeper and last > label)
            or alike
            or (not item and goes_on_list(lines[label + 1 : i + 1]))
            or (is_item(line) and is_item(before) and gap is False and last > label
                and belongs(line, lines[label]))
            or (_OPEN.search(before.text) and (line.display or is_item(line) or not gap))
            or (line.display and not _STOPPED.search(before.text))
            or (before.display and _GOES_ON.match(line.text) and not answers(line.text))
        ):  # fmt: skip
            break
        led = alike or before.text.rstrip("*_ \t").endswith((":", "："))
        last = i
    return last


def _next_line(lines: list[Line], i: int) -> int | None:
    """The next line that says something."""
    return next((j for j in range(i + 1, len(lines)) if not lines[j].blank), None)


def is_cut_short(steps: Sequence[str], tail: str) -> bool:
    """Whether the last step may go on in `tail`, as nothing tells where it ends: a part stands
    there that the other steps have, or steps with formulas, which are uneven or whose last one is
    taken up, are followed by a paragraph that is not drawn from all of them."""
    others, after = steps[:-1], tail.lstrip()
    if not after:
        return _breaks_off(steps)
    if any(p.match(after) for p in (_TAKES_BACK, _OF_CASE)) or is_open(steps[-1]):
        return True
    head = _PART_HEAD.match(after)
    if head and all(head[1] in step for step in others) and head[1] not in steps[-1]:
        return True
    if _is_stub(after.rstrip(), steps[-1]) or _goes_on_in_parts(steps[-1], after):
        return True
    if _COUNT_LEFT.search(steps[-1]) or is_set_item(after):
        return True
    if 2 * sum(bool(_FORMULA.search(step)) for step in steps) < len(steps):
        return False
    counts = {len(_PARAGRAPH.split(step)) for step in others}
    uneven = len(counts) > 1 or (len(others) == 1 and counts != {1})
    uneven |= len(_PARAGRAPH.split(steps[-1])) > max(counts)
    return (uneven or bool(_ADDS.match(after))) and not _OF_ALL.match(_PARAGRAPH.split(after)[0])


def _goes_on_in_parts(last: str, after: str) -> bool:
    """Whether the text after the last step begins with a further part of it."""
    if part := _NEXT_PART.match(after):
        return _NEXT_PARTS[part[1]] in last
    number = _PART_NUMBER.match(after)
    return number is not None and bool(re.match(rf"\W*{number[1]}(?!\d)", last))


def _is_stub(after: str, last: str) -> bool:
    """Whether the text breaks off with the item after the last step."""
    if not (stub := _STUB.match(after)):
        return False
    own = re.match(r"\W*(\d{1,2})", last)
    if stub["number"]:
        return own is not None and int(stub["number"]) == int(own[1]) + 1
    return not stub["sign"] or last.lstrip().startswith(stub["sign"])


def _breaks_off(steps: Sequence[str]) -> bool:
    """Whether the text ends with a last step of few words and no end, or one that leads to more."""
    *others, last = steps
    if not all(map(_STOPPED.search, others)):
        return False
    stub = 2 * len(last) < min(map(len, others)) and _BROKEN.search(last)
    return bool(stub) or ("\n" not in last and is_open(last))


def leads_on(step: str) -> bool:
    """Whether a step ends with a paragraph that announces the next one."""
    *before, last = _PARAGRAPH.split(step)
    return bool(before) and not is_display(last) and bool(_LEADS.search(last))


def sentence_start(text: str, label: int, is_meant: Callable[[str], bool]) -> int:
    """Where the first sentence begins in a step that is meant, `len(text)` where there is none;
    `label` is where the step's own words begin."""
    starts = [label, *(m.end() for m in _SENTENCE.finditer(shield(text), label)), len(text)]
    sentences = ((a, b) for a, b in pairwise(starts) if is_meant(text[a:b]))
    return next(sentences, (len(text), 0))[0]
