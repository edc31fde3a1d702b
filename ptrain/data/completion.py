"""A completion as it goes on from its prompt: without what the chat format writes around it.

Exports often hold the tag that opens the thinking, the turn's header, or the token that ends it.
The prompt or the trainer writes those, so a trace that holds them too would be taught them twice.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pbranch.errors import DataError
from pbranch.format.tree import Fork, Segment, Trace, make_trace, plain_text
from pbranch.hf.segment_codec import SegmentCodec

_OPEN = r"(?:<(?:\w+:)?think(?:ing)?>|\[THINK\])"
_CLOSE = r"(?:</(?:\w+:)?think(?:ing)?>|\[/THINK\])"
_OPENED = re.compile(rf"{_OPEN}\s*\Z")  # at the end of a prompt
_CLOSED = re.compile(rf"{_CLOSE}\s*\Z")
_OPENS = re.compile(rf"\s*{_OPEN}")  # at the start of a completion
_TAGS = re.compile(rf"(?P<open>{_OPEN})|{_CLOSE}")
_EMPTY = re.compile(rf"\s*{_OPEN}\s*{_CLOSE}\s*")
TAIL = 24  # tokens of a prompt that may be what opens the answer

OPENING = "begins as its prompt ends, which is left off"
ENDING = "ends with an end token of the base, which is left off"
SPELLED = "spells control tokens of the base, trained as plain text"


class ThinkError(DataError):
    """A block of thinking that prompt and completion do not open and close once. Training on it
    would teach answers that no reader finds, or thinking that never ends."""

    reason = "think block not whole"


class CompletionCleaner:
    """What is trained of a trace, for one tokenizer; end_id: the token that ends a turn."""

    def __init__(self, tokenizer: Any, codec: SegmentCodec, end_id: int) -> None:
        self.tokenizer = tokenizer
        tokens = [tokenizer.decode([end_id]), tokenizer.eos_token, tokenizer.pad_token]
        ends = "|".join(re.escape(text) for text in dict.fromkeys(tokens) if text)
        self._ends = re.compile(rf"(?:(?:{ends})\s*)+\Z")
        tags = [*map(re.escape, codec.control), _OPEN, _CLOSE]
        self._tag = re.compile("|".join(tags))
        self._control = re.compile("|".join(map(re.escape, codec.control)) or r"(?!)")

    def __call__(self, trace: Trace, prompt_ids: Sequence[int]) -> tuple[Trace, tuple[str, ...]]:
        """The trace behind that prompt, and what was noted. Raises ThinkError where its thinking is
        not whole, DataError where nothing is left."""
        prompt = self.tokenizer.decode(
            prompt_ids[-TAIL:], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        notes = []
        opened = self._drop_opening(trace, prompt)
        notes += [OPENING] * (opened != trace)
        ended = self._drop_ends(opened)
        notes += [ENDING] * (ended != opened)
        text = plain_text(ended)
        if not text.strip():
            raise DataError("the completion is empty but for tokens of the chat format")
        check_thinking(prompt, text)
        notes += [SPELLED] * bool(self._control.search(text))
        return ended, tuple(notes)

    def _drop_opening(self, trace: Trace, prompt: str) -> Trace:
        """Without what the prompt's end has written already, from a tag or control token on."""
        lead = trace.lead
        for tag in self._tag.finditer(prompt):
            written = prompt[tag.start() :]
            pattern = r"\s*".join(map(re.escape, written.split()))
            if found := re.match(rf"\s*{pattern}", lead):
                rest, gap = lead[found.end() :], len(written) - len(written.rstrip())
                gap = min(gap, len(rest) - len(rest.lstrip()))
                return make_trace(rest[gap:], *trace.parts[1:])
        if _CLOSED.search(prompt) and (found := _EMPTY.match(lead)):
            return make_trace(lead[found.end() :], *trace.parts[1:])
        return trace

    def _drop_ends(self, trace: Trace) -> Trace:
        *others, last = trace.parts or ("",)
        if isinstance(last, Segment):
            return make_trace(*others, self._ends.sub("", last.text))
        if isinstance(last, Fork):
            *before, branch = last.branches
            last = replace(last, branches=(*before, self._drop_ends(branch)))
            return make_trace(*others, last)
        return trace


def check_thinking(prompt: str, text: str) -> None:
    """Raises ThinkError unless `text`, behind the end of its prompt, closes the block that either
    of them opens. Later blocks are whole, too; in an answer without thinking, tags that open one
    are words like others."""
    opens, closes = _OPENS.match(text), re.search(_CLOSE, text)
    opened = bool(_OPENED.search(prompt))
    if opened:
        if not closes:
            raise ThinkError(
                "the prompt opens a think block and the completion never closes it; expected "
                "</think> in it, or a template that opens none (template_args, chat_template)"
            )
    elif _CLOSED.search(prompt):
        if opens or closes:
            raise ThinkError(
                "the prompt has closed its think block and the completion has another; expected "
                "no thinking, or a template that leaves it open (template_args, chat_template)"
            )
    elif opens and not closes:
        raise ThinkError("the completion opens a think block and never closes it")
    elif closes and not opens:
        raise ThinkError("the completion closes a think block that nothing opens")
    if opened or opens:
        _check_blocks(text, opened)


def _check_blocks(text: str, inside: bool) -> None:
    """Raises ThinkError unless blocks open and close by turns. inside: one is open before."""
    for tag in _TAGS.finditer(text):
        if bool(tag["open"]) == inside:
            what = "opens a think block within another" if inside else "closes a think block twice"
            raise ThinkError(f"the completion {what}")
        inside = not inside
    if inside:
        raise ThinkError("the completion opens a think block and never closes it")
