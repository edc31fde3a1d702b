"""The grammar token by token: which tokens are legal next in a lane.

A lane is the trunk or one branch. Its state is one of nine; a state's legal tokens are one row of
a table over the vocabulary, so a batch of lanes is masked by one gather. Knows no model.
"""

from collections.abc import Iterable
from enum import IntEnum

import numpy as np

from pbranch.format.markers import MarkerIds, Role


class LaneState(IntEnum):
    """Where a lane stands in the grammar; the value is its row in `legal_table`."""

    TRUNK = 0  # text of the trunk
    BRANCH = 1  # text of a branch
    OPEN = 2  # right after fork: a topic must follow
    TOPIC = 3  # right after topic: text must follow
    OUTLINE = 4  # inside a topic's text
    TRUNK_FLAT = 5  # text of the trunk where no fork is allowed (mode linear, depth or budget)
    BRANCH_FLAT = 6  # text of a branch where no fork is allowed
    TITLE = 7  # of a dialect: right after the mark that opens a step
    BODY = 8  # of a dialect: right after a step's title

    @property
    def in_outline(self) -> bool:
        """Between fork and spawn."""
        return self in (LaneState.OPEN, LaneState.TOPIC, LaneState.OUTLINE)

    @property
    def may_end(self) -> bool:
        """The text of a branch, which the end marker may close."""
        return self in (LaneState.BRANCH, LaneState.BRANCH_FLAT)


_MARKERS_LEGAL: dict[LaneState, tuple[Role, ...]] = {
    LaneState.TRUNK: (Role.FORK,),
    LaneState.BRANCH: (Role.FORK, Role.END),
    LaneState.OPEN: (Role.TOPIC,),
    LaneState.TOPIC: (),
    LaneState.OUTLINE: (Role.TOPIC, Role.SPAWN),
    LaneState.TRUNK_FLAT: (),
    LaneState.BRANCH_FLAT: (Role.END,),
    LaneState.TITLE: (),
    LaneState.BODY: (),
}
_NO_TEXT = (LaneState.OPEN,)
_END_OF_TEXT = (  # in a branch it is taken as its end
    LaneState.TRUNK,
    LaneState.BRANCH,
    LaneState.TRUNK_FLAT,
    LaneState.BRANCH_FLAT,
    LaneState.TITLE,
    LaneState.BODY,
)


def next_state(
    state: LaneState, role: Role | None, *, in_branch: bool, may_fork: bool
) -> LaneState:
    """The state after a token of `role` (None: ordinary text).

    Spawn leaves the lane waiting for its branches; the state given is the one after the join.
    """
    if role is Role.FORK:
        return LaneState.OPEN
    if role is Role.TOPIC:
        return LaneState.TOPIC
    if role is None and state in (LaneState.TOPIC, LaneState.OUTLINE):
        return LaneState.OUTLINE
    if in_branch:
        return LaneState.BRANCH if may_fork else LaneState.BRANCH_FLAT
    return LaneState.TRUNK if may_fork else LaneState.TRUNK_FLAT


def legal_table(
    markers: MarkerIds | None, end_of_text: Iterable[int], size: int, known: Iterable[int]
) -> np.ndarray:
    """Bool (9, size): token legal in state. Ids that are not `known` have no text and are never
    legal.

    markers None: a model without markers, whose only states are the flat ones.
    """
    table = np.zeros((len(LaneState), size), dtype=bool)
    ends = [i for i in end_of_text if i < size]
    ids = np.fromiter(known, dtype=np.int64)
    texts = np.zeros(size, dtype=bool)
    texts[ids[ids < size]] = True
    marker_ids = list(markers.as_dict().values()) if markers else []
    for state in LaneState:
        if state not in _NO_TEXT:
            table[state] = texts
        table[state, marker_ids] = False
        if markers:
            table[state, [getattr(markers, r.value) for r in _MARKERS_LEGAL[state]]] = True
        table[state, ends] = state in _END_OF_TEXT
    return table
