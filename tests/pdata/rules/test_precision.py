"""Precision before recall: seeded lists whose steps do or do not need one another, and a second
opinion on every fork of worked arithmetic."""

from collections import Counter

import pytest
from pdata.rules.rewriter import rewrite

from tests.support.list_texts import DEPENDENT, INDEPENDENT, draw

N = 300


def forked(writers, seed: int) -> bool:
    prompt, text, _ = draw(writers, seed)
    return not rewrite(text, prompt).reason


@pytest.mark.parametrize("base", [0, 10_000])
def test_dependent_lists_stay_linear(base: int) -> None:
    wrong = [draw(DEPENDENT, base + i) for i in range(N) if forked(DEPENDENT, base + i)]
    assert len(wrong) < 0.02 * N, Counter(kind for *_, kind in wrong)


@pytest.mark.parametrize("base", [0, 10_000])
def test_independent_lists_fork(base: int) -> None:
    missed = [draw(INDEPENDENT, base + i) for i in range(N) if not forked(INDEPENDENT, base + i)]
    assert len(missed) < 0.05 * N, Counter(kind for *_, kind in missed)
