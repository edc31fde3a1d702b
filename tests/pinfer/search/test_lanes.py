"""Search on the lanes of an engine: equal to a naive search that reads everything again, whatever
the schedule and the drafts; nothing is computed or kept twice."""

import pytest
import torch

from pbranch.errors import RequestError
from pbranch.format.grammar import LaneState
from pinfer.drafting.lookahead import MODES
from pinfer.drafting.ngram import NgramSource
from pinfer.params import EngineLimits
from pinfer.sampling.processors import process
from pinfer.scheduling.batch import SampleSite
from pinfer.scheduling.schedules import FcfsBatch, Round, Serial
from pinfer.search.lanes import LaneBranches
from pinfer.search.tasks.task import Task, TaskPage
from pinfer.search.tree.settings import SearchSettings
from pinfer.search.tree.tree_search import TreeSearch
from tests.pinfer.drafting.test_distribution import assert_follows, drawn_from, unrelated
from tests.support.draft_sources import Guessing
from tests.support.lookahead import Recalling, random_source
from tests.support.search_scripts import RandomOrder, tree_of
from tests.support.toy_engine import END_OF_TEXT, SIZE, Toy, toy_model
from tests.support.toy_search import CODEC, PROMPT, TASK, LaneSearch, NaiveBranches, sampling

torch.set_num_threads(1)
MODEL = toy_model("qwen3", 6, lean={})

SETTINGS = [
    {"width": 3, "keep": 2, "depth": 3},
    {"width": 3, "keep": 2, "depth": 2, "evaluations": 2, "early": 2},
    {"width": 3, "depth": 2, "evaluate": "logprob", "early": 1},
    {"width": 3, "depth": 2, "evaluate": "vote", "evaluations": 2},
    {"width": 3, "depth": 2, "generate": "propose"},
    {"strategy": "dfs", "width": 2, "depth": 3, "threshold": 2.0, "expansions": 6},
    {"strategy": "best", "width": 3, "depth": 3, "select": "sample", "expansions": 5},
]
DRAWN = {"temperature": 1.0, "top_k": 8}
PENALISED = {"temperature": 0.8, "repetition_penalty": 1.3}


@pytest.mark.parametrize(
    ("settings", "changes"),
    [*((x, DRAWN) for x in SETTINGS), (SETTINGS[0], {}), (SETTINGS[0], PENALISED)],
    ids=str,
)
def test_one_sequence_gives_the_tree_of_a_naive_search(settings, changes):
    """The same texts, values and choices with the same seeds, under every schedule, with and
    without drafts; fewer tokens computed."""
    settings, params = SearchSettings(**settings), sampling(**changes)
    naive = NaiveBranches(MODEL, params)
    wanted = tree_of(naive.run(TASK, settings))
    runs = [(None, None), (Serial(), None), (Round(), NgramSource(shortest=1))]
    runs += [(FcfsBatch(4), NgramSource(shortest=1)), (RandomOrder(1), None)]
    for schedule, source in runs:
        run = LaneSearch(Toy(MODEL, source=source), settings, params=params, schedule=schedule)
        assert tree_of(run.run()) == wanted
        stats = run.request.stats
        assert stats.fed - stats.drafted < naive.computed
    assert any(node["value"] for node in wanted[0]["children"]), "values are read"


def test_guesses_of_a_source_are_confirmed_and_change_nothing():
    """Right ones, of an earlier run: fewer passes. Wrong ones: as many as without."""
    settings, params = SearchSettings(width=3, depth=2, early=1), sampling()
    plain = LaneSearch(Toy(MODEL), settings, params=params)
    tree = tree_of(plain.run())
    said = {
        lane.path: [token for token, injected in lane.items if not injected]
        for lane in plain.request.lanes[1:]
        for lane.items in [[item for item in lane.items if isinstance(item, tuple)]]
    }

    def right(lane, most):
        return said.get(lane.path, [])[lane.budget.sampled :][:most]

    for guess, passes in [(right, 0.7), (lambda lane, most: [9] * most, 1.01)]:
        toy = Toy(MODEL, source=Guessing(guess), limits=EngineLimits(max_draft_rows=64))
        run = LaneSearch(toy, settings, params=params)
        assert tree_of(run.run()) == tree
        assert run.request.stats.drafted
        assert run.request.stats.passes <= passes * plain.request.stats.passes


@pytest.mark.parametrize("mode", MODES)
def test_look_ahead_rows_change_no_tree(mode):
    """Those of random weights, and of an earlier search; at temperature 0, since drawn guesses keep
    the distribution alone."""
    settings = SearchSettings(width=3, keep=2, depth=3, early=1)
    plain = LaneSearch(Toy(MODEL), settings)
    tree = tree_of(plain.run())
    for source in (random_source(MODEL, mode), Recalling(MODEL, mode, [plain.request])):
        toy = Toy(MODEL, source=source, limits=EngineLimits(max_draft_rows=64))
        run = LaneSearch(toy, settings)
        assert tree_of(run.run()) == tree
        assert run.request.stats.drafted and not source._logits, "nothing is kept of ended lanes"
    assert run.request.stats.accepted.total() > 8


