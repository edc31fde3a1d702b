"""`auto`: drafts and looks ahead where guesses come true and rows are cheap, and else costs next to
nothing. Passes cost what a table says, and time is what a clock of the test says."""

import random

import pytest
import torch

from pinfer.cost.pass_cost import PassCost
from pinfer.cost.pass_times import PassTimes
from pinfer.drafting.acceptance import Acceptance
from pinfer.drafting.auto import LOSS, PROBES, AutoSource
from pinfer.drafting.draft import Draft
from pinfer.drafting.lookahead import MODES, LookaheadSource
from pinfer.drafting.ngram import NgramSource
from pinfer.drafting.reach import price_ahead
from pinfer.model_spec import ModelSpec
from pinfer.params import EngineLimits
from pinfer.scheduling.batch import Choice
from pinfer.scheduling.scheduler import Scheduler
from tests.pinfer.drafting.test_decoding import some_prompts, written
from tests.support.draft_sources import Guessing
from tests.support.lookahead import Recalling
from tests.support.toy_engine import END_OF_TEXT, MARKERS, Toy, greedy, toy_model

torch.set_num_threads(1)
M = MARKERS
FLAT = PassCost((1, 64), (1.0, 1.05))
HALF = PassCost((1, 2, 32), (1.0, 1.3, 10.3))  # a row more is 0.3 of a pass
DEAR = PassCost((1, 32), (1.0, 32.0))
STEPS = PassCost((1, 2, 4, 8, 16), (1.0, 1.9, 2.0, 2.1, 6.0))
COSTS = {"flat": FLAT, "half": HALF, "dear": DEAR, "steps": STEPS}
TOKENS = 200


