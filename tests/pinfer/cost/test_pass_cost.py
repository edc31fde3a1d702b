"""What a pass costs: the table, the rules that follow from it, and that none moves a token."""

import json
import random
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pbranch.errors import DataError, RequestError
from pinfer import Engine
from pinfer.bench.break_even import ROWS, cost_table, measure_cost, report_cost
from pinfer.cost.pass_cost import PassCost
from pinfer.cost.store import cost_key, cost_path, find_cost, save_cost
from pinfer.params import EngineLimits, SamplingParams
from pinfer.request.state import LiveFork
from tests.conftest import MODEL_KINDS
from tests.support.toy_engine import END_OF_TEXT, MARKERS, Toy, greedy, scripted, toy_model

torch.set_num_threads(1)
M = MARKERS
FLAT = PassCost((1, 16), (1.0, 1.0))  # a row more costs nothing
DEAR = PassCost((1, 2, 16), (1.0, 2.0, 16.0))  # as much as in a pass of its own
FULL_AT_4 = PassCost((1, 4, 8), (1.0, 1.2, 6.0))
STEPS = PassCost((1, 2, 3, 4, 8), (1.0, 2.1, 2.15, 2.2, 4.6))  # two rows are slow, four are not

COSTS = st.lists(st.floats(1e-3, 1.0), min_size=2, max_size=6).map(
    lambda steps: PassCost.measured({2**i: sum(steps[: i + 1]) for i in range(len(steps))})
)


def test_between_measured_points_lies_a_line():
    cost = PassCost((1, 4, 8), (1.0, 2.5, 2.5))
    assert [cost(n) for n in (1, 2, 3, 4, 6, 8, 20)] == [1.0, 1.5, 2.0, 2.5, 2.5, 2.5, 2.5]
    assert PassCost((1, 2), (1.0, 1.5))(12) == 6.5


def test_noise_never_makes_a_wider_pass_cheaper():
    assert PassCost.measured({4: 2.0, 1: 1.0, 2: 2.2, 8: 3.0}).seconds == (1.0, 2.2, 2.2, 3.0)


@given(COSTS)
def test_cost_never_falls(cost):
    assert all(a <= b for a, b in pairwise([cost(n) for n in range(1, 80)]))


@pytest.mark.parametrize(
    "rows, seconds, wrong",
    [
        ((1,), (1.0,), "at .1. rows"),
        ((2, 4), (1.0, 1.0), "expected 1 and more"),
        ((1, 4, 2), (1.0, 1.0, 1.0), "rising"),
        ((1, 2), (1.0,), "for each"),
        ((1, 2), (2.0, 1.0), "none below the one before"),
        ((1, 2), (0.0, 1.0), "a positive number"),
        ((1, 2), (1.0, float("nan")), "a positive number"),
        ((1, 2), (1.0, float("inf")), "a positive number"),
        ((1, 2), (1.0, "2"), "expected whole rows, and seconds"),
        ((1, 2.0), (1.0, 2.0), "expected whole rows, and seconds"),
    ],
)
def test_a_table_that_is_none_is_refused(rows, seconds, wrong):
    with pytest.raises(RequestError, match=wrong):
        PassCost(rows, seconds)


@pytest.mark.parametrize(
    "cost, live, waiting, start",
    [
        (FLAT, 0, 8, 8),
        (FLAT, 30, 8, 8),
        (DEAR, 0, 8, 1),
        (DEAR, 1, 8, 0),
        (FULL_AT_4, 0, 8, 4),  # a lone request stops where a row gets no cheaper
        (FULL_AT_4, 2, 8, 2),
        (FULL_AT_4, 4, 8, 0),  # others fill the pass
        (FULL_AT_4, 40, 8, 0),
        (STEPS, 0, 2, 1),  # two would be slower than one after the other
        (STEPS, 0, 4, 4),  # but four are cheaper than either: it looks further than one row
        (STEPS, 1, 1, 0),
        (STEPS, 1, 3, 3),
        (STEPS, 4, 0, 0),
        (STEPS, 0, 0, 0),
    ],
)
def test_how_many_branches_start(cost, live, waiting, start):
    assert cost.worth(live, waiting) == start


@given(COSTS, st.integers(1, 40), st.integers(0, 40))
def test_rows_are_added_while_they_make_a_row_cheaper(cost, live, waiting):
    """And for a step of one row: exactly while they shorten the waiting of all together."""
    added = cost.worth(live, waiting)
    a_row = [cost(n) / n for n in range(live, live + waiting + 1)]
    assert a_row[added] == min(a_row)
    saved = cost(live) - live * (cost(live + 1) - cost(live))
    if waiting == 1 and abs(saved) > 1e-9:
        assert (added == 1) == (saved > 0)


def test_break_even_by_hand():
    """Passes that cost the same at any width: 1 + B and two for headers and join are spent, and
    B - 1 saved by each token."""
    assert [FLAT.break_even(b) for b in (1, 2, 3, 4, 8)] == [None, 6, 4, 3, 2]
    assert DEAR.break_even(8) is None
    assert STEPS.break_even(2) is None and STEPS.break_even(4) is not None
    assert FULL_AT_4.gain(4) == pytest.approx(4 / 1.2)


