"""What looking ahead is worth, by what passes cost and how often guesses come true.

Look-ahead rows of one pass are the guesses of the next one, so what counts is the price of a token
in passes that follow one another.
"""

from collections.abc import Sequence

from pinfer.cost.pass_cost import PassCost
from pinfer.drafting.lookahead import LookaheadSource


def price_ahead(
    source: LookaheadSource, reach: int, chances: Sequence[float], lanes: int, cost: PassCost
) -> float:
    """Seconds that a token of `lanes` lanes takes, where `reach` rows stand behind each anchor.
    chances: that a guess and all before it are right."""
    accepted, all_right = sum(chances[:reach]), chances[reach - 1]
    # passes without a guess, for each one that verifies: in mode tail where a guess was wrong
    empty = {"two_pass": 1.0, "tail": 1 - all_right, "fused": 0.0}[source.mode]
    verifying = cost(lanes * (1 + reach + source.count_rows(reach, reach)))
    drafting = cost(lanes * (1 + source.count_rows(0, reach)))
    return (verifying + empty * drafting) / (lanes * (1 + accepted + empty))
