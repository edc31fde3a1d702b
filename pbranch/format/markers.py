"""The six markers of the branch format: their spelling, and their ids in a tokenizer.

The only file that spells a marker. Everything else names a `Role` or holds a `MarkerIds`.
"""

import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from pbranch.errors import MarkerError

FORMAT_VERSION = 1


class Role(StrEnum):
    """What a marker does; the value is the key under which an adapter stores it."""

    FORK = "fork"  # sampled: opens an outline
    TOPIC = "topic"  # sampled: starts each entry of the outline
    SPAWN = "spawn"  # sampled: closes the outline, the branches start
    BRANCH = "branch"  # injected: opens branch i, followed by the ids of topic i
    END = "end"  # sampled: closes a branch
    JOIN = "join"  # injected: after the last branch has ended


MARKERS: dict[Role, str] = {role: f"<|pb_{role.value}|>" for role in Role}
MARKER_PATTERN = re.compile(r"<\|pb_(fork|topic|spawn|branch|end|join)\|>")
# A marker's spelling inside ordinary text gains one backslash when it is written into tagged text,
# and loses it when read: tagged text and tree stay exact inverses whatever a source text holds.
_SPELLED = re.compile(r"<\|(\\*)pb_(fork|topic|spawn|branch|end|join)\|>")


def escape(text: str) -> str:
    """Ordinary text as it stands in tagged text: spelled markers become inert."""
    return _SPELLED.sub(r"<|\1\\pb_\2|>", text) if "pb_" in text else text


def unescape(text: str) -> str:
    """Inverse of `escape` on any text without active markers."""
    if "pb_" not in text:
        return text
    return _SPELLED.sub(lambda m: f"<|{m[1][1:]}pb_{m[2]}|>", text)


@dataclass(frozen=True, slots=True)
class MarkerIds:
    """Token id of each marker."""

    fork: int
    topic: int
    spawn: int
    branch: int
    end: int
    join: int

    def as_dict(self) -> dict[str, int]:
        """Ids by role, in the order of `Role`."""
        return asdict(self)

    def role(self, token_id: int) -> Role | None:
        """The role of `token_id`, None for ordinary tokens."""
        for role in Role:
            if getattr(self, role.value) == token_id:
                return role
        return None


def add_markers(tokenizer: Any) -> MarkerIds:
    """Add the six markers to a Hugging Face tokenizer as special tokens; returns their ids.

    Raises MarkerError where the vocabulary already holds one: those rows mean something else.
    """
    vocabulary = tokenizer.get_vocab()
    taken = [text for text in MARKERS.values() if text in vocabulary]
    if taken:
        raise MarkerError(
            f"the tokenizer's vocabulary already has {taken[0]}; expected a base without "
            "markers, or with the branch_config.json of its training"
        )
    from transformers import AddedToken

    tokens = [AddedToken(t, normalized=False, special=True) for t in MARKERS.values()]
    tokenizer.add_special_tokens(
        {"extra_special_tokens": tokens}, replace_extra_special_tokens=False
    )
    return find_markers(tokenizer)


def find_markers(tokenizer: Any) -> MarkerIds:
    """Ids of markers that the tokenizer has; MarkerError names the first that it lacks."""
    vocabulary = tokenizer.get_vocab()
    for text in MARKERS.values():
        if text not in vocabulary:
            raise MarkerError(
                f"the tokenizer has no marker {text}; expected an adapter's tokenizer"
            )
    return MarkerIds(**{role.value: vocabulary[text] for role, text in MARKERS.items()})
