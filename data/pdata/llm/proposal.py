"""What a model proposes for a trace: spans of its sentences as branches, and a few small edits.

The model says where branches begin and never copies them, so nothing can get lost. Builds the tree
and checks the form; whether the branches are independent is judged elsewhere.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from pbranch.format.tree import Fork, Segment, Trace, make_trace
from pdata.rules.blocks.labels import (
    MAX_WORDS,
    Kind,
    Label,
    count_words,
    find_labels,
    title_of,
)
from pdata.rules.blocks.masks import shield, whole
from pdata.rules.blocks.steps import Block, Step
from pdata.rules.blocks.topics import first_words
from pdata.rules.prompt import Prompt

MAX_TOPIC = 80  # characters, for scripts that put no spaces between words
# a line break and the indent of the next line, or the space after a sentence
_BREAK = re.compile(
    r"\n\s*|(?<=[a-z)\]}$\"”*][.!?])[ \t]+(?=[A-Z\d(\[\"“*$])|(?<=[。！？])[ \t]*(?=[^\s”’」』）])"
)
_NUMBER = re.compile(r"(?:(?<![\w)\]])[-−])?\d+(?:[.,]\d+)*")
_SIGN = re.compile(r"[+*/×÷·=≠<>≤≥≈^%√]|(?<=[\w)\]])\s*[-−]\s*(?=[\d(])")
_BULLET = re.compile(r"(?:[-*•+][ \t]+)?(?:(?:\d{1,3}[.)]|[A-Za-z]\)|\(\w{1,2}\))[ \t]+)?")
_BOLD = re.compile(r"\*\*[^*\n\d]{1,80}\*\*")
_TITLE_ALONE = re.compile(r"\W*(?:\*\*[^*\n]+\*\*\W*|[^\n.!?。]*[:：]\W*)")


class Fault(Exception):
    """A proposal that cannot be used. `reason` is a few fixed words, `detail` says what exactly."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class Edit:
    """`source`, which stands once in a branch, becomes `replacement`."""

    source: str
    replacement: str


@dataclass(frozen=True, slots=True)
class Branch:
    """Sentences `first` to `last`, counted from 1, under a topic."""

    topic: str
    first: int
    last: int
    edits: tuple[Edit, ...] = ()


def split_sentences(text: str) -> list[str]:
    """Sentences and lines with the space that follows each; joined they are `text` again."""
    cuts = [0, *(m.end() for m in _BREAK.finditer(text, len(text) - len(text.lstrip()))), len(text)]
    return [text[a:b] for a, b in pairwise(cuts) if b > a]


def build_trace(
    sentences: Sequence[str], proposal: Sequence[Sequence[Branch]], prompt: str
) -> tuple[Trace, list[Block], list[Block]]:
    """The tree of a proposal; each of its blocks, with the whole text before and after it; and the
    same blocks as the text has them, a list without titles where it tells none.

    Spans follow one another, in a block without a gap. Raises Fault where a branch begins or ends
    within code, a formula or a table, or is part of a longer list, where an edit does not fit or
    changes a number, or a topic does not announce its branch.
    """
    text = "".join(sentences)
    margin = text[: len(text) - len(text.lstrip())]  # branches begin with their topic
    parts: list[str | Segment | Fork] = [margin if proposal and proposal[0][0].first == 1 else ""]
    blocks, as_said = list[Block](), list[Block]()
    at, gap = 0, ""  # sentences that are in the tree, space that is still to come
    for branches in proposal:
        parts.append(gap + "".join(sentences[at : branches[0].first - 1]))
        block, said, gap = _build_block(sentences, branches, prompt)
        blocks.append(block)
        as_said.append(said)
        topics = tuple(step.label.text for step in block.steps)
        bodies = tuple(make_trace(step.text) for step in block.steps)
        parts.append(Fork(topics, bodies, block.separator))
        at = branches[-1].last
    parts.append(gap + "".join(sentences[at:]))
    return make_trace(*parts), blocks, as_said


