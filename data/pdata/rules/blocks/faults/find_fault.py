"""Why a run of steps is no block by its form: like lines are left out, or people talk in turn."""

import re
from itertools import pairwise, takewhile

from pdata.rules.blocks.conclusions import concludes, draws, goes_further, sees, sums_up
from pdata.rules.blocks.faults.records import is_record
from pdata.rules.blocks.faults.series import is_part_of_series
from pdata.rules.blocks.labels import STYLED, Kind, Label, heading_level
from pdata.rules.blocks.lines import Line, belongs, is_set_item, item_numbers
from pdata.rules.blocks.masks import unshield
from pdata.rules.blocks.runs import (
    ORDINALS,
    announces,
    body_of,
    gaps,
    goes_on_within,
    is_bare,
    is_pattern,
    leads,
)
from pdata.rules.blocks.titles import closes, is_part, is_title
from pdata.rules.prompt import Prompt

PART = "part of a list"
NO_END = "no clear end"
_OPENS = re.compile(
    r"[#\s*\d.]*(?:introduction|overview|background|abstract|引言|简介|概述|前言)", re.IGNORECASE
)
_ENDS = re.compile(
    r"[#\s*\d.]*(?:conclusion|summary|final|closing|references|sources|notes?|tips|"
    r"additional|faq|结语|总结|结论|参考|注意)",
    re.IGNORECASE,
)
_FINAL = re.compile(r"[-*_#\s\d.、()]*(?:final|finally|最终)", re.IGNORECASE)
_ASKS_FOR_TALK = re.compile(
    r"\b(?:dialogues?|dialogs?|conversations?|interviews?|scripts?|screenplays?|skits?|debates?|"
    r"chats?|(?:calls?|talks?|discussions?) between|role[- ]?play|scenes?)\b|"
    r"\b(?:two|three|2|3) (?:hosts|speakers)\b|对话|剧本|台词|采访|访谈|小品|相声|聊天|脚本",
    re.IGNORECASE,
)
_SPEAKS = re.compile(
    r"\b(?:I|you|we|your|my|our|us|me)\b|[!?！？]|你|我|您|咱|[\"“]", re.IGNORECASE
)
_ASIDE = re.compile(r"\W*[(（][^()（）]*[)）]\W*")  # how something is said
_CONCEDES = re.compile(r"even (?:if|though|so)\b|即使|即便|就算", re.IGNORECASE)
# each step a task that is set, and not its outcome
_SETS_OUT = re.compile(
    r"(?:(?:we|you|i|one) (?:will |would )?(?:need|have|want|must|should)|"
    # of things that are looked at side by side, this is just how one begins
    r"let(?:['’]?s| us)(?! (?:consider|look|take|examine|discuss))|"
    r"(?:我们|你|您)?(?:需要|要|应该|必须|得))\b|(?:我们|你|您)?(?:需要|要|应该|必须)",
    re.IGNORECASE,
)
# between "first" and "second", an item that another word counts
_GOES_ON = re.compile(r"\s*(?:(?:Then|Next|After that|Afterwards)\b|然后|接着|接下来|随后)")
# of up to three words, and something after it
_SHORT_TITLE = re.compile(r"[ \t]*(?:[-*•+][ \t]+)?(\w[\w'’-]*(?: [\w'’-]+){0,2}):[ \t]+\S")
_TITLE_ALONE = re.compile(
    r"(?:\*\*)?(?:[A-Z][\w'’-]*(?: [\w'’-]+){0,3}|[一-鿿]{2,16})[:：](?:\*\*)?\s*$"
)
# a title that asks, alone on its line
_QUESTION = re.compile(
    r"(?:\*\*)?(?:How|What|Why|When|Where|Who)\b[^.,;!\n]{3,60}[:：?](?:\*\*)?\s*$"
)
# parts of one piece of writing
_PIECE = re.compile(r"\W*(?:Verse|Stanza|Chorus|Bridge|Act|Scene|Panel|Paragraph)\b")
# a title that says that its step comes after another
_IN_TURN = re.compile(
    r"\W*\w{1,3}\W+(?:next|then|now|finally|afterwards)\b|\W*\d+\W*(?:然后|接着|接下来|随后|最后)",
    re.I,
)
# how the line under a title begins, which is no item of a list
_SECOND = re.compile(r"\s*([^\w\s*+\-•·#]+\w{0,2}|[^\W\d]\w*)")
_FIELD = re.compile(r"\s*=\s*[\"'\[{]")  # a value in a record or in code
_ANSWERED = re.compile(r"[?？]\s*(?:(?:Yes|No)\b|是的?[，。]|不是[，。]|否[，。])")
# an item that stands for those left out
_AND_SO_ON = re.compile(
    r"\W*(?:(?:and )?so (?:on|forth)\b|etc\b|(?:以此|依此|依次)类推|等等\W*$)|\s*(?:\.{3}|…)",
    re.IGNORECASE,
)
_NAMED = (Kind.titled, Kind.named, Kind.bold, Kind.headed)


