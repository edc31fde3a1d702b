"""`pinfer bench` as it is typed, on a tiny model."""

import json
import xml.etree.ElementTree as ET

import pytest

from pinfer import cli
from pinfer.bench import report
from pinfer.bench.timing import BandwidthProbe
from tests.support.run_command import call_main


@pytest.fixture
def bench(monkeypatch, capsys, base):
    """Runs `pinfer bench ARGS` on a tiny model."""
    small = "--model {} --prompt 12 --branches 2 --tokens 4 --trunk 7 --rounds 1 --warmups 0"

    def run(*args):
        monkeypatch.setattr("pinfer.bench.suite.BandwidthProbe", lambda: BandwidthProbe(2**20))
        given = [*small.format(base).split(), *args]
        return call_main(monkeypatch, capsys, cli.main, "pinfer", "bench", *given)

    return run


def test_json_of_the_command(bench, tmp_path):
    plot = tmp_path / "t.svg"
    code, out, err = bench("W1,w2", "--json", "--plot", str(plot))
    assert code == 0, err
    found = json.loads(out)
    assert {"torch", "transformers", "gb_per_second", "load", "steal", "noisy", "threads"} <= set(
        found["machine"]
    )
    assert [x["workload"] for x in found["findings"]] == ["W1", "W2"]
    keys = "parallel_gain ideal efficiency branch_gain engine_gain total_gain peers best_peer"
    assert set(f"{keys} roofline_share seconds check passes".split()) <= set(found["findings"][1])
    ET.fromstring(plot.read_text(encoding="utf-8"))


def test_text_of_the_command(bench):
    code, out, err = bench("W2", "--no-peers")
    assert code == 0, err
    names = ("checked", "parallel_gain", "branch_gain", "roofline_share", "cache", "seconds")
    places = [out.index(name) for name in names]
    assert places == sorted(places) and "engine_gain" not in out
    assert out.startswith(report.LEGEND) and out.count(report.LEGEND) == 1
    assert "\nW2  equal branches · 7 + 2 x 4 + 7 · prompt of 12 tokens\n" in out
    assert out.rstrip().endswith("median [quartiles]")


@pytest.mark.parametrize(
    "args, message",
    [
        (["W9"], "workload 'W9': expected W1, W2"),
        (["W2", "--branches", "2,x"], "--branches '2,x': expected numbers"),
        (["W2", "--dtype", "int8"], "dtype 'int8': expected float32 or bfloat16"),
        (["W2", "--plot", "t.svg"], "--plot t.svg: expected W1 among the workloads"),
        (["W2", "--trunk", "3"], "3 tokens: expected 6 or more"),
    ],
)
def test_wrong_options(bench, args, message):
    code, out, err = bench(*args)
    assert code == 1 and message in err and err.count("\n") == 1 and out == ""


def test_break_even_is_measured_and_stored(bench, monkeypatch, tmp_path):
    """`generate --fork auto` finds it under the model's key."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, out, err = bench("--break-even", "--prompt", "9")
    assert code == 0 and out.splitlines()[0].split()[:2] == ["rows", "ms"]
    assert err.splitlines()[-1].startswith(f"stored in {tmp_path}")


def test_refusals_end_the_command(bench, monkeypatch):
    monkeypatch.setattr("pinfer.bench.oracle.EXACT", 0.0)
    code, out, err = bench("W2", "--no-peers")
    assert code == 1 and "no speed for W2" in err
    assert "NO SPEED" in out and "parallel_gain" not in out