def _build_block(
    sentences: Sequence[str], branches: Sequence[Branch], prompt: str
) -> tuple[Block, Block, str]:
    """The block, the block as the text has it, and the space after its last branch."""
    lead = "".join(sentences[: branches[0].first - 1])
    tail = "".join(sentences[branches[-1].last :])
    raw = ["".join(sentences[b.first - 1 : b.last]) for b in branches]
    _check_spans(lead, raw, tail, branches)
    raw = [text.lstrip() for text in raw]
    bodies = [text.rstrip() for text in raw]
    gaps = [text[len(body) :] for text, body in zip(raw, bodies, strict=True)]
    known = set(_NUMBER.findall(f"{prompt}\n{lead}"))
    branches = [
        replace(b, topic=_cut_copy(b.topic, body)) for b, body in zip(branches, bodies, strict=True)
    ]
    _check_topics([b.topic for b in branches], known)
    _check_names([b.topic for b in branches], bodies)
    steps, said = [], []
    for i, (branch, body) in enumerate(zip(branches, bodies, strict=True)):
        siblings = [b.topic for b in branches if b is not branch]
        edited = _edit(body, branch, known | {str(i + 1)}, siblings)
        topic, placed = _place_topic(branch.topic, edited)
        if not re.search(r"\w", placed[len(topic) :]) or _TITLE_ALONE.fullmatch(edited):
            raise Fault("empty body", f"branch {branch.topic!r} says nothing after its topic")
        if re.search(r"</?think>", edited) or edited.count("```") % 2:
            raise Fault("wrong span", f"branch {branch.topic!r} cuts a think or code block in two")
        subject = title_of(branch.topic, Prompt(prompt)).subject
        steps.append(Step(Label(topic, subject), placed))
        said.append(Step(Label(_bullet(edited)), edited))
    topics = [step.label.text for step in steps]
    if len({_fold(t) for t in topics}) < len(topics):
        raise Fault("equal topics", f"topics {', '.join(map(repr, topics))} are not distinct")
    separator = Counter(gaps[:-1]).most_common(1)[0][0]
    block = Block(Kind.titled, lead, tuple(steps), separator, gaps[-1] + tail)
    if all(map(_has_title, steps, said)):
        return block, block, gaps[-1]
    return block, replace(block, kind=Kind.bulleted, steps=tuple(said)), gaps[-1]


def _has_title(step: Step, said: Step) -> bool:
    """Whether the topic of a step is a title in the text itself."""
    after = said.text[len(step.label.text) :]
    return step.text == said.text and bool(re.match(r"\W*[:：\n]|\*\*", after))


def _check_spans(lead: str, texts: Sequence[str], tail: str, branches: Sequence[Branch]) -> None:
    """Raises Fault where a branch begins or ends within what is not cut, or where the branches are
    not all items of a list and nothing else."""
    text, at, starts = "".join((lead, *texts, tail)), len(lead), list[int]()
    for branch, span in zip(branches, texts, strict=True):
        start = at + len(span) - len(span.lstrip())
        end = at + len(span.rstrip())
        if whole(text, start) != start or whole(text, end) != end:
            raise Fault("wrong span", f"branch {branch.topic!r} begins or ends within code or math")
        starts.append(start)
        at += len(span)
    items = [_find_item(text, start) for start in starts]
    before = lead.rstrip()
    around = [len(text) - len(tail.lstrip())]
    if before:  # its last line, and its last paragraph
        around += [len(before) - len(before.rpartition(gap)[2]) for gap in ("\n", "\n\n")]
    if any(items) and (len(set(items)) > 1 or items[0] in [_find_item(text, i) for i in around]):
        raise Fault("part of a list", "all items of a list are branches, or none, and nothing else")


def _find_item(text: str, at: int) -> tuple[Kind, tuple[str, str]] | None:
    """How the list counts or marks its items of which one begins here, None where none does."""
    start = text.rfind("\n", 0, at) + 1
    if text[start:at].strip():
        return None
    line = text[start:].partition("\n")[0]
    labels = find_labels(shield(line), Prompt(""))
    kind = next((kind for kind in (Kind.counted, Kind.bulleted) if kind in labels), None)
    return (kind, labels[kind][0].frame) if kind else None


def _bullet(body: str) -> str:
    return _BULLET.match(body)[0]  # type: ignore[index]


def _fold(topic: str) -> str:
    return " ".join(re.findall(r"\w+", topic.casefold())) or topic