def test_drawn_guesses_leave_the_models_distribution():
    """Thoughts of one search are independent draws of the model, by their paths; chi-square over
    thoughts of two tokens, against a full enumeration."""
    n, model = 800, toy_model("qwen2", 5, {})
    page = TaskPage("{problem}", "ab", stop=(), thought_tokens=2, judge="b")
    settings = SearchSettings(width=n, keep=1, depth=1, evaluate="logprob")
    params = sampling(temperature=0.9, top_k=5)
    naive = NaiveBranches(model, params)
    begin, law = [*PROMPT, *CODEC.encode("ab")], {}
    for a, p in probabilities(naive, params, begin).items():
        following = {END_OF_TEXT: 1.0}
        if a != END_OF_TEXT:
            following = probabilities(naive, params, [*begin, a])
        for b, q in following.items():
            text = tuple(token for token in (a, b) if token != END_OF_TEXT)
            law[text] = law.get(text, 0.0) + p * q
    toy = Toy(model, source=drawn_from(unrelated, 1), limits=EngineLimits(max_draft_rows=40))
    run = LaneSearch(toy, settings, Task("toy", page), params, FcfsBatch(40))
    search = run.run()
    counts = dict.fromkeys(law, 0)
    for node in search.root.children:
        counts[tuple(CODEC.encode(node.text))] += 1
    accepted = run.request.stats.accepted.total()
    assert 0.02 < accepted / run.request.stats.drafted < 0.98
    assert_follows(law, counts, n)


def probabilities(naive, params, ids):
    """Of the next token, from a plain forward."""
    logits = naive.logits(ids)[-1:]
    state = LaneState.TRUNK_FLAT
    logits = logits.masked_fill(~naive.sampler.legal[state], -torch.inf)
    site = SampleSite(0, params, (), 0, state)
    law = process(logits, [site])[0].softmax(-1)
    return {token: float(law[token]) for token in range(SIZE) if law[token] > 0}


def test_what_is_dropped_is_given_back_and_nothing_is_stored_twice():
    """After each pass the arena holds the prompt and each live branch once: so the rows that leave
    are those of dropped subtrees."""
    seen = []

    def check(run):
        if run.request.finish_reason is not None:
            return
        cache, arena = run.core.runner.cache, run.core.runner.runner.arena
        queued = {}
        for token in run.request.queue:
            queued[token.lane] = queued.get(token.lane, 0) + 1
        lanes = [lane for lane in run.branches.branches if cache.segment(lane) is not None]
        own = [lane.position - lane.parent.position - queued.get(lane, 0) for lane in lanes]
        assert [cache.length(lane) for lane in lanes] == own
        assert arena.rows == len(PROMPT) + sum(own)
        assert sum(own) <= run.branches.held <= run.branches.rows
        seen.append((arena.rows, run.search.counts.freed))

    for settings in SETTINGS:
        seen.clear()
        run = LaneSearch(Toy(MODEL), SearchSettings(**settings), on_step=check)
        search = run.run()
        # all that was cached and is no part of the answer was given back before the end
        assert run.request.stats.dropped or search.counts.freed
        assert seen and max(rows for rows, _ in seen) > len(PROMPT) + 10


def test_rows_of_a_dropped_subtree_are_those_that_leave():
    """One thought of three is kept; between two passes the other two leave, and nothing else."""
    held = {}

    def note(run):
        held.setdefault(run.search.counts.rounds, []).append(
            (run.core.runner.runner.arena.rows, run.search.counts.freed, dict(lengths(run)))
        )

    run = LaneSearch(Toy(MODEL), SearchSettings(width=3, keep=1, depth=2), on_step=note)
    search = run.run()
    before, after = held[1][-1], held[2][0]
    kept = search.chosen[0].path
    gone = sum(length for path, length in before[2].items() if path[:1] != kept and len(path) == 1)
    assert after[1] >= gone > 0
    assert all(path[:1] == kept for path in after[2] if path)


def lengths(run):
    cache = run.core.runner.cache
    return [(branch.path, cache.length(lane)) for branch, lane in run.branches.lanes.items()]


def test_a_search_that_needs_more_than_was_set_aside_ends_with_a_clear_line():
    toy, settings = Toy(MODEL), SearchSettings(width=3, depth=2)
    run = LaneSearch(toy, settings, on_step=lambda run: setattr(run.branches, "rows", 40))
    with pytest.raises(RequestError, match="more than the 40 cached tokens set aside for it"):
        run.run()


def test_two_searches_and_an_ordinary_request_share_passes():
    """Each gives what it gives alone."""
    settings = [SearchSettings(width=3, depth=2), SearchSettings(width=2, depth=3)]
    alone = [tree_of(LaneSearch(Toy(MODEL), s).run()) for s in settings]
    core = Toy(MODEL).core()
    searches = []
    for s in settings:
        branches = LaneBranches(CODEC, 10_000)
        branches.search = TreeSearch(TASK, s, branches)
        searches.append(branches.search)
        core.scheduler.add(list(PROMPT), sampling(), controller=branches)
    plain = sampling(max_new_tokens=9)
    other = core.scheduler.add([4, 4], plain)
    while core.busy:
        core.step()
    assert [tree_of(search) for search in searches] == alone
    assert [t for t, _, _ in other.trunk.tokens()] == Toy(MODEL).tokens([[4, 4]], plain)[0]


def test_an_aborted_search_leaves_nothing_behind():
    run = LaneSearch(Toy(MODEL), SearchSettings(width=3, depth=3))

    def stop(run):
        if run.request.stats.passes == 7:
            run.core.scheduler.abort(run.request)

    run.on_step = stop
    with pytest.raises(AssertionError):  # it is not done
        run.run()
    assert run.request.finish_reason == "error" and not run.search.done
    run.core.scheduler.prefixes.evict(0)
    assert run.core.runner.runner.arena.rows == 0 and not run.core.runner.cache._homes
