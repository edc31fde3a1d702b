"""Text of one segment <-> token ids, for any Hugging Face tokenizer. Knows no branches.

A segment stands alone: nothing is tokenised across a marker or a header/body seam, no prefix space
is added or lost, and a marker or a control token of the base, spelled in a text, is ordinary text.
"""

import re
from collections.abc import Sequence
from typing import Any

from pbranch.errors import ModelError
from pbranch.format.markers import MARKER_PATTERN

# Text before a segment, so that no tokenizer takes it for the start of a text; the others are
# for tokenizers that merge the first one with what follows.
_ANCHORS = ("\n", ".", "0", "\x01")


class SegmentCodec:
    """Encodes and decodes segments of a text with `tokenizer`.

    control: read the base's control tokens where a text spells them, as a rendered prompt does.
    """

    def __init__(self, tokenizer: Any, control: bool = False) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(f"{type(tokenizer).__name__}: a fast tokenizer is expected")
        self.tokenizer = tokenizer
        self.control = [] if control else control_tokens(tokenizer)
        names = sorted(self.control, key=len, reverse=True)
        self._spelled = re.compile("|".join([MARKER_PATTERN.pattern, *map(re.escape, names)]))
        self._anchors = [(text, self._encode_run(text)) for text in _ANCHORS]
        self._anchor_text = self._decode_run(self._anchors[0][1])
        # tokenizers of the sentencepiece kind put a space before the first word of any text
        pieces = tokenizer.convert_ids_to_tokens(self._encode_run("a"))
        self._adds_space = pieces[0][:1] in ("▁", "Ġ", " ")

    def _encode_run(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def encode(self, text: str) -> list[int]:
        """Ids of `text` in the middle of a sequence; spelled tokens are split, then encoded."""
        ids: list[int] = []
        for run in split_markers(text, self._spelled):
            ids += self._encode_inside(run) if self._adds_space else self._encode_run(run)
        return ids

    def _encode_inside(self, run: str) -> list[int]:
        for text, anchor in self._anchors:
            anchored = self._encode_run(text + run)
            if anchored[: len(anchor)] == anchor:
                return anchored[len(anchor) :]
        return self._encode_run(run)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids` in the middle of a sequence; special tokens have no text."""
        if not ids:
            return ""
        ids = list(ids)
        if not self._adds_space:
            return self._decode_run(ids)
        return self._decode_run([*self._anchors[0][1], *ids])[len(self._anchor_text) :]

    def _decode_run(self, ids: list[int]) -> str:
        return self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )


# tags around what a model thinks are text that it writes, whatever kind of token a base makes them
_THINK = re.compile(r"\W*(?:\w+:)?think(?:ing)?\W*", re.IGNORECASE)


def control_tokens(tokenizer: Any) -> list[str]:
    """Spellings of the tokens that control a conversation (a turn's start and end, padding), which
    no text may become; without our markers, and without the tokens that decode to text."""
    known = tokenizer.added_tokens_decoder.values()
    found = (token.content for token in known if token.special)
    ours = (MARKER_PATTERN, _THINK)
    return [text for text in found if len(text) > 1 and not any(p.fullmatch(text) for p in ours)]


def split_markers(text: str, pattern: re.Pattern[str] = MARKER_PATTERN) -> list[str]:
    """Runs of `text` none of which spells what `pattern` finds: each marker is cut after its first
    two letters (one, where it has but two).

    Joined, they are `text`; encoded one by one, no tokenizer finds a marker in them.
    """
    runs, start = [], 0
    while found := pattern.search(text, start):
        cut = found.start() + min(2, len(found[0]) - 1)
        runs.append(text[start:cut])
        start = cut
    return [*runs, text[start:]] if text[start:] else runs