def find_fault(
    lines: list[Line], labels: dict[int, Label], run: list[int], kind: Kind, prompt: Prompt
) -> str | None:
    """What speaks against the steps of `run`, None where nothing does."""
    if kind is Kind.marked:
        return None
    if _is_torn(lines, labels, run, kind) or is_part_of_series(lines, labels, run, kind, prompt):
        return PART
    if announces(lines, labels, run):
        return PART
    if any(_AND_SO_ON.match(body_of(lines[i:], "")) for i in run) or _asks_titled(lines, run, kind):
        return PART
    if kind in (Kind.heading, Kind.headed, Kind.bold) and _counts_on(lines, run):
        return PART
    last = labels[run[-1]]
    if kind is Kind.counted and any(_IN_TURN.match(labels[i].text) for i in run[1:]):
        return "dependent steps"
    if _PIECE.match(last.text):
        return "dependent steps"
    if kind in (Kind.counted, Kind.heading, Kind.bold) and draws(last.text):
        return "dependent steps"
    if last.frame[0] in ORDINALS and (fault := _find_thought(lines, labels, run)):
        return fault
    if is_record(lines, run, prompt):
        return "fields of one record"
    speakers = kind in _NAMED or (kind is Kind.counted and last.text[:1].isalpha())
    if (speakers or _alternate(lines, run)) and _is_talk(lines, labels, run, prompt):
        return "dialogue"
    if kind is Kind.named and all(_FIELD.match(lines[i].text, len(labels[i].text)) for i in run):
        return "no steps"
    if kind is Kind.named and not is_pattern(lines, labels, run):
        return "no steps"
    return None


def _counts_on(lines: list[Line], run: list[int]) -> bool:
    """Whether the items in a step are counted on from those of the step before it: one list, and a
    step could not know where it starts."""
    numbers = [item_numbers(lines[a + 1 : b]) for a, b in pairwise([*run, len(lines)])]
    return any(a and b and b[0] == a[-1] + 1 for a, b in pairwise(numbers))


def _asks_titled(lines: list[Line], run: list[int], kind: Kind) -> bool:
    """Whether a question heads a part among steps under titles, as in "How it works:"."""
    if kind is not Kind.headed:
        return False
    inside = (x for x in range(run[0] + 1, run[-1]) if x not in run and lines[x - 1].blank)
    return any(_QUESTION.match(lines[i].text) for i in inside)


def _find_thought(lines: list[Line], labels: dict[int, Label], run: list[int]) -> str | None:
    """What makes steps that words count one line of thought."""
    if any(_GOES_ON.match(lines[i].text) for i in range(run[0], run[-1]) if i not in run):
        return PART
    next_one = next((b.text for a, b in pairwise(lines[run[-1] :]) if a.blank and not b.blank), "")
    if goes_further(next_one):
        return PART
    said = [body_of(lines[i:], labels[i].text) for i in run]
    if any(map(_CONCEDES.match, said[1:])):
        return "dependent steps"
    if _asks(lines, run) or sees(said[-1]) or all(map(_SETS_OUT.match, said)):
        return "dependent steps"
    return None


def _is_torn(lines: list[Line], labels: dict[int, Label], run: list[int], kind: Kind) -> bool:
    """Whether a like line stands next to the steps, but is none of them; one that sums them up may,
    unless it is the last step of one line of thought."""
    if kind is Kind.heading:
        return _is_torn_heading(lines, run, len(labels[run[0]].frame[0]))
    order = sorted(labels)
    first, last = order.index(run[0]), order.index(run[-1])
    before = order[first - 1] if first else None
    if before is not None and (
        is_bare(lines[before], labels[before]) or leads(lines, before, run[0])
    ):
        before = None  # it heads the steps
    after = order[last + 1] if last + 1 < len(order) else None
    if kind is Kind.counted:
        torn = before is not None and 1 in gaps(labels[before], labels[run[0]])
        steps = gaps(labels[run[-1]], labels[after]) if after is not None else set()
        left_out = 1 in steps or (
            labels[run[0]].frame[0] in ORDINALS
            and after is not None
            and min(labels[after].numbers) > 1
        )
        torn |= _is_miswritten(lines, labels, run)
        torn |= goes_on_within(lines, labels, run[0], before)
        torn |= goes_on_within(lines, labels, run[-1], after)
    elif kind is Kind.titled and _goes_on_titled(lines, run):
        return True
    elif kind is Kind.headed and (_goes_on_headed(lines, run) or _is_built_alike(lines, run)):
        return True
    elif kind in STYLED or kind is Kind.titled:
        torn = before is not None and _are_neighbours(lines, before, run[0])
        left_out = after is not None and _are_neighbours(lines, run[-1], after)
    else:
        return False
    if torn or not left_out or after is None:
        return torn
    title = labels[after].text
    return not sums_up(title, body_of(lines[after:], title)) or bool(_FINAL.match(title))


