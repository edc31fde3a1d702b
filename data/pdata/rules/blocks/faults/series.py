"""Whether steps are the whole of their series: it begins at its beginning, ends at its end, and no
other member of it is told around them."""

import re
from itertools import pairwise

from pdata.rules.blocks.conclusions import answers, concludes, follows, sees, sums_up
from pdata.rules.blocks.counted import Counted, find_count
from pdata.rules.blocks.labels import Kind, Label
from pdata.rules.blocks.lines import Line
from pdata.rules.blocks.masks import unshield
from pdata.rules.blocks.runs import ORDINALS, body_of, gaps
from pdata.rules.prompt import Prompt

_OPTION = re.compile(r"\W*(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer|选项)[ \t]*)?\(?([A-Z])\W*")
# a label that is a letter, whether or not a title follows it: A. (B) 选项C D项
_LETTERED = re.compile(
    r"\W*(?:(?:[Oo]ption|[Cc]hoice|[Ss]tatement|[Aa]nswer|选项)[ \t]*)?\(?([A-Z])"
    r"(?=[*_]*(?:[.):：、，,．）]|选?项|\W*$))"
)
# what a paragraph may say before it names what it is about
_TURN = (
    r"[\W_]*(?:(?:first(?:ly)?|second(?:ly)?|third(?:ly)?|fourth|next|then|now|and|also|okay|so|"
    r"finally|lastly|last|(?:to )?start(?:ing)? (?:with|from|off with)|begin(?:ning)? with|"
    r"let['’]?s|let (?:us|me)|i['’]ll|we|start|begin|with|look(?:ing)?|consider(?:ing)?|at|"
    r"take|check(?:ing)?|examin(?:e|ing)|analy[sz](?:e|ing)|(?:mov|go)(?:e|ing)? on|on|to|up is|"
    r"as for|for|regarding|what about|how about|there(?:['’]s| is)|comes|the|(?:an)?other|is|"
    r"first,?|one|option|choice|statement|answer|candidate|item)\b\W*|"
    r"(?:首先|其次|然后|接着|接下来|再次|最后|先看|再看|再来看|我们|来看|看|分析|至于|关于|对于|对|选项|"
    r"第[一二三四五六]个?|而|还有)[\s，,：:]*)*"
)
# the same, before a name: Starting with Oslo. Next is Rome. As for Ann,
_LEADS_IN = re.compile(
    r"\W*(?:(?:first(?:ly)?|second(?:ly)?|third(?:ly)?|next|then|finally|lastly|to start|now|"
    r"(?:let['’]s |let (?:us|me) |i['’]ll |we )?(?:start|begin)(?:ning|ing)? "
    r"(?:with|from|off with)|"
    r"as for|regarding|what about|how about|moving on to|on to|turning to)\b[,:]?\s*"
    r"(?:(?:up )?is |comes |up[,:]? |there(?:['’]s| is) |we have |for |(?:let['’]s |let me )?"
    r"(?:look at|consider|take|check) )?(?:the )?)"
    r"(?-i:([A-Z][\w’'-]*(?: [A-Z][\w’'-]*)*))(?=[.,:;]| (?:is|was|are|has|stands))",
    re.IGNORECASE,
)
_GOES_ON = re.compile(r"(?:\W*(?:[A-Za-z]\S*|[一-鿿]{2})){4}")  # what is told, not just listed


def is_part_of_series(
    lines: list[Line], labels: dict[int, Label], run: list[int], kind: Kind, prompt: Prompt
) -> bool:
    """Whether like items stand outside of the steps, or an unlike one among them."""
    texts = [labels[i].text for i in run]
    if _is_begun(next((x.text for x in reversed(lines[: run[0]]) if not x.blank), ""), texts[0]):
        return True
    if kind is Kind.counted and (
        _starts_late(lines, run[0], labels[run[0]]) or _changes_form(lines, labels, run)
    ):
        return True
    if _skips_letters(texts, prompt) or (kind is Kind.named and _mixes_letters(texts, prompt)):
        return True
    if kind in (Kind.named, Kind.titled) and _turns_to_like(lines, labels, run, prompt):
        return True
    return _tells_others(lines, labels, run, prompt)


def _starts_late(lines: list[Line], first: int, label: Label) -> bool:
    """Whether the first step is counted as a later one; letters may be those that are asked about,
    where nothing stands before them."""
    late = min(label.numbers) > 1
    letters = label.frame[0].endswith(("upper", "lower"))
    return late and not (letters and all(line.blank for line in lines[:first]))


def _changes_form(lines: list[Line], labels: dict[int, Label], run: list[int]) -> bool:
    """Whether the next item is counted in another form, as "3)" after "2." or 最后 after 第三; from
    the start again it is a list of its own."""
    for a, b in pairwise([*run, len(lines)]):
        for i in range(a + 1, b):
            count = None if i in labels else find_count(lines[i].text)
            if count is None or lines[i].indent > lines[a].indent + 1:
                continue
            if 1 in count.numbers:
                break
            other = Label(count.text, frame=count.frame, numbers=count.numbers)
            if (
                _may_count_on(labels[a], other)
                and not _is_drawn(lines[i:], other)
                and not any(_is_counted_as(x, count) for x in lines[: run[0]])
            ):
                return True
    return False


def _may_count_on(label: Label, other: Label) -> bool:
    """Whether `other` is the next item after one that is counted in another form: a bare number
    after a noun with one, another bare number, or a word after a word."""
    steps = gaps(label, other)
    if _is_in_words(label) or _is_in_words(other):
        return _is_in_words(label) and _is_in_words(other) and any(steps)
    styles = (label.frame[0], other.frame[0])
    bare = any(style.endswith(("digit", "upper", "lower")) for style in styles)
    # "Multiply by 3" counts nothing
    return 1 in steps and bare and not any(" " in style for style in styles)


