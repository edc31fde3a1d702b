"""The benchmark: its counts are exact, its scripts force what they say, its ratios are what they
are called, and a wrong engine gets no speed."""

import random
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
import torch

from pbranch.errors import ModelError, RequestError
from pbranch.format.markers import MarkerIds
from pinfer.bench import metrics, report
from pinfer.bench.engine_arm import Sample, Step
from pinfer.bench.suite import WORKLOADS
from pinfer.bench.timing import MIN_ROUNDS, Span, each, interleave, quartiles
from pinfer.bench.workload import (
    Line,
    Vocabulary,
    Workload,
    budget,
    equal,
    fork,
    loaded,
    script,
    skewed,
    staged,
    steps,
)
from pinfer.kv_cache.arena import Arena
from pinfer.model_spec import ModelSpec
from pinfer.params import EngineLimits, SamplingParams
from pinfer.sampling.sampler import Sampler
from pinfer.scheduling.batch import Choice
from pinfer.scheduling.scheduler import Scheduler

torch.set_num_threads(1)
WORDS = Vocabulary(16, MarkerIds(16, 17, 18, 19, 20, 21), 22)


def random_line(rng, depth=0):
    """A tree of token counts with room for what each lane must draw."""
    parts = []
    for _ in range(rng.randint(0, 2) if depth < 2 else 0):
        branches = tuple(random_line(rng, depth + 1) for _ in range(rng.randint(2, 4)))
        parts += [2 + 2 * len(branches) + rng.randint(0, 3), branches]
    return Line((*parts, rng.randint(1, 5)))


def decode(line, mode):
    """The finished request of a script, and the lanes drawn from in each pass, without a model."""
    scheduler = Scheduler(ModelSpec(WORDS.markers, frozenset({22}), 4096), EngineLimits())
    params = SamplingParams(max_new_tokens=budget(line), mode=mode, fork="always")
    request, scripts = scheduler.add([1, 2], params), script(line, WORDS, random.Random(3))
    widths = []
    while scheduler.busy:
        batch = scheduler.schedule()
        widths.append(len(batch.sites))
        lanes = [token.lane for token in batch.sampled]
        scheduler.commit(batch, [Choice(scripts[x.path][x.budget.sampled], True) for x in lanes])
        scheduler.take_finished()
    return request, widths, scripts


def test_counts_are_those_of_the_engine():
    rng = random.Random(5)
    for _ in range(60):
        line = random_line(rng)
        parallel, widths, _ = decode(line, "parallel")
        serial, _, _ = decode(line, "serial")
        assert widths == [*line.widths(), 1]  # the end of the text comes last
        assert (parallel.stats.passes, serial.stats.passes) == (line.passes, line.sampled)
        assert parallel.stats.fed == serial.stats.fed == line.rows
        assert parallel.limits == serial.limits == []


def test_counts_of_the_workloads():
    """s + the sum of the longest, and s + the sum of all."""
    assert (equal(512, 4).line.passes, equal(512, 4).line.sampled) == (200, 500)
    skew = skewed(512, (250, 50, 50, 50)).line
    assert (skew.passes, skew.sampled, skew.widths().count(4)) == (350, 500, 50)
    stages = staged(512).line
    assert stages.passes == 4 * 20 + 40 + 60 + 40
    assert stages.sampled == 4 * 20 + 160 + 3 * 40 + 4 * 20 + 160
    assert [w for w in steps(512, 8).line.widths() if w > 1] == [8] * 24
    many = loaded(512, (9, 6, 3), 4).lines
    assert [[x.sampled for x in line.forks()[0]] for line in many[:2]] == [[9, 6, 3], [6, 3, 9]]


def test_scripts_are_what_is_drawn():
    line = Line((12, (Line((3,)), Line((9, (Line((2,)), Line((4,))), 5))), 4))
    request, _, scripts = decode(line, "parallel")
    drawn = {lane.path: lane.budget.sampled for lane in request.lanes}
    assert drawn == {path: len(tokens) for path, tokens in scripts.items()}
    for lane in request.lanes:
        items = [i for i in lane.items if isinstance(i, tuple)]
        assert [token for token, forced in items if not forced] == scripts[lane.path]
    assert scripts[()][-1] == 22 and request.finish_reason == "stop"
    assert scripts[((0, 1),)][-1] == WORDS.markers.end