def _is_miswritten(lines: list[Line], labels: dict[int, Label], run: list[int]) -> bool:
    """Whether the next item is counted by the same noun but written otherwise: case 3."""
    noun = labels[run[0]].frame[0]
    if not re.fullmatch(r"[A-Z]\w{2,}", noun):
        return False
    item = re.compile(rf"\W*{noun} \(?(?:\d+|[a-z]|[ivx]+)\)?\s*[:：.–-]", re.IGNORECASE)
    return any(i not in labels and item.match(lines[i].text) for i in range(run[-1], len(lines)))


def _goes_on_titled(lines: list[Line], run: list[int]) -> bool:
    """Whether the line before or after steps with short titles has such a title as well, though the
    prompt does not know it."""
    if not all(_SHORT_TITLE.match(lines[i].text) for i in run):
        return False
    before = next((i for i in reversed(range(run[0])) if not lines[i].blank), None)
    after = next((i for i in range(run[-1] + 1, len(lines)) if not lines[i].blank), None)
    titles = (_SHORT_TITLE.match(lines[i].text) for i in (before, after) if i is not None)
    return any(title and not closes(title[1]) for title in titles)


def _goes_on_headed(lines: list[Line], run: list[int]) -> bool:
    """Whether a further title with its text right under it comes after steps of that form, though
    its words may name a phase of a work elsewhere: Financial plan:"""
    rest = list(takewhile(lambda x: not heading_level(x.text), lines[run[-1] + 1 :]))
    mine = {lines[i].text.strip() for i in run}  # the same ones again are another list
    under = all(not lines[i + 1].blank for i in run if i + 1 < len(lines))
    titles = (
        b.text for (a, b), c in zip(pairwise(rest), rest[2:], strict=False) if a.blank > c.blank
    )
    return under and any(
        _TITLE_ALONE.match(x)
        and not (x.strip() in mine or closes(x) or is_part(x) or _ENDS.match(x) or concludes(x))
        for x in titles
    )


def _is_built_alike(lines: list[Line], run: list[int]) -> bool:
    """Whether the paragraph before steps under titles goes on as each of them does, on its second
    line: its first one is a title without a colon."""
    first = next((i for i in reversed(range(run[0])) if not lines[i].blank), None)
    while first and not lines[first - 1].blank:
        first -= 1
    if first is None or not is_title(lines[first].text) or run[-1] + 1 == len(lines):
        return False
    starts = [_SECOND.match(lines[i + 1].text) for i in (first, *run)]
    return all(starts) and len({m[1] for m in starts if m}) == 1


def _is_torn_heading(lines: list[Line], run: list[int], level: int) -> bool:
    """Whether a heading of the same level, that neither opens nor closes the page, stands next to
    the steps."""
    levels = [(i, heading_level(x.text)) for i, x in enumerate(lines) if heading_level(x.text)]
    before = next(((i, n) for i, n in reversed(levels) if i < run[0] and n <= level), None)
    after = next(((i, n) for i, n in levels if i > run[-1] and n <= level), None)
    opened = before is None or before[1] < level or _OPENS.match(lines[before[0]].text)
    if after is None or after[1] < level:
        return not opened
    text = lines[after[0]].text
    return not opened or not (_ENDS.match(text) or closes(text) or sums_up(text, ""))


def _are_neighbours(lines: list[Line], a: int, b: int) -> bool:
    """Whether nothing stands between two lines but what belongs to the first by its form, or an
    item like it with another bullet."""
    between = (x for x in lines[a + 1 : b] if not x.blank)
    return all(belongs(x, lines[a]) or is_set_item(unshield(x.text)) for x in between)


def _asks(lines: list[Line], run: list[int]) -> bool:
    """Whether most steps ask themselves something, as one line of thought does; a question that is
    answered with yes or no right away is done with."""
    open_ = (_ANSWERED.sub("", lines[i].text) for i in run)
    return sum("?" in text or "？" in text for text in open_) > len(run) / 2


def _alternate(lines: list[Line], run: list[int]) -> bool:
    """Whether items begin with names that come again in turn, as in "- Ann: …", "- Bob: …"."""
    names = [match[1] if (match := _SHORT_TITLE.match(lines[i].text)) else "" for i in run]
    return len(run) > 2 and all(names) and names[2:] == names[:-2]


def _is_talk(lines: list[Line], labels: dict[int, Label], run: list[int], prompt: Prompt) -> bool:
    """Whether the steps are turns of people who talk to one another, each an answer to the last."""
    if any(prompt.lists(labels[i].subject) for i in run):
        return False
    bodies = ([x for x in lines[i:] if not _ASIDE.fullmatch(x.text)] for i in run)
    said = [body_of(body, labels[i].text) for i, body in zip(run, bodies, strict=True)]
    spoken = sum(bool(_SPEAKS.search(text)) for text in said)
    if _ASKS_FOR_TALK.search(prompt.text) and 2 * spoken >= len(said):
        return True
    asked = any(re.search(r"[?？]", text) for text in said[:-1])
    marked = any(lines[i].text.lstrip()[:1] in "-*•+" and lines[i].text.lstrip()[:2] != "**"
                 for i in run)  # fmt: skip
    counted = any(labels[i].numbers for i in run)
    return asked and not (marked or counted) and spoken == len(said)
