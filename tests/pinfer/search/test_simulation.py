"""Schedules on the simulated clock: order, waiting, and how long they take."""

import pytest

from pbranch.errors import RequestError
from pinfer.scheduling.schedules import FcfsBatch, Round, Serial, make_schedule
from pinfer.search.simulation import Costs, Line, serial_seconds, tokens_per_block
from pinfer.search.timeline import spell_path
from tests.support.search_scripts import RandomOrder, search_with

FLAT = {"width": 5, "depth": 1, "evaluate": "logprob"}


def thoughts(tokens):
    """Thoughts of so many tokens; a rating takes one."""

    def say(branch):
        if branch.phase == "thought":
            return Line(f"t{branch.number}", tokens)
        return Line("", 1, logprob=-1.0)

    return say


def seconds(schedule, tokens, costs, width):
    """Until all thoughts are written; they are rated after that."""
    options = {**FLAT, "width": width, "overlap": False}
    _, branches = search_with(thoughts(tokens), schedule, costs=costs, **options)
    return max(s.end for s in branches.timeline.served if s.branch.phase == "thought")


@pytest.mark.parametrize("width", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("draft", [0.3, 1.0, 2.5, 4.0, 9.0])
def test_serial_takes_what_the_closed_form_says(width, draft):
    """Blocks of one token: no guess is right. Drafting is hidden where the others take longer."""
    rounds, verify = 40, 1.25
    costs = Costs(draft, lambda rows: verify, guesses=3, right=0.0)
    found = seconds(Serial(), rounds, costs, width)
    assert found == pytest.approx(serial_seconds(width, rounds, draft, verify), rel=0.01)
    hidden = (width - 1) * verify >= draft
    assert (found <= draft + rounds * width * verify + 1e-9) == hidden


def test_hidden_drafting_is_counted():
    costs = Costs(2.0, lambda rows: 1.0, guesses=3, right=0.0)
    _, branches = search_with(thoughts(20), Serial(), costs=costs, **FLAT)
    overlap = branches.timeline.overlap()
    assert overlap["hidden_seconds"] / overlap["draft_seconds"] > 0.9
    _, alone = search_with(thoughts(20), Serial(), costs=costs, **{**FLAT, "width": 1})
    assert alone.timeline.overlap()["hidden_seconds"] == 0


@pytest.mark.parametrize(
    "right, least, most", [(0.1, 1.05, 1.2), (0.2, 1.2, 1.3), (0.3, 1.35, 1.5)]
)
def test_serial_with_drafts_gains_what_its_acceptance_allows(right, least, most):
    """Blocks of 3 guesses, as in the paper's code, drafted while other branches are verified: 1.1
    to 1.5 times as fast as one token a pass, where one to three guesses in ten are right."""
    plain = seconds(Serial(), 300, Costs(), 3)
    drafted = seconds(Serial(), 300, Costs(1.5, lambda rows: 1.0, 3, right), 3)
    assert least < plain / drafted < most
    assert plain / drafted == pytest.approx(tokens_per_block(3, right), rel=0.03)


@pytest.mark.parametrize("slope", [0.0, 0.1, 0.5, 0.9])
def test_batches_beat_serial_wherever_a_pass_of_many_rows_costs_less_than_many_passes(slope):
    def verify(rows):
        return 1 + slope * (rows - 1) / 4

    costs = Costs(0.5, verify, guesses=3, right=0.5)
    serial = seconds(Serial(), 100, costs, 5)
    assert seconds(FcfsBatch(20), 100, costs, 5) < serial
    assert seconds(FcfsBatch(8), 100, costs, 5) < serial
    assert seconds(Round(), 100, costs, 5) < serial


@pytest.mark.parametrize("schedule", [Serial(), FcfsBatch(8), FcfsBatch(1000), Round()], ids=str)
def test_first_come_is_first_served_and_nobody_starves(schedule):
    costs = Costs(0.7, lambda rows: 1 + rows / 10, guesses=3, right=0.6)
    _, branches = search_with(thoughts(30), schedule, costs=costs, **FLAT)
    served = branches.timeline.served
    came = [round(span.begin - span.waited, 9) for span in served]
    assert came == sorted(came), "service in the order of arrival"
    for span in served:
        later = [s for s in served if s.branch is span.branch and s.begin > span.begin]
        if later:
            between = [s for s in served if span.begin < s.begin < later[0].begin]
            assert len(between) <= 2 * 5, "all others once, ratings included"
            assert later[0].begin >= span.end, "in at most one pass or draft at a time"


def test_round_waits_for_all_and_batches_keep_to_their_budget():
    assert list(Round().choose([1, 1], 3)) == [] and list(Round().choose([1, 9], 2)) == [0, 1]
    assert list(Serial().choose([], 3)) == [] and list(Serial().choose([5, 1], 3)) == [0]
    batch = FcfsBatch(6)
    assert list(batch.choose([2, 3, 1, 1], 4)) == [0, 1, 2]
    assert list(batch.choose([9, 1], 4)) == [0] and list(batch.choose([], 4)) == []


def test_random_orders_serve_all_in_the_end():
    _, branches = search_with(thoughts(9), RandomOrder(1), **FLAT)
    assert len({span.branch for span in branches.timeline.served}) == 10


def test_a_schedule_by_its_name():
    assert make_schedule("serial", 8) == Serial() and make_schedule("fcfs_batch", 8) == FcfsBatch(8)
    with pytest.raises(RequestError, match=r"schedule 'serail'.*did you mean serial"):
        make_schedule("serail", 8)
    with pytest.raises(RequestError, match="row_budget 0: expected 1 or more"):
        make_schedule("round", 0)


def test_the_timeline_is_drawn_and_summed():
    costs = Costs(1.0, lambda rows: 1.0, guesses=2, right=0.5)
    _, branches = search_with(thoughts(6), Serial(), costs=costs, **{**FLAT, "width": 2})
    timeline = branches.timeline
    lines = timeline.draw(40).splitlines()
    assert len(lines) == 4 and lines[0].split()[0] == "1" and set(lines[0]) <= set("1 T·")
    assert any(line.split()[0] == "2.r1" and line.endswith("V") for line in lines)
    phases = timeline.phases()
    assert list(phases) == ["thought", "value"]
    assert phases["thought"].rows == 3 * phases["thought"].passes
    assert phases["thought"].accepted <= phases["thought"].drafted
    assert timeline.passes == sum(p.passes for p in phases.values())
    assert spell_path((0, 2, -1)) == "1.3.r1" and spell_path(()) == "root"
