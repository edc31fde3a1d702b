"""A search whose lanes keep a bounded cache: drafts and schedules change nothing there either."""

import pytest
import torch

from pinfer.drafting.ngram import NgramSource
from pinfer.eviction.options import KVOptions
from pinfer.scheduling.schedules import FcfsBatch, Round, Serial
from pinfer.search.tree.settings import SearchSettings
from tests.pinfer.search.test_lanes import DRAWN, MODEL, SETTINGS
from tests.support.search_scripts import RandomOrder, tree_of
from tests.support.toy_engine import Toy
from tests.support.toy_search import TASK, LaneSearch, sampling

torch.set_num_threads(1)
PAGE, BUDGET = 2, 10


def search(settings, budget=None, source=None, schedule=None):
    kv = None if budget is None else KVOptions("raas", budget, PAGE)
    run = LaneSearch(
        Toy(MODEL, source=source, kv=kv), SearchSettings(**settings), TASK,
        params=sampling(**DRAWN), schedule=schedule,
    )  # fmt: skip
    return run, tree_of(run.run())


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_drafts_and_schedules_change_no_tree_under_a_budget(settings):
    """C2 of the three systems together; the runs check that nothing is left in the cache."""
    plain, wanted = search(settings, BUDGET)
    assert sum(plain.request.stats.kv.evictions) > 0
    runs = [(None, Serial()), (NgramSource(shortest=1), Round())]
    runs += [(NgramSource(shortest=1), FcfsBatch(4)), (None, RandomOrder(1))]
    for source, schedule in runs:
        run, tree = search(settings, BUDGET, source, schedule)
        assert tree == wanted
        assert sum(run.request.stats.kv.evictions) == sum(plain.request.stats.kv.evictions)


def test_a_budget_that_is_never_reached_changes_no_tree_and_a_small_one_does():
    unbounded = [search(settings)[1] for settings in SETTINGS]
    assert [search(settings, 10**4)[1] for settings in SETTINGS] == unbounded
    assert [search(settings, BUDGET)[1] for settings in SETTINGS] != unbounded
