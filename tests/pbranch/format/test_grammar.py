"""The grammar automaton: its table row by row, and walks along it always give parseable text."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pbranch.format.grammar import LaneState, legal_table, next_state
from pbranch.format.markers import MARKERS, MarkerIds, Role
from pbranch.format.tagged_text import parse, render

IDS = MarkerIds(fork=10, topic=11, spawn=12, branch=13, end=14, join=15)
EOS, TURN_END, KNOWN, SIZE = 8, 9, 16, 20
TEXT = {0, 1, 2, 3, 4, 5, 6, 7}
ENDS = {EOS, TURN_END}
TABLE = legal_table(IDS, [EOS, TURN_END], SIZE, range(KNOWN))
WORDS = ["a", " b", "\n", ":", "<|", "pb_fork", "|", "é"]  # text of the tokens 0 to 7

LEGAL = {
    LaneState.TRUNK: TEXT | ENDS | {IDS.fork},
    LaneState.BRANCH: TEXT | ENDS | {IDS.fork, IDS.end},
    LaneState.OPEN: {IDS.topic},
    LaneState.TOPIC: TEXT,
    LaneState.OUTLINE: TEXT | {IDS.topic, IDS.spawn},
    LaneState.TRUNK_FLAT: TEXT | ENDS,
    LaneState.BRANCH_FLAT: TEXT | ENDS | {IDS.end},
    LaneState.TITLE: TEXT | ENDS,
    LaneState.BODY: TEXT | ENDS,
}


def test_every_row_of_the_table_by_hand():
    assert TABLE.shape == (len(LaneState), SIZE) and TABLE.dtype == bool
    assert {s: set(np.flatnonzero(TABLE[s]).tolist()) for s in LaneState} == LEGAL


def test_what_is_never_legal():
    assert not TABLE[:, [IDS.branch, IDS.join]].any()  # injected, never sampled
    assert not TABLE[:, KNOWN:].any()  # rows of the matrix that have no text
    for state in LaneState:
        assert TABLE[state].any()
        assert state.in_outline != TABLE[state, [EOS, TURN_END]].any()


def test_without_markers_text_goes_on():
    table = legal_table(None, [EOS], SIZE, range(KNOWN))
    for state in (LaneState.TRUNK_FLAT, LaneState.BRANCH_FLAT):
        assert set(np.flatnonzero(table[state]).tolist()) == set(range(KNOWN))


def test_ends_outside_the_head_are_left_out():
    assert legal_table(IDS, [EOS, 999], SIZE, range(KNOWN)).shape == (len(LaneState), SIZE)


def test_states_by_hand():
    def step(state, role, in_branch=False, may_fork=True):
        return next_state(state, role, in_branch=in_branch, may_fork=may_fork)

    s = LaneState
    assert step(s.TRUNK, None) is s.TRUNK
    assert step(s.TRUNK, None, may_fork=False) is s.TRUNK_FLAT
    assert step(s.TRUNK, Role.FORK) is s.OPEN
    assert step(s.OPEN, Role.TOPIC) is s.TOPIC
    assert step(s.TOPIC, None) is s.OUTLINE
    assert step(s.OUTLINE, None) is s.OUTLINE
    assert step(s.OUTLINE, Role.TOPIC) is s.TOPIC
    assert step(s.OUTLINE, Role.SPAWN) is s.TRUNK
    assert step(s.OUTLINE, Role.SPAWN, may_fork=False) is s.TRUNK_FLAT
    assert step(s.OUTLINE, Role.SPAWN, in_branch=True) is s.BRANCH
    assert step(s.BRANCH, None, in_branch=True) is s.BRANCH
    assert step(s.BRANCH, None, in_branch=True, may_fork=False) is s.BRANCH_FLAT
    assert step(s.BRANCH, Role.FORK, in_branch=True) is s.OPEN


class Walk:
    """Draws legal tokens lane by lane, and injects what the engine injects."""

    def __init__(self, draw, max_depth):
        self.draw, self.max_depth, self.left = draw, max_depth, 60

    def lane(self, depth):
        in_branch, may_fork = depth > 0, depth < self.max_depth
        state = next_state(LaneState.TRUNK, None, in_branch=in_branch, may_fork=may_fork)
        text, topics = "", []
        while True:
            token = self.choose(state, in_branch)
            if token in ENDS or token == IDS.end:
                return text + (MARKERS[Role.END] if in_branch else "")
            role = IDS.role(token)
            spelled = MARKERS[role] if role else WORDS[token]
            text += spelled
            if role is Role.FORK:
                topics = []
            elif role is Role.TOPIC:
                topics.append("")
            elif role is None and state.in_outline:
                topics[-1] += spelled
            elif role is Role.SPAWN:
                for topic in topics:
                    text += MARKERS[Role.BRANCH] + topic + self.lane(depth + 1)
                text += MARKERS[Role.JOIN]
            state = next_state(state, role, in_branch=in_branch, may_fork=may_fork)

    def choose(self, state, in_branch):
        self.left -= 1
        legal = LEGAL[state]
        if self.left < 0:  # close what is open by the shortest legal way
            for token in (IDS.spawn, IDS.end if in_branch else EOS, IDS.topic):
                if token in legal:
                    return token
        return self.draw(st.sampled_from(sorted(legal)))


@given(st.data(), st.integers(0, 3))
def test_legal_walks_always_parse(data, max_depth):
    text = Walk(data.draw, max_depth).lane(0)
    trace = parse(text)
    assert render(trace) == text
    assert trace.depth <= max_depth
    assert all(topic for fork in trace.all_forks() for topic in fork.topics)


def test_ids_may_have_gaps():
    table = legal_table(None, [EOS], SIZE, [0, 3, EOS, 17, 99])
    for state in (LaneState.TRUNK_FLAT, LaneState.BRANCH_FLAT):
        assert set(np.flatnonzero(table[state]).tolist()) == {0, 3, EOS, 17}