def seconds(cost, script, prompt):
    """Of the passes behind the prompt, as the engine makes them."""
    fed = []
    toy = Toy(
        toy_model("llama"),
        on_step=lambda batch, _: fed.append(len(batch.tokens)),
        choose=scripted(script),
    )
    toy.run([prompt], SamplingParams(max_new_tokens=400, fork="always"))
    return sum(cost(rows) for rows in fed[1:])


@pytest.mark.parametrize("cost", [FLAT, FULL_AT_4, PassCost((1, 2, 8), (1.0, 1.1, 1.6))], ids=str)
@pytest.mark.parametrize("branches, topic", [(2, 1), (3, 2), (8, 4)])
def test_break_even_is_what_the_engines_passes_cost(cost, branches, topic):
    """At the length it gives a fork is faster than the line, with one token less it is not."""

    def gap(length):
        line = {(): [1] * (branches * (topic + length)) + [2, END_OF_TEXT]}
        outline = [M.fork, *([M.topic] + [1] * topic) * branches, M.spawn]
        fork = {(): [*outline, 2, END_OF_TEXT]}
        fork |= {((0, i),): [1] * length + [M.end] for i in range(branches)}
        return seconds(cost, line, [3]) - seconds(cost, fork, [3])

    least = cost.break_even(branches, topic)
    assert gap(least) > 0
    assert gap(least - 1) <= 1e-9


@settings(max_examples=15)
@given(
    kind=st.sampled_from(MODEL_KINDS),
    seed=st.integers(0, 10**6),
    cost=COSTS,
    rows=st.sampled_from([2, 7, 512]),
    requests=st.sampled_from([1, 2, 64]),
)
def test_no_table_changes_a_token(kind, seed, cost, rows, requests):
    rng = random.Random(seed)
    model, prompts = toy_model(kind, seed % 7), [[rng.randrange(16)] * 3 for _ in range(4)]
    limits = EngineLimits(max_rows=rows, max_requests=requests, cost=cost)
    found = Toy(model, limits=limits).tokens(prompts, greedy(max_new_tokens=30))
    assert found == Toy(model).tokens(prompts, greedy(max_new_tokens=30, fork="always"))


def widths(cost, **changes):
    """Branch rows of each pass of a block of eight, while another request writes on."""
    outline = [M.fork, *[M.topic, 1] * 8, M.spawn]
    script = {(): [*outline, END_OF_TEXT]} | {((0, i),): [2] * 5 + [M.end] for i in range(8)}
    fed = []
    toy = Toy(
        toy_model("llama"),
        limits=EngineLimits(cost=cost),
        on_step=lambda batch, _: fed.append(sum(token.lane.in_branch for token in batch.sampled)),
        choose=scripted(script),
    )
    (request,) = toy.run([[3]], SamplingParams(max_new_tokens=200, **changes))
    (block,) = (i for i in request.trunk.items if isinstance(i, LiveFork))
    return max(fed), block.sequential


def test_a_lone_request_decodes_as_many_branches_as_make_a_token_cheapest():
    assert widths(None) == widths(FLAT) == (8, False)
    assert widths(FULL_AT_4) == (4, False)
    assert widths(FULL_AT_4, max_width=3) == (3, False)
    assert widths(DEAR) == (1, True)
    assert widths(DEAR, fork="always") == (8, False)
    assert widths(FULL_AT_4, mode="serial") == (1, False)


def test_branches_wait_where_others_fill_the_pass():
    """Two requests of three branches, four rows to a pass at best: 3 + 1, then 3 again."""
    outline = [M.fork, *[M.topic, 1] * 3, M.spawn]
    scripts = {(): [*outline, END_OF_TEXT]} | {((0, i),): [2] * 5 + [M.end] for i in range(3)}
    choose = {number: scripted(scripts) for number in (0, 1)}
    fed = []

    def look(batch, _):
        counts = [0, 0]
        for token in batch.sampled:
            counts[token.lane.request.number] += token.lane.in_branch
        fed.append(tuple(counts))

    toy = Toy(
        toy_model("llama"),
        limits=EngineLimits(cost=FULL_AT_4),
        on_step=look,
        choose=lambda logits, sites: [choose[x.request](logits, [x])[0] for x in sites],
    )
    toy.run([[3], [4]], SamplingParams(max_new_tokens=200))
    both = [counts for counts in fed if any(counts)]
    assert (3, 1) in both and (0, 3) not in both and (0, 2) in both
    assert max(map(sum, both)) == 4


