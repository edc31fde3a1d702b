"""The tree loop on a scripted model: strategies, ratings, duplicates, and that no order of service
changes a tree."""

import random

import pytest

from pbranch.errors import RequestError
from pinfer.scheduling.schedules import FcfsBatch, Round, Serial
from pinfer.search.simulation import Costs, Line, SimulatedBranches
from pinfer.search.tasks.task import Task, TaskPage
from pinfer.search.tree.settings import SearchSettings
from pinfer.search.tree.tree_search import TreeSearch
from tests.support.search_scripts import (
    PAGE,
    RandomOrder,
    page,
    random_script,
    search_with,
    tree_of,
    valued,
)

ALL = FcfsBatch(10**6)


def test_breadth_first_keeps_the_best_of_each_level():
    values = {(0,): "2", (1,): "9", (2,): "5", (1, 0): "1", (1, 1): "6", (2, 0): "7", (2, 1): "3"}
    search, _ = search_with(valued(values), ALL, width=3, keep=2, depth=2)
    assert [node.path for node in search.chosen] == [(2,), (2, 0)]
    assert search.texts() == ["2", "2-0"] and search.best.value == 7
    dropped = {node.path for node in search.root.walk() if node.dropped}
    assert dropped == {n.path for n in search.root.walk()} - {(), (2,), (2, 0)}
    assert {node.path for node in search.root.walk() if node.depth == 2} == {
        (i, j) for i in (1, 2) for j in range(3)
    }


def test_each_value_is_that_of_its_own_thought():
    """Ratings that come in any order, each with a score of its own."""
    values = {(i,): str(i + 1) for i in range(6)}
    for seed in range(5):
        search, _ = search_with(valued(values), RandomOrder(seed), width=6, depth=1)
        assert [node.value for node in search.root.children] == [1, 2, 3, 4, 5, 6]


def test_a_rating_that_cannot_be_read_counts_as_the_lowest_and_is_reported():
    values = {(0,): "rather good", (1,): "11", (2,): "1"}
    search, _ = search_with(valued(values), ALL, width=3, depth=1)
    assert [node.value for node in search.root.children] == [0, 0, 1]
    assert search.counts.unreadable == 2 and search.texts() == ["2"]
    found = search.root.as_dict()["children"]
    assert [row.get("unreadable") for row in found] == [["rather good"], ["11"], None]


def test_several_ratings_are_averaged():
    script = valued({(0,): "4", (1,): "5"})

    def say(branch):
        return Line("9") if branch.path == (0, -2) else script(branch)

    search, _ = search_with(say, ALL, width=2, depth=1, evaluations=2)
    assert [node.value for node in search.root.children] == [6.5, 5]


def test_depth_first_cuts_off_and_goes_back():
    values = {(0,): "8", (1,): "6", (2,): "2", (0, 0): "1", (0, 1): "4", (1, 0): "3", (1, 1): "9"}
    script = valued(values, final=[(0, 1), (1, 1)])
    options = {"strategy": "dfs", "width": 2, "depth": 4}
    search, _ = search_with(script, ALL, threshold=5.0, **options)
    assert search.texts() == ["1", "1-1 done"], "0-1 is an answer, but below the threshold"
    search, _ = search_with(script, ALL, threshold=4.0, **options)
    assert search.texts() == ["0", "0-1 done"] and not search.root.children[1].children
    search, _ = search_with(script, ALL, threshold=5.0, expansions=2, **options)
    assert search.texts() == ["0", "0-1 done"], "the best answer where expansions run out"


def test_best_first_goes_on_wherever_the_best_node_is():
    values = {(0,): "8", (1,): "7", (0, 0): "6", (0, 1): "5", (1, 0): "9", (1, 1): "1"}
    script = valued(values, final=[(1, 0)])
    search, _ = search_with(script, ALL, strategy="best", width=2, keep=1, depth=3)
    assert search.texts() == ["1", "1-0 done"]
    assert search.counts.rounds == 3, "the root, 0, then 1 instead of 0-0"


def test_a_whole_answer_stays_in_the_beam_until_better_ones_come():
    values = {(0,): "9", (1,): "5", (1, 0): "3", (1, 1): "4"}
    search, _ = search_with(valued(values, final=[(0,)]), ALL, width=2, keep=2, depth=2)
    assert search.texts() == ["0 done"]
    assert not search.root.children[0].children


def test_equal_thoughts_are_rated_once_and_expanded_once():
    def say(branch):
        if branch.phase == "thought":
            return Line("same" if branch.number < 2 else "other")
        return Line("9")

    search, _ = search_with(say, ALL, width=3, keep=3, depth=2)
    first = search.root.children
    assert [node.duplicate for node in first] == [False, True, False]
    assert first[1].value == 0 and not first[1].children and first[1].dropped
    assert search.counts.evaluations == 6 and search.counts.duplicates == 3


def test_a_state_that_was_rated_before_is_not_rated_again():
    """The state is the last thought alone; the same thoughts come at every level."""
    task = Task("toy", PAGE, state=lambda texts: texts[-1])

    def say(branch):
        return Line(f"t{branch.number}" if branch.phase == "thought" else str(branch.path[0]))

    search, _ = search_with(say, ALL, task, width=2, keep=1, depth=3)
    assert search.counts.evaluations == 2 and search.counts.cached == 4
    search, _ = search_with(say, ALL, task, width=2, keep=1, depth=3, cache=False)
    assert search.counts.evaluations == 6 and search.counts.cached == 0


