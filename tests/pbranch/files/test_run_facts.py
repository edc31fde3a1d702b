"""A run goes on with what it was made of, and with nothing else."""

from pathlib import Path

import pytest

from pbranch.errors import DataError
from pbranch.files.run_facts import check_run, digest, facts_path

FACTS = {"source": {"a.jsonl": "12"}, "--max-words": None, "--map": {}}


def test_the_same_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    check_run(out, FACTS, resume=False)
    check_run(out, {**FACTS, "--new": None}, resume=True)
    assert [p.name for p in tmp_path.iterdir()] == [facts_path(out).name] == ["o.run"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--max-words": 3}, r"o\.jsonl: made with --max-words none, now 3"),
        ({"source": {"a.jsonl": "13"}}, r'made with source \{"a.jsonl": "12"\}, now'),
        ({"--new": "x"}, 'made with --new none, now "x"'),
    ],
)
def test_what_has_changed_is_named(tmp_path: Path, change: dict, said: str) -> None:
    check_run(tmp_path / "o.jsonl", FACTS, resume=False)
    with pytest.raises(DataError, match=said):
        check_run(tmp_path / "o.jsonl", {**FACTS, **change}, resume=True)
    check_run(tmp_path / "o.jsonl", {**FACTS, **change}, resume=False)
    check_run(tmp_path / "o.jsonl", {**FACTS, **change}, resume=True)


def test_a_run_of_an_earlier_release_is_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    check_run(tmp_path / "o.jsonl", FACTS, resume=True)
    assert "o.run is missing" in capsys.readouterr().err
    (tmp_path / "o.run").write_text("{")
    with pytest.raises(DataError, match="not the facts of a run"):
        check_run(tmp_path / "o.jsonl", FACTS, resume=True)


def test_a_digest_is_of_the_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "a", tmp_path / "b"
    one.write_bytes(b"x" * (1 << 20) + b"y")
    other.write_bytes(one.read_bytes())
    assert digest(one) == digest(other) != digest(one, other)
    other.write_bytes(b"x" * (1 << 20) + b"z")
    assert digest(one) != digest(other)
    assert digest("/dev/null") is None and digest(tmp_path / "none") is None
