"""Samples follow the model where what was guessed decides how far the next draft goes: a stop token
is never fed, and the answer's end leaves fewer look-ahead rows. The model and its rows say the same
at every place, so that each token's law is known."""

from collections import Counter

import pytest
import torch

from pinfer.drafting.lookahead import MODES, LookaheadSource
from pinfer.model_spec import ModelSpec
from pinfer.params import EngineLimits, SamplingParams
from pinfer.sampling.sampler import Sampler
from pinfer.scheduling.scheduler import Scheduler

STOP, NEW = 3, 4
P = torch.tensor([0.32, 0.32, 0.31, 0.05], dtype=torch.float64)
Q = torch.tensor([0.02, 0.03, 0.6, 0.35])


def sample(mode: str, seed: int, rows: int) -> tuple[list[int], int]:
    """The tokens of an answer, and how many of them were guessed."""
    source = LookaheadSource({"embeddings": torch.zeros(3, 1)}, mode)  # type: ignore[arg-type]
    spec, limits = ModelSpec(None, frozenset({99}), 10_000), EngineLimits(max_draft_rows=rows)
    scheduler = Scheduler(spec, limits, source=source)
    sampler = Sampler(torch.ones(9, len(P), dtype=torch.bool))
    params = SamplingParams(
        max_new_tokens=NEW, temperature=1.0, seed=seed, mode="linear", stop_token_ids=(STOP,)
    )
    request = scheduler.add([1], params)
    while scheduler.busy:
        batch = scheduler.schedule()
        ahead = [token for token in batch.tokens if token.scratch]
        if batch.ahead and ahead:
            batch.ahead.take(ahead, Q.log().expand(len(ahead), -1))
        scheduler.commit(batch, sampler(P.log().expand(len(batch.sites), -1), batch.sites))
        scheduler.take_finished()
    return [token for token, _, _ in request.trunk.tokens()], request.stats.accepted.total()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rows", [256, 5])
def test_every_token_follows_the_model(mode, rows):
    counts, accepted = [Counter[int]() for _ in range(NEW)], 0
    for seed in range(2000):
        tokens, guessed = sample(mode, seed, rows)
        accepted += guessed
        for place, token in enumerate(tokens):
            counts[place][token] += 1
    assert accepted > 500
    for place in counts:
        n = place.total()
        chi = sum((place[x] - n * p) ** 2 / (n * p) for x, p in enumerate(P.tolist()))
        assert chi < 16.3, f"one in a thousand at 3 degrees of freedom: {place}"