@pytest.fixture
def engine(base, adapter, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Engine.from_pretrained(str(base), str(adapter), device="cpu")


def test_measuring_leaves_the_engine_as_it_was(engine):
    cost = measure_cost(engine.core, prompt_tokens=20, rows=(1, 2, 4), rounds=3)
    assert cost.rows == (1, 2, 4) and cost.seconds[0] > 0
    engine.core.runner.arena.check()
    assert engine.core.runner.arena.rows == 0 and not engine.core.scheduler.busy
    assert engine.generate(["Go on."], SamplingParams(max_new_tokens=5))[0].stats.passes > 0


def test_measured_passes_have_one_row_a_branch(engine, monkeypatch):
    fed, run = [], engine.core.runner.run

    def watch(batch):
        fed.append((len(batch.tokens), len(batch.logits_indices)))
        return run(batch)

    monkeypatch.setattr(engine.core.runner, "run", watch)
    measure_cost(engine.core, prompt_tokens=20, rows=(1, 4), rounds=3)
    timed = fed[-2 * (3 + 2) :]
    assert sorted(timed) == [(1, 1)] * 5 + [(4, 4)] * 5


def test_what_cannot_be_measured_is_refused(engine):
    with pytest.raises(RequestError, match="context holds"):
        measure_cost(engine.core, prompt_tokens=10**6)
    engine.add("Go on.", SamplingParams(max_new_tokens=5))
    with pytest.raises(RequestError, match="idle"):
        measure_cost(engine.core, prompt_tokens=20)


def test_a_table_is_printed():
    assert cost_table(STEPS).splitlines() == [
        "rows  ms a pass    gain  a fork pays",
        "   1    1000.00   1.00x",
        "   2    2100.00   0.95x  never",
        "   3    2150.00   1.40x  from 19 tokens a branch on",
        "   4    2200.00   1.82x  from 12 tokens a branch on",
        "   8    4600.00   1.74x  from 12 tokens a branch on",
        "(topics of 4 tokens)",
    ]


def test_a_cost_is_found_by_device_and_model_again(base, adapter, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    engine = Engine.from_pretrained(str(base), str(adapter), device="cpu", stored_cost=True)
    assert engine.core.scheduler.spec.cost is None
    from pinfer.models.load import load

    key = cost_key(load(str(base), str(adapter), None, "cpu").model, attention="auto", path="auto")
    path = save_cost(STEPS, key)
    assert path.is_relative_to(tmp_path) and find_cost(key) == STEPS
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    engine = Engine.from_pretrained(str(base), str(adapter), device="cpu", stored_cost=True)
    assert engine.core.scheduler.spec.cost == STEPS
    plain = Engine.from_pretrained(str(base), str(adapter), device="cpu")
    assert plain.core.scheduler.spec.cost is None
    half = Engine.from_pretrained(
        str(base), str(adapter), device="cpu", dtype="bfloat16", stored_cost=True
    )
    assert half.core.scheduler.spec.cost is None, "another dtype, another cost"
    dense = Engine.from_pretrained(
        str(base), str(adapter), device="cpu", attention="dense", stored_cost=True
    )
    assert dense.core.scheduler.spec.cost is None, "another attention, another cost"


def test_what_was_measured_is_printed_and_found_again(base, adapter, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    named = {"device": "cpu", "attention": "dense"}
    report_cost(str(base), str(adapter), prompt_tokens=9, as_json=True, **named)
    out, err = capsys.readouterr()
    row = json.loads(out)
    engine = Engine.from_pretrained(str(base), str(adapter), stored_cost=True, **named)
    cost = engine.core.scheduler.spec.cost
    assert cost == PassCost(tuple(row["rows"]), tuple(row["seconds"])) and cost.rows == ROWS
    assert row["attention"] == "dense" and "stored in" in err
    report_cost(str(base), str(adapter), prompt_tokens=9, **named)
    assert len(capsys.readouterr().out.splitlines()) == len(ROWS) + 2


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"rows": [1, 2]}', "null", '{"rows": 3, "seconds": 4}', "\x00"]
)
def test_a_spoiled_file_is_one_line(text, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    key = {"device": "x", "dtype": "float32"}
    path = save_cost(STEPS, key)
    path.write_text(text)
    with pytest.raises(DataError, match=r"not a measured cost.*delete it") as caught:
        find_cost(key)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    row = {**key, "device": "y", "rows": [1, 2], "seconds": [1.0, 2.0]}
    path.write_text(json.dumps(row))
    with pytest.raises(DataError, match="another device"):
        find_cost(key)
    path.write_text(json.dumps({**row, **key, "seconds": [2.0, 1.0]}))
    with pytest.raises(DataError, match="none below the one before"):
        find_cost(key)


def test_a_folder_that_cannot_be_written_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "parallel-branches").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match="cannot be written"):
        save_cost(STEPS, {"device": "x"})


def test_the_command_line_looks_for_a_stored_cost(pinfer, base, adapter):
    """A spoiled one is named, but with fork always nobody asks."""
    from pinfer.models.load import load

    model = load(str(base), str(adapter), None, "cpu").model
    path = cost_path(cost_key(model, attention="auto", path="auto"))
    path.parent.mkdir(parents=True)
    path.write_text("{")
    options = ["--max-new-tokens", "5", "--device", "cpu"]
    code, _, err = pinfer("Go on.", *options)
    assert code == 1 and str(path) in err.splitlines()[-1] and "Traceback" not in err
    assert pinfer("Go on.", *options, "--fork", "always")[0] == 0
