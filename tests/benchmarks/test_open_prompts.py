"""benchmarks/open_prompts.py: no two prompts are equal, and the splits share nothing."""

import importlib.util
import json

import pytest

from tests.support.repository import ROOT


@pytest.fixture(scope="module")
def prompts():
    place = ROOT / "benchmarks" / "open_prompts.py"
    spec = importlib.util.spec_from_file_location("open_prompts", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(prompts, monkeypatch, path, *options):
    monkeypatch.setattr("sys.argv", ["open_prompts.py", "--out", str(path), *options])
    prompts.main()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_half_of_them_ask_for_parts_and_no_two_are_equal(prompts, monkeypatch, tmp_path):
    rows = write(prompts, monkeypatch, tmp_path / "a.jsonl", "--n", "600")
    assert len({row["prompt"] for row in rows}) == len({row["id"] for row in rows}) == 600
    assert sum(row["parts"] for row in rows) == 300
    assert not [row for row in rows if "{" in row["prompt"]]
    again = write(prompts, monkeypatch, tmp_path / "b.jsonl", "--n", "600")
    other = write(prompts, monkeypatch, tmp_path / "c.jsonl", "--n", "600", "--seed", "1")
    assert rows == again != other


def test_the_splits_share_no_subject_and_no_wording(prompts):
    for kind in prompts.SUBJECTS:
        mine, held = (prompts.subjects(kind, heldout) for heldout in (False, True))
        assert mine and held and not set(mine) & set(held)
    for kinds in (prompts.PARTS, prompts.CHAINS):
        mine, held = (prompts.wordings(kinds, heldout) for heldout in (False, True))
        assert mine and held and not set(mine) & set(held)


def test_more_than_there_are_is_an_error(prompts, monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match=r"--n 100000: at most \d+ different prompts"):
        write(prompts, monkeypatch, tmp_path / "a.jsonl", "--n", "100000", "--split", "heldout")