def test_votes_are_counted_for_the_thought_that_they_name():
    def say(branch):
        if branch.phase == "thought":
            return Line(f"t{branch.number}")
        assert branch.header.splitlines()[1:] == ["1. t0", "2. t1", "3. t2"]
        return Line(["2 is best", "3", "2", "5"][-11 - branch.number])

    search, _ = search_with(say, ALL, width=3, depth=1, evaluate="vote", evaluations=4)
    assert sum(node.value for node in search.root.children) == 3
    assert search.counts.unreadable == 1 and search.root.children[1].value == 2


def test_logprob_values_are_probabilities():
    def say(branch):
        if branch.phase == "thought":
            return Line(f"t{branch.number}")
        assert (branch.header, branch.expected) == ("right?", " yes")
        return Line("", logprob=-float(branch.path[0]))

    search, _ = search_with(say, ALL, width=3, depth=1, evaluate="logprob")
    assert search.texts() == ["t0"] and search.best.value == 1.0


def test_proposals_become_thoughts_that_are_fed():
    opened = []

    def say(branch):
        opened.append(branch)
        if branch.phase == "proposals":
            return Line("1. left\n2) right\n\n- left\nup")
        return Line("5")

    search, _ = search_with(say, ALL, width=2, keep=1, depth=1, generate="propose")
    assert [node.text for node in search.root.children] == ["left", "right"]
    headers = [b.header for b in opened if b.phase == "thought"]
    assert headers == ["step 1: left\n", "step 1: right\n"]


def test_a_path_that_is_no_whole_answer_is_finished():
    def say(branch):
        return Line("42" if branch.phase == "answer" else "5")

    search, _ = search_with(say, ALL, page(answer="so:"), width=2, keep=1, depth=2)
    assert search.texts() == ["5", "5", "42"]
    search, _ = search_with(valued({}, [(0,)]), ALL, page(answer="so:"), width=1, depth=2)
    assert search.texts() == ["0 done"]


OPTIONS = [
    {},
    {"overlap": False},
    {"early": 1},
    {"early": 3, "evaluations": 2},
    {"evaluate": "logprob", "early": 2},
    {"evaluate": "vote", "evaluations": 3},
    {"generate": "propose", "early": 2},
    {"select": "sample", "early": 1},
    {"cache": False, "early": 2},
]


@pytest.mark.parametrize("strategy", ["bfs", "dfs", "best"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_no_order_of_service_changes_a_tree(strategy, options):
    """Schedules and random orders, drafts right and wrong, early expansion and none."""
    for seed in range(3):
        draws = random.Random(seed)
        common = {**options, "strategy": strategy, "width": draws.randint(1, 5), "seed": seed}
        common |= {"keep": draws.randint(1, 3), "depth": draws.randint(1, 4), "threshold": 2.0}
        script = random_script(seed, states=draws.choice([4, 50]))
        wanted = tree_of(search_with(script, Serial(), **{**common, "early": 0})[0])
        for schedule in (Serial(), Round(), FcfsBatch(3), ALL, RandomOrder(seed)):
            costs = Costs(draws.random(), lambda rows: rows**0.5, draws.randint(0, 4), 0.6)
            search, branches = search_with(script, schedule, costs=costs, **common)
            assert tree_of(search) == wanted
            assert search.counts.guessed <= search.counts.rounds * common.get("early", 0)
            left = {x.branch for x in branches._all}
            answer = {node.branch for node in search.chosen}
            assert left == answer, "all but the answer is given back"


def test_early_expansion_counts_what_it_wastes():
    """Rating 1 takes long, and is the best: 0 is expanded early, in vain."""

    def say(branch):
        if branch.phase == "thought":
            return Line(f"t{branch.path}", 4)
        return Line(str(branch.path[-2]), 9 if branch.path == (1, -1) else 1)

    search, _ = search_with(say, ALL, width=2, keep=1, depth=2, early=1)
    plain, _ = search_with(say, ALL, width=2, keep=1, depth=2)
    assert tree_of(search) == tree_of(plain)
    assert (search.counts.guessed, search.counts.missed, search.counts.wasted) == (1, 1, 8)
    right = valued({(0,): "9"})
    hit, _ = search_with(right, ALL, width=2, keep=1, depth=2, early=1)
    assert hit.counts.missed == 0 == hit.counts.wasted


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"width": 0}, "width 0: expected 1 or more"),
        ({"strategy": "beam"}, "strategy 'beam': expected bfs, dfs, best"),
        ({"evaluate": "vote", "early": 1}, "a vote comes last"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(RequestError, match=message):
        SearchSettings(**settings)


def test_a_page_without_what_the_settings_need():
    bare = Task("mine", TaskPage(prompt="{problem}", thought="so"))
    branches = SimulatedBranches(valued({}), Costs(), ALL)
    for settings, key in [
        ({}, "value, which evaluate value"),
        ({"evaluate": "vote"}, "vote, which evaluate vote"),
        ({"evaluate": "logprob"}, "judge, which evaluate logprob"),
    ]:
        with pytest.raises(RequestError, match=f"task mine: missing key {key} needs"):
            TreeSearch(bare, SearchSettings(**settings), branches)