def test_a_line_without_room_is_refused():
    with pytest.raises(RequestError, match="9 tokens: expected 10 or more"):
        script(fork(9, (3, 3, 3, 3), 1), WORDS, random.Random(0))
    with pytest.raises(RequestError, match="0 tokens: expected 1 or more"):
        script(fork(10, (3, 0), 1), WORDS, random.Random(0))


def test_every_draw_is_paid_for(suite, monkeypatch):
    """The script's token replaces a draw that was made."""
    drawn, plain = [], Sampler.__call__
    monkeypatch.setattr(
        Sampler, "__call__", lambda s, x, lanes: drawn.append(len(lanes)) or plain(s, x, lanes)
    )
    work = equal(12, 3, 5, 8)
    suite.parallel.run(work)
    assert drawn == [*work.line.widths(), 1]


def test_wrong_passes_are_an_error(suite, monkeypatch):
    monkeypatch.setattr(Line, "passes", property(lambda line: 3))
    with pytest.raises(ModelError, match=r"took 21 passes .* expected 3, stop"):
        suite.parallel.run(equal(12, 3, 5, 8))


def test_ratios_are_taken_round_by_round():
    def sample(*cpu):
        return [Sample(Span(1, 1), Span(x, 9), 1) for x in cpu]

    rounds = [
        {"own serial": a, "own parallel": b}
        for a, b in zip(sample(4, 30, 8), sample(2, 10, 8), strict=True)
    ]
    found = metrics.compute_ratio(
        rounds, metrics.get_decode_seconds("own serial"), metrics.get_decode_seconds("own parallel")
    )
    assert found == {"median": 2.0, "low": 1.5, "high": 2.5}  # of 2, 3, 1; of medians it is 1
    assert each(rounds, metrics.get_total_seconds("own serial")).median == 9
    assert quartiles([7.0]).high == 7.0


def test_efficiency_against_the_steps():
    """With steps as measured, a run that takes just their sum reaches all that they allow."""
    line = fork(10, (6, 4, 2), 3)
    times = {1: 1.0, 2: 1.1, 3: 1.3}

    def steps_of(widths):
        return tuple(Step(w, w, w > 1, Span(times[w], 0), Span(0, 0)) for w in widths)

    def run(widths):
        cpu = sum(times[w] for w in widths)
        return Sample(Span(0, 0), Span(cpu, 0), len(widths), steps_of(widths))

    work = Workload("W3", "", 8, (line,))
    one = {"own serial": run([1] * line.sampled), "own parallel": run(line.widths())}
    one |= {f"step {w}": run([1, w, w]) for w in (2, 3)}
    assert metrics.compute_step_efficiency([one], work)["of_measured"]["median"] == pytest.approx(1)
    found = metrics.compute_gains([one], work, [])
    assert found["parallel_gain"]["median"] == pytest.approx(25 / (15 + 2 * 1.1 + 2 * 1.3))
    assert found["efficiency"] == pytest.approx(found["parallel_gain"]["median"] / (25 / 19))
    assert found["branch_ideal"] == 2.0


def test_rounds_are_interleaved():
    order = []
    arms = {name: lambda name=name: order.append(name) or name for name in "abcd"}
    looks = []
    found = interleave(arms, 6, 2, seed=1, between=lambda: looks.append(1))
    assert found == [{name: name for name in "abcd"}] * 6 and len(looks) == 8
    made = ["".join(order[i : i + 4]) for i in range(0, 32, 4)]
    assert {"".join(sorted(x)) for x in made} == {"abcd"} and len(set(made)) > 3
    assert len(interleave(arms, 6, 2, minutes=0)) == MIN_ROUNDS


def test_a_wrong_engine_has_no_speed(suite, monkeypatch):
    """Logits a little off while branches are live, and a cache that lost rows."""
    runner = suite.core.runner
    plain = type(runner).run

    def wrong(self, batch):
        logits = plain(self, batch)
        return logits + 1e-2 * (len(logits) == 3)

    monkeypatch.setattr(type(runner), "run", wrong)
    work = equal(12, 3, 5, 8)
    found = suite.measure(work)
    assert "differ from the oracle's by 1.0e-02, expected 1e-04" in found["check"]["refused"]
    assert not {"seconds", "parallel_gain", "peers"} & set(found)
    assert "NO SPEED" in "\n".join(report.lines(found))
    monkeypatch.undo()
    monkeypatch.setattr(Arena, "rows", property(lambda arena: 1))
    assert "the cache held other rows" in suite.check(work, suite.parallel)["refused"]


