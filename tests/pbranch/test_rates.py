"""Rates over answers, written out."""

from dataclasses import dataclass

from pbranch.rates import measure_rates


@dataclass(frozen=True)
class Answer:
    to_fork: bool
    well_formed: bool
    branches: int


def test_every_answer_counts_in_its_own_group() -> None:
    answers = [
        Answer(True, True, 3),
        Answer(True, False, 0),
        Answer(True, True, 2),
        Answer(False, True, 0),
        Answer(False, True, 4),
    ]
    assert measure_rates(answers) == {
        "format_rate": 4 / 5,
        "fork_rate": 2 / 3,
        "no_fork_rate": 1 / 2,
        "mean_branches": 3.0,
    }


def test_a_group_without_prompts_has_no_rate() -> None:
    assert measure_rates([Answer(True, True, 2)]).keys() == {
        "format_rate",
        "fork_rate",
        "mean_branches",
    }
    assert measure_rates([Answer(False, True, 0)]) == {
        "format_rate": 1.0,
        "no_fork_rate": 1.0,
        "mean_branches": 0.0,
    }
    assert measure_rates([]) == {"format_rate": 0.0, "mean_branches": 0.0}
