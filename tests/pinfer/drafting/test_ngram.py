"""Prompt lookup: the longest n-gram, in all of a request's text, each token read once."""

from pinfer.drafting.draft import Wish
from pinfer.drafting.ngram import NgramIndex, NgramSource
from pinfer.model_spec import ModelSpec
from pinfer.params import SamplingParams
from pinfer.request.marker_controller import MARKERS as CONTROLLER
from pinfer.request.state import Status
from pinfer.request.transitions import accept, open_request
from tests.support.toy_engine import END_OF_TEXT, MARKERS

M = MARKERS
SPEC = ModelSpec(M, frozenset({END_OF_TEXT}), 1000)


def opened(prompt):
    return open_request(0, list(prompt), SamplingParams(), SPEC, CONTROLLER)


def say(lane, *tokens):
    for token in tokens:
        accept(lane, token, SPEC)


def guess(source, lane, most=4):
    (draft,) = source.propose([Wish(lane, most)])
    assert draft.distributions is None
    return list(draft.tokens)


def test_the_longest_match_wins_and_the_last_of_equals():
    request, source = opened([1, 2, 3, 9, 2, 3, 8, 1, 2, 3]), NgramSource(longest=3, shortest=1)
    assert guess(source, request.trunk) == [9, 2, 3, 8]  # (1, 2, 3) stands once, (2, 3) twice
    say(request.trunk, 7, 2, 3)
    assert guess(source, request.trunk, 2) == [7, 2]  # (7, 2, 3) is new: the last (2, 3)


def test_too_short_a_match_is_none():
    assert guess(NgramSource(shortest=2), opened([1, 2, 3, 2]).trunk) == []
    assert guess(NgramSource(shortest=1), opened([1, 2, 3, 2]).trunk, 1) == [3]


def test_siblings_are_looked_up():
    """A branch does not see its sibling; what that has written is a guess all the same."""
    request, source = opened([5]), NgramSource(longest=3, shortest=2)
    say(request.trunk, M.fork, M.topic, 1, M.topic, 2, M.spawn)
    first, second = request.trunk.fork.lanes
    for lane in (first, second):
        lane.status = Status.LIVE
    say(first, 10, 11, 12, 13)
    say(second, 10, 11)
    assert guess(source, second) == [12, 13]
    say(first, M.end)
    assert guess(source, second) == [12, 13, M.end]  # the scheduler cuts it there
    assert first not in source._texts[request]._read


def test_each_token_is_read_once():
    pushed = []

    class Counting(NgramIndex):
        def _push(self, lane, token):
            pushed.append((lane.path, token))
            super()._push(lane, token)

    request = opened([1, 2, 3])
    index = Counting(request, 3, 1)
    for token in (4, 5, M.fork, M.topic, 6, M.spawn):
        say(request.trunk, token)
        index.read()
        index.read()
    (branch,) = request.trunk.fork.lanes
    branch.status = Status.LIVE
    for token in (7, 8, M.end):
        say(branch, token)
        index.read()
    say(request.trunk, 9)
    index.read()
    assert [t for p, t in pushed if not p] == [
        1,
        2,
        3,
        4,
        5,
        M.fork,
        M.topic,
        6,
        M.spawn,
        M.join,
        9,
    ]
    assert [t for p, t in pushed if p] == [M.branch, 6, 7, 8, M.end]


def test_requests_are_apart_and_forgotten():
    source = NgramSource(shortest=1)
    one, two = opened([1, 2, 1]), opened([1, 3, 1])
    drafts = source.propose([Wish(one.trunk, 1), Wish(two.trunk, 1)])
    assert [list(d.tokens) for d in drafts] == [[2], [3]]
    source.forget(one)
    assert list(source._texts) == [two]