def test_wrong_tokens_have_no_speed(suite, monkeypatch):
    """Logits within the tolerance, and yet another greedy token."""
    monkeypatch.setattr("pinfer.bench.oracle.EXACT", 1e9)
    runner = suite.core.runner
    plain = type(runner).run
    monkeypatch.setattr(type(runner), "run", lambda self, batch: -plain(self, batch))
    refused = suite.check(equal(12, 2, 5, 8), suite.parallel)["refused"]
    assert "greedy tokens differ" in refused


def test_findings_of_every_workload(suite):
    w1, *rest = suite.run("W1")
    assert not rest and list(w1["step_ms"]["own parallel"]) == [1, 2, 3]
    assert {"HF generate", "HF batch", "HF 4-D mask"} <= set(w1["step_ms"])
    two = suite.run("W2")
    assert [x["title"] for x in two] == ["8 + 2 x 5 + 8", "8 + 3 x 5 + 8"]
    for found in two:
        assert found["check"]["tokens_different"] == 0 and found["check"]["largest_gap"] < 1e-4
        assert found["check"]["kv_rows"] == found["check"]["kv_formula"]
        assert set(found["peers"]) == {"HF generate", "HF batch", "HF 4-D mask"}
        assert found["seconds"][found["best_peer"]]["cpu"] > 0
    (three,) = suite.run("W3")
    assert three["of_measured"]["median"] > 0 and "step 3" in three["seconds"]
    (five,) = suite.run("W5")
    assert five["refill_ideal"] == pytest.approx(18 / 12)
    assert five["refill_passes"]["refill on"] < five["refill_passes"]["refill off"]
    (six,) = suite.run("W6")
    assert set(six["step_ratio"]) == {"own parallel", "HF batch", "HF 4-D mask"}
    for found in (w1, *two, three, five, six):
        assert found["check"]["refused"] is None and found["rounds"] == 1
        assert len("\n".join(report.lines(found))) > 100


@pytest.mark.parametrize("first", ["W1", "W4"])
def test_prompts_of_earlier_workloads_are_forgotten(suite, monkeypatch, first):
    """They are long enough here to be kept for later requests, in the cache that all arms share."""
    settings = replace(suite.settings, prompt=40, tokens=22, trunk=22, peers=False)
    monkeypatch.setattr(suite, "settings", settings)
    monkeypatch.setattr(suite, "peers", [])
    found = [*suite.run(first), *suite.run("W5"), *suite.run("W5"), *suite.run(first)]
    assert [x["check"]["refused"] for x in found] == [None] * 4
    suite.forget_prompts()
    assert suite.core.runner.arena.rows == 0


def test_stages(suite):
    found = suite.measure(staged(12, tokens=4, trunk=11))
    assert found["check"]["refused"] is None
    assert found["skipped"] == {"HF batch": "no nested forks"}


def test_host_times(suite):
    (found,) = suite.run("W8")
    names = {f"{path} {width}" for path in ("fast", "general") for width in (1, 8)}
    assert set(found["host_share"]) == names and "HF forward 8" in found["step_ms"]
    text = "\n".join(report.lines(found))
    assert "fast, 1 token: its forward" in text and "HF forward, 8 tokens" in text


def test_every_workload_has_a_plain_title():
    assert set(report.TITLES) == set(WORKLOADS)


def test_peers_do_as_much(suite):
    """Passes and tokens of each peer are those of the workload."""
    work = equal(12, 3, 5, 8)
    one, batch, paper = (peer.run(work) for peer in suite.peers)
    assert len(one.steps) == work.line.sampled
    assert len(paper.steps) == work.line.passes
    assert len([s for s in batch.steps if s.width == 3]) in (4, 5)
    assert {s.tokens for s in (one, batch, paper)} == {work.line.sampled}


def test_queued_requests_share_their_prompt(suite):
    arm = suite.parallel
    arm.loop.scheduler.reset()
    arm.run(loaded(40, (9, 6, 3), 3))
    assert [r.prefix.shared for r in arm.requests] == [0, 39, 39]
    arm.loop.scheduler.reset()
    assert suite.core.runner.arena.rows == 0


def test_chart_is_an_svg():
    drawn = report.draw({"own <1>": {1: 2.0, 4: 3.0}, "b": {1: 5.0, 4: 9.0}}, "T(B) & more")
    root = ET.fromstring(drawn)
    lines = [x for x in root if x.tag.endswith("polyline")]
    assert len(lines) == 2 and all(len(x.get("points").split()) == 2 for x in lines)