def _is_counted_as(line: Line, count: Counted) -> bool:
    """Whether a line is an item of the list that is counted in this form."""
    other = find_count(line.text)
    return other is not None and other.frame == count.frame


def _is_in_words(label: Label) -> bool:
    """Whether words count a step: Second, 第二 首先."""
    return label.frame[0] in (*ORDINALS, "第") or label.frame[1] == "ordinal"


def _is_drawn(rest: list[Line], label: Label) -> bool:
    """Whether what begins here is drawn from the steps before it."""
    body = body_of(rest, label.text)
    return any(
        (answers(body), sees(body), concludes(body), follows(body), sums_up(label.text, body))
    )


def _mixes_letters(labels: list[str], prompt: Prompt) -> bool:
    """Whether letters from A on tell some steps, and other words the rest: A, B, Q, 文章."""
    letters = [m[1] if (m := _LETTERED.match(label)) else "" for label in labels]
    asks = len(re.findall(r"(?m)^Q[:：]", prompt.text)) > 1  # Q is the next question
    others = ("", "Q") if asks else ("",)
    return letters[:2] == ["A", "B"] and any(x in others for x in letters[2:])


def _skips_letters(labels: list[str], prompt: Prompt) -> bool:
    """Whether options are told by letters, and some that the prompt lists are left out."""
    options = [_OPTION.fullmatch(label) for label in labels]
    letters = [option[1] for option in options if option]
    if len(letters) < len(labels):
        return False
    left_out = {chr(n) for n in range(ord("A"), ord(max(letters)))} - {*letters}
    listed = [x for x in left_out if re.search(rf"(?<!\w){x}[\"')）]*\s*[:：.)．、]", prompt.text)]
    return len(listed) > (len(labels) > 2)  # one may have been spoken of before


def _is_begun(before: str, first: str) -> bool:
    """Whether the line before the steps has begun with the option before the first one."""
    option = _OPTION.fullmatch(first)
    if not option or option[1] == "A":
        return False
    letter = chr(ord(option[1]) - 1)
    return bool(re.search(rf"(?:[Oo]ption|[Cc]hoice|选项) ?\(?{letter}\b", before))


def _turns_to_like(
    lines: list[Line], labels: dict[int, Label], run: list[int], prompt: Prompt
) -> bool:
    """Whether the paragraph right before or after steps with names of the prompt turns in other
    words to a further name of it: Next, Oslo is ..."""
    named = [labels[i].subject for i in run if labels[i].subject]
    if len(named) < len(run):
        return False
    before = next((i for i in reversed(range(run[0])) if not lines[i].blank), -1)
    while before > 0 and not lines[before - 1].blank:
        before -= 1
    after = next((i for i in range(run[-1] + 1, len(lines)) if not lines[i].blank), -1)
    for i in (before, after):
        turn = _LEADS_IN.match(lines[i].text) if i >= 0 else None
        if turn and prompt.knows(turn[1]) and not any(turn[1] in x or x in turn[1] for x in named):
            return True
    return False


def _tells_others(
    lines: list[Line], labels: dict[int, Label], run: list[int], prompt: Prompt
) -> bool:
    """Whether some options of the prompt head the steps, and a paragraph near them turns to
    another option, in whatever words."""
    options = prompt.options
    if len(options) < 3:
        return False
    heads = [unshield(lines[i].text) for i in run]
    told = [{x for x, words in options.items() if _turns_to(head, x, words)} for head in heads]
    if sum(map(bool, told)) < max(2, len(run) - 1):
        return False
    here = set().union(*told)
    starts = [
        i
        for i, line in enumerate(lines)
        if not line.blank and (i == 0 or lines[i - 1].blank or i in labels)
    ]
    before = [i for i in reversed(starts) if i < run[0]]
    after = [i for i in starts if i > run[-1]]
    return any(_reaches(lines, near, options, here) for near in (before, after))


def _reaches(lines: list[Line], near: list[int], options: dict[str, str], here: set[str]) -> bool:
    """Whether one of the next paragraphs tells an option that is none of those `here`; where these
    are told again, another list begins, and so it does after two paragraphs on none."""
    others = 0
    for i in near:
        text = unshield(lines[i].text)
        ends = {x: _turns_to(text, x, words) for x, words in options.items()}
        turned = {x for x, end in ends.items() if end}
        if turned & here:
            return False
        if any(_GOES_ON.match(text[ends[x] :]) for x in turned) and not answers(text):
            return True
        others += 1
        if others > 1:
            return False
    return False


def _turns_to(text: str, letter: str, words: str) -> int:
    """Where the option is named that a paragraph begins with, 0 where it begins with none."""
    named = rf"[\W_]*{re.escape(words)}(?!\w)|" if len(words) > 2 and words.isascii() else (
        rf"[\W_]*{re.escape(words)}|" if len(words) > 1 and not words.isascii() else ""
    )  # fmt: skip
    pattern = (
        rf"(?i:{_TURN}(?:{named}[^\s\w]*(?-i:{letter})(?=[*_\"”]*(?:[.):：、，,）]|选?项))|"
        rf"(?:\S+\s){{0,4}}\((?-i:{letter})\)|"
        rf"[\W_]*(?:option|choice|statement|选项)\s*\(?(?-i:{letter})(?![a-z])))"
    )
    match = re.match(pattern, text)
    return match.end() if match else 0
