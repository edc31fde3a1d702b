"""What tests of the rules share."""

import pytest


@pytest.fixture
def any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short texts tell as much of dependence as long ones, though a fork saves nothing there."""
    monkeypatch.setattr("pdata.rules.rewriter.saves_passes", lambda block: True)
