"""benchmarks/markers.py: which traces it takes, and what it says of runs."""

import importlib.util
import json
import xml.etree.ElementTree as ET

import pytest

from pbranch.format.markers import MARKERS, Role
from tests.ptrain.conftest import make_records, write_records
from tests.support.repository import ROOT


@pytest.fixture(scope="module")
def markers():
    spec = importlib.util.spec_from_file_location("markers", ROOT / "benchmarks" / "markers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_takes_so_many_traces_that_fork_of_each_file(markers, tmp_path):
    one = write_records(tmp_path / "one.jsonl", make_records(12))
    two = write_records(
        tmp_path / "two.jsonl", [r | {"id": f"two-{r['id']}"} for r in make_records(9)]
    )
    assert markers.mix([f"{one}:3", f"{two}:2"], tmp_path / "out.jsonl", 0) == 5
    found = [json.loads(x) for x in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert all(MARKERS[Role.FORK] in x["completion"] for x in found)
    assert (
        sum(x["id"].startswith("two-") for x in found) == 2 and len({x["id"] for x in found}) == 5
    )
    with pytest.raises(SystemExit, match="traces fork, expected 500"):
        markers.mix([f"{one}:500"], tmp_path / "out.jsonl", 0)


def test_each_marker_is_named_over_the_steps(markers, tmp_path):
    right = {f"eval_accuracy_{name}": 0.5 for name in markers.SHOWN}
    first = {"step": 20, "eval_loss": 1.0, **right}
    last = {
        "step": 40,
        "eval_loss": 0.5,
        **right,
        "eval_accuracy_fork": 0.91,
        "eval_fork_rate": 1.0,
    }
    (tmp_path / "train_report.json").write_text(json.dumps({"evaluations": [first, last]}))
    table = markers.draw_table([tmp_path]).splitlines()
    assert table[2].endswith("| 20 | 1.000 | 0.50 | 0.50 | 0.50 | 0.50 | – | – |")
    assert table[3].endswith("| 40 | 0.500 | 0.91 | 0.50 | 0.50 | 0.50 | 1.00 | – |")
    drawn = ET.fromstring(markers.draw_curves(tmp_path))
    lines = [x.get("points") for x in drawn if x.tag.endswith("polyline")]
    assert len(lines) == 4 and len({x.split()[0] for x in lines}) == 1
    assert len({x.split()[1] for x in lines}) == 2  # fork ends higher than the others
