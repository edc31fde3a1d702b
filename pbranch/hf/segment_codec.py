"""Text of one segment <-> token ids, for any Hugging Face tokenizer. Knows no branches.

A segment stands alone: nothing is tokenised across a marker or a header/body seam, no prefix space
is added or lost, and a marker or a control token of the base, spelled in a text, is ordinary text.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

from pbranch.errors import ModelError
from pbranch.format.markers import MARKER_PATTERN

# Text before a segment, so that no tokenizer takes it for the start of a text; the others are
# for tokenizers that merge the first one with what follows.
_ANCHORS = ("\n", ".", "0", "\x01")
INCOMPLETE = "\ufffd"  # what decoders write for the bytes of a character that is not complete


class SegmentCodec:
    """Encodes and decodes segments of a text with `tokenizer`.

    control: read the base's control tokens where a text spells them, as a rendered prompt does.
    """

    def __init__(self, tokenizer: Any, control: bool = False) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(f"{type(tokenizer).__name__}: a fast tokenizer is expected")
        self.tokenizer = tokenizer
        self.control = [] if control else control_tokens(tokenizer)
        self._spelled = _compile(tuple(self.control))
        self._anchors = [(text, self._encode_run(text)) for text in _ANCHORS]
        # tokenizers of the sentencepiece kind put a space before the first word of any text, and
        # take it away again; some do only one of the two
        pieces = tokenizer.convert_ids_to_tokens(self._encode_run("a"))
        self._adds_space = pieces[0][:1] in ("▁", "Ġ", " ")
        self._strips_space = self._decode_run(self._encode_inside(" a")) != " a"
        whole = (anchor for text, anchor in self._anchors if self._decode_run(anchor) == text)
        self._anchor = next(whole, self._anchors[0][1])
        self._anchor_text = self._decode_run(self._anchor)
        self._bytes = _byte_tokens(tokenizer)

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
        text = self._decode_inside(list(ids))
        if INCOMPLETE not in text or self._bytes.keys().isdisjoint(ids):
            return text
        # decoders give up a whole run of bytes where one of its characters is not complete
        parts = []
        for is_bytes, run in groupby(ids, key=self._bytes.__contains__):
            if is_bytes:
                parts.append(bytes(self._bytes[i] for i in run).decode(errors="replace"))
            else:
                parts.append(self._decode_inside(list(run)))
        return "".join(parts)

    def _decode_inside(self, ids: list[int]) -> str:
        if not self._strips_space:
            return self._decode_run(ids)
        return self._decode_run([*self._anchor, *ids])[len(self._anchor_text) :]

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


def spelled_tokens(tokenizer: Any) -> re.Pattern[str]:
    """What finds a marker or a control token of the base where a text spells it."""
    return _compile(tuple(control_tokens(tokenizer)))


@lru_cache(maxsize=16)
def _compile(names: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile("|".join([MARKER_PATTERN.pattern, *map(re.escape, longest_first)]))


def _byte_tokens(tokenizer: Any) -> dict[int, int]:
    """Token id -> byte, for tokenizers that fall back to bytes (`<0x41>`); else empty."""
    ids = tokenizer.convert_tokens_to_ids([f"<0x{byte:02X}>" for byte in range(256)])
    letter = ids[0x41]
    if letter is None or tokenizer.decode([letter]) != "A" or len(set(ids)) < 256:
        return {}
    return {token: byte for byte, token in enumerate(ids)}


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