def _cut_copy(topic: str, body: str) -> str:
    """A topic that copies the beginning of its branch, and is too long for one: its first words, up
    to the first number or stop."""
    copies = body.removeprefix(_bullet(body)).startswith(topic.rstrip("."))
    return (copies and count_words(topic) > MAX_WORDS and first_words(topic)) or topic


def _check_topics(topics: Sequence[str], known: set[str]) -> None:
    """Raises Fault at a topic that is no short title, or holds a number that is not known yet."""
    firsts = [_NUMBER.search(topic) for topic in topics]
    counting = [int(m[0]) if m and m[0].isascii() and m[0].isdigit() else None for m in firsts]
    steady = all(a is not None and b == a + 1 for a, b in pairwise(counting))
    for topic, count in zip(topics, counting, strict=True):
        words = count_words(topic)
        if not words or words > MAX_WORDS or len(topic) > MAX_TOPIC or "\n" in topic:
            raise Fault("unfit topic", f"topic {topic!r:.100}: expected 1 to {MAX_WORDS} words")
        counted = {str(count)} if steady else {str(n + 1) for n in range(len(topics))}
        if told := [n for n in _NUMBER.findall(topic) if n not in known | counted]:
            raise Fault(
                "unfit topic", f"topic {topic!r} tells {told[0]}, which nobody knows before"
            )


def _check_names(topics: Sequence[str], bodies: Sequence[str]) -> None:
    """Raises Fault at a topic that has more words of another branch than of its own."""
    texts = [set(_fold(body).split()) for body in bodies]
    for i, topic in enumerate(topics):
        shared = [len(text.intersection(_fold(topic).split())) for text in texts]
        best = max(range(len(shared)), key=shared.__getitem__)
        if shared[best] > shared[i]:
            raise Fault("unfit topic", f"topic {topic!r} of branch {i + 1} names branch {best + 1}")


def _place_topic(topic: str, body: str) -> tuple[str, str]:
    """(topic, body) where the body begins with the topic, which is put there if need be.

    What stands before it becomes a part of it: a bullet, a number, or the words of its title. A
    title in bold type that the body begins with is the topic, whatever the model calls it.
    """
    at = body.find(topic)
    before, after = body[: max(at, 0)], body[at + len(topic) :]
    titled = re.match(r"(?:\*\*)?\s*[:：]", after) and not re.search(r"[\d:：\n]", before)
    listed = not re.search(r"[^\W\d_]|\n", before)
    if at >= 0 and (listed or (titled and count_words(before + topic) <= MAX_WORDS)):
        bold = re.match(r"[:：]?\*\*", after) if (before + topic).count("**") % 2 else None
        return before + topic + (bold[0] if bold else ""), body
    bullet = _bullet(body)
    if own := _BOLD.match(body, len(bullet)):
        return f"{bullet}{own[0]}", body
    return f"{bullet}{topic}", f"{bullet}{topic}: {body[len(bullet) :]}"


def _edit(body: str, branch: Branch, known: set[str], siblings: Sequence[str]) -> str:
    """`body` with the branch's edits. Numbers stay, save in siblings' topics; new ones are known.

    Which words mean the same is beyond this check; numbers and signs of calculations are not.
    """
    if not branch.edits:
        return body
    edited = body
    for edit in branch.edits:
        count = edited.count(edit.source) if edit.source else 0
        if count != 1:
            raise Fault("edit does not fit", f"source {edit.source!r:.80} stands {count} times in "
                        f"branch {branch.topic!r}, expected once")  # fmt: skip
        edited = edited.replace(edit.source, edit.replacement)
    kept, found_now = (_NUMBER.findall(_without(text, siblings)) for text in (body, edited))
    rest = iter(found_now)
    wrong = [*(n for n in found_now if n not in kept and n not in known),
             *(n for n in kept if n not in rest)]  # fmt: skip
    if wrong or _signs(body) != _signs(edited):
        what = wrong[0] if wrong else "a sign of a calculation"
        raise Fault("edit changes a number", f"the edits of branch {branch.topic!r} change {what}")
    return edited


def _without(text: str, topics: Sequence[str]) -> str:
    for topic in topics:
        if re.search(r"[^\W\d_]", topic):
            text = re.sub(rf"(?<!\w){re.escape(topic)}(?!\w)", "", text)
    return text


def _signs(text: str) -> list[str]:
    return [sign.strip() for sign in _SIGN.findall(text)]