class Run:
    """A line of text, or branches of it, decoded by a scheduler without a model; what its passes
    and its source took, and how many guesses and look-ahead rows were fed in each pass."""

    def __init__(self, cost, make_source=None, branches=0, requests=1, tokens=TOKENS):
        self.cost, self.seconds, self.start = cost, 0.0, {}
        self.fed, self.ahead = [], []
        outline = [M.fork, *[M.topic, 1] * branches, M.spawn] if branches else []
        self.scripts = {(): [*outline, *[2] * tokens]}
        for i in range(branches):  # the last one is the longest
            self.scripts[(0, i),] = [*[3] * (tokens // branches + 10 * i), M.end]
        self.source = make_source(self) if make_source else None
        spec = ModelSpec(M, frozenset({END_OF_TEXT}), 10_000)
        limits = EngineLimits(cost=cost)
        scheduler = Scheduler(spec, limits, source=self.source)
        params = greedy(max_new_tokens=2 * tokens, fork="always", max_topics=8)
        self.requests = [scheduler.add([5], params) for _ in range(requests)]
        while scheduler.busy:
            batch = scheduler.schedule()
            self.fed.append(sum(token.draft > 0 for token in batch.tokens))
            self.ahead.append(sum(token.scratch for token in batch.tokens))
            if batch.ahead:
                batch.ahead.say([token for token in batch.tokens if token.scratch])
            self.seconds += cost(len(batch.tokens))
            scheduler.commit(batch, [self.choice(site) for site in batch.sites])
            scheduler.take_finished()

    def choice(self, site):
        begin = self.start.setdefault((site.request, site.path), site.position)
        script = self.scripts[site.path]
        return Choice(script[min(site.position - begin, len(script) - 1)], True)

    @property
    def written(self):
        return [list(request.trunk.tokens()) for request in self.requests]


def guessing(rate, seed=0, drawn=False, seconds=0.0):
    """AutoSource over guesses of which each is right with this probability, given those before;
    rate: a number, or a function of what the lane has sampled. seconds: that each place takes."""
    rng = random.Random(seed)

    def make(run):
        now = [0.0]

        def guess(lane, most):
            now[0] += seconds * most
            run.seconds += seconds * most
            p = rate(lane.budget.sampled) if callable(rate) else rate
            tokens = [3 if lane.in_branch else 2] * most
            tokens = [t if rng.random() < p else 9 for t in tokens]
            if not drawn:
                return tokens
            q = torch.full((most, 32), 0.0, dtype=torch.float64)
            q[:, [2, 3, 9]] = 1 / 3
            return Draft(tokens, q)

        return AutoSource(Guessing(guess), clock=lambda: now[0])

    return make


@pytest.mark.parametrize("branches", [0, 3])
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("name", COSTS)
def test_it_is_never_dearer_than_no_drafts(name, rate, branches):
    cost = COSTS[name]
    plain = Run(cost, branches=branches)
    found = Run(cost, guessing(rate), branches)
    assert found.seconds <= plain.seconds * (1 + LOSS)
    assert found.written == plain.written
    if name == "dear" or (name != "flat" and rate == 0):
        assert sum(found.fed) <= 4  # a free source is watched without feeding anything
    if name == "flat" and rate == 1:
        assert found.seconds < 0.25 * plain.seconds
    if name == "half" and rate == 0.8:
        assert found.seconds < 0.8 * plain.seconds


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("seconds", [0.02, 0.3, 3.0])
@pytest.mark.parametrize("name", COSTS)
def test_a_source_that_takes_time_is_never_dearer_either(name, seconds, rate):
    """And is asked again from time to time."""
    plain = Run(COSTS[name], tokens=600)
    found = Run(COSTS[name], guessing(rate, seconds=seconds), tokens=600)
    first = 9 * seconds + 8 * seconds  # the prompt is read, and the price found out
    assert found.seconds <= plain.seconds * (1 + LOSS) + first
    if (name, seconds, rate) == ("flat", 0.02, 0.9):
        assert found.seconds < 0.5 * plain.seconds
    if rate == 0 and seconds == 0.3:
        probes = found.source.account.probed
        assert 0 < probes <= PROBES * plain.seconds


def test_a_source_is_picked_up_again_when_it_pays():
    """Wrong for a hundred tokens, then right: a free source at once, a dear one by a probe."""

    def turns(sampled):
        return 0.98 if sampled > 100 else 0.0

    for seconds in (0.0, 0.1):
        plain = Run(FLAT, tokens=400)
        found = Run(FLAT, guessing(turns, seconds=seconds), tokens=400)
        assert found.seconds < (0.7 if seconds else 0.5) * plain.seconds


@pytest.mark.parametrize("seconds", [0.0, 0.02])
def test_drawn_guesses_are_fed_as_they_were_asked_for(seconds):
    """Which of them were drawn says nothing of how many are fed: none is cut."""
    asked = []

    def make(run):
        source = guessing(0.9, drawn=True, seconds=seconds)(run)
        carry_out = source._carry_out

        def watch(plan, wishes):
            drafts = carry_out(plan, wishes)
            asked.append((plan.drafts is None, sum(len(draft.tokens) for draft in drafts)))
            return drafts

        source._carry_out = watch
        return source

    plain, found = Run(HALF), Run(HALF, make)
    assert found.written == plain.written
    assert found.seconds <= plain.seconds * (1 + LOSS) + 17 * seconds
    assert sum(found.fed) == sum(n for _, n in asked) > 20
    assert all(new for new, n in asked if n)


def test_rows_go_to_the_likeliest_guesses_of_all_lanes():
    """Two requests, of which one is guessed right: it gets all rows that are worth their time."""

    def make(run):
        def guess(lane, most):
            return [2 if lane.request.number else 9] * most

        return AutoSource(Guessing(guess), clock=lambda: 0.0)

    found = Run(HALF, make, requests=2)
    drafted = [request.stats.drafted for request in found.requests]
    assert drafted[0] <= 6 and drafted[1] > 60


def test_the_cheapest_of_two_sources_drafts():
    def make(run):
        asked = run.asked = {"right": 0, "wrong": 0}

        def source(name, token):
            def guess(lane, most):
                asked[name] += 1
                return [token] * most

            return Guessing(guess)

        return AutoSource(source("wrong", 9), source("right", 2), clock=lambda: 0.0)

    plain, found = Run(HALF), Run(HALF, make)
    assert found.seconds < 0.6 * plain.seconds and min(found.asked.values()) > 5


def test_reading_a_prompt_is_no_price_of_guesses():
    """Of the second request neither."""
    now, read = [0.0], set()

    def guess(lane, most):
        now[0] += 0.02 * most
        if lane.request not in read:
            read.add(lane.request)
            now[0] += 30.0
        return [2] * most

    source = AutoSource(Guessing(guess), clock=lambda: now[0])
    spec = ModelSpec(None, frozenset({END_OF_TEXT}), 100_000)
    scheduler = Scheduler(spec, EngineLimits(cost=FLAT), source=source)
    for _ in range(4):
        request = scheduler.add([5], greedy(max_new_tokens=200, mode="linear"))
        while scheduler.busy:
            batch = scheduler.schedule()
            scheduler.commit(batch, [Choice(2, True) for _ in batch.sites])
            scheduler.take_finished()
        assert request.stats.passes < 30


def test_what_a_request_has_taught_is_forgotten_with_it():
    found = Run(HALF, guessing(0.5), branches=3, requests=2)
    (rival,) = found.source.rivals
    assert not rival._requests and not rival._open
    assert rival._overall.rates(1) != Acceptance().rates(1)


def test_acceptance_by_place():
    """Of drafts of four, the first is always right, the third never: the fourth is not compared."""
    rates = Acceptance()
    for right in (1, 2) * 50:
        rates.note(right, right + 1)
    first, second, third, fourth = rates.rates(4)
    assert first > 0.85 and 0.3 < second < 0.7 and third < 0.2
    assert fourth == third  # nothing is known: as the one before
    assert rates.chances(4) == pytest.approx([first, first * second, first * second * third,
                                              first * second * third**2])  # fmt: skip
    new = Acceptance(expected=rates)
    assert new.rates(3) == pytest.approx([first, second, third])
    for _ in range(100):
        new.note(0, 1)
    assert new.rates(1)[0] < 0.2 and new.rates(2)[1] == pytest.approx(second)


def test_passes_tell_what_they_cost():
    times = PassTimes()
    assert times.cost is None
    times.note(2000, 9.0)  # a prompt says nothing about small passes
    assert times.cost is None
    times.note(1, 1.5)
    assert times.cost(1) == times.cost(9) == 1.5  # nobody knows: a wider pass is tried
    for seconds in (1.0, 7.0, 1.2):  # others disturb
        times.note(1, seconds)
    times.note(4, 2.5)
    assert [times.cost(n) for n in (1, 2, 4)] == [1.0, 1.5, 2.5]
    for _ in range(8):
        times.note(1, 2.0)  # a longer context
    assert times.cost(1) == 2.0


def test_costs_are_learned_where_they_were_not_measured():
    """The clock of passes says that a row more is as dear as a pass: after a few it stops."""
    source = AutoSource(Guessing(lambda lane, most: [2] * most), clock=lambda: 0.0)
    spec = ModelSpec(None, frozenset({END_OF_TEXT}), 10_000)
    scheduler = Scheduler(spec, EngineLimits(), source=source)
    source.passed = lambda rows, seconds: AutoSource.passed(source, rows, DEAR(rows))
    scheduler.add([5], greedy(max_new_tokens=300, mode="linear"))
    fed = []
    while scheduler.busy:
        batch = scheduler.schedule()
        fed.append(len(batch.tokens))
        scheduler.commit(batch, [Choice(9, True) for _ in batch.sites])
        scheduler.take_finished()
    assert sum(map(DEAR, fed)) <= 300 * (1 + LOSS) + 16


class Saying(LookaheadSource):
    """Look-ahead rows of which each says what its lane will, with this probability."""

    def __init__(self, rate, mode, seed=0):
        super().__init__({"embeddings": torch.zeros(4, 1)}, mode)
        self.rate, self.rng = rate, random.Random(seed)

    def say(self, rows):
        said = torch.zeros(len(rows), 32)
        for row, line in zip(rows, said, strict=True):
            right = 3 if row.lane.in_branch else 2
            line[right if self.rng.random() < self.rate else 9] = 1.0
        self.take(rows, said)


def looking(rate, mode):
    return lambda run: AutoSource(Saying(rate, mode), clock=lambda: 0.0)


@pytest.mark.parametrize("branches", [0, 3])
@pytest.mark.parametrize("rate", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", COSTS)
def test_looking_ahead_is_never_dearer_than_no_drafts(name, mode, rate, branches):
    plain = Run(COSTS[name], branches=branches)
    found = Run(COSTS[name], looking(rate, mode), branches)
    assert found.seconds <= plain.seconds * (1 + LOSS)
    assert found.written == plain.written
    if name == "dear":
        assert sum(found.ahead) <= PROBES * plain.seconds  # a row is a second: only probes
    if name == "flat" and rate == 0.95 and not branches:
        assert found.seconds < (0.5 if mode == "two_pass" else 0.4) * plain.seconds


def test_what_rows_have_said_is_judged_before_it_is_fed():
    """Rows that are always wrong: a few, in probes, and hardly a guess of theirs."""
    plain, found = Run(HALF, tokens=1200), Run(HALF, looking(0.0, "tail"), tokens=1200)
    assert 0 < found.source.account.probed <= PROBES * plain.seconds
    assert 4 < sum(found.ahead) <= PROBES * plain.seconds / 0.3 and sum(found.fed) <= 4


def test_prices_of_looking_ahead():
    """Four lanes, all passes alike: tokens of a pass, by hand."""
    flat, chances = PassCost((1, 1000), (1.0, 1.0)), [0.9, 0.6, 0.3]
    prices = {m: price_ahead(Saying(1, m), 2, chances, 4, flat) for m in MODES}
    assert prices == pytest.approx(
        {"two_pass": 2 / (4 * 3.5), "tail": 1.4 / (4 * 2.9), "fused": 1 / (4 * 2.5)}
    )
    rows = PassCost((1, 1000), (1.0, 1000.0))  # a row is a second: 2 + 2 behind a token, 2 alone
    found = price_ahead(Saying(1, "tail"), 2, chances, 4, rows)
    assert found == pytest.approx((4 * 5 + 0.4 * 4 * 3) / (4 * 2.9))


@pytest.mark.parametrize("mode", MODES)
def test_looking_ahead_where_it_pays_changes_no_token(mode):
    model, prompts = toy_model("qwen3", 3), some_prompts(6, 1)
    params = [greedy(max_new_tokens=60, draft_tokens=n) for n in (1, 2, 4, 8, 0, 5)]
    limits = EngineLimits(cost=FLAT, max_draft_rows=100)
    plain = Toy(model, limits=limits).run(prompts, params)
    ahead = Recalling(model, mode, plain, 0.2)
    auto = AutoSource(NgramSource(), ahead)
    found = Toy(model, limits=limits, source=auto).run(prompts, params)
    assert written(found) == written(plain)
    assert sum(r.stats.accepted.total() for r in found) > 10
    assert sum(r.stats.passes for r in found) < sum(r.stats.passes for r in plain)
    assert not ahead._logits and not auto.rivals[1]._open
