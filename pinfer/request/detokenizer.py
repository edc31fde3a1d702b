"""Text while its tokens come in. A character whose bytes are not all there yet is not text."""

from collections.abc import Callable, Sequence

from pbranch.hf.segment_codec import INCOMPLETE

Decode = Callable[[Sequence[int]], str]


class Detokenizer:
    """Decodes one segment token by token. `text` only grows; `tail` may still change with the next
    token."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._pending: list[int] = []  # tokens of `tail`
        self.text, self.tail = "", ""

    def push(self, token: int) -> None:
        """Add a token."""
        self._pending.append(token)
        self.tail = self._decode(self._pending)
        if not self.tail.endswith(INCOMPLETE):
            self.text += self.tail
            self._pending, self.tail = [], ""
