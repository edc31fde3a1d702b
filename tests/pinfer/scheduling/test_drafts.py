"""Several sampled tokens of a lane in one pass: guesses change passes, never tokens."""

import random

import pytest
import torch

from pbranch.format.layout import LayoutOptions
from pinfer.params import EngineLimits
from tests.conftest import MODEL_KINDS
from tests.support.draft_sources import Guessing, recalling
from tests.support.toy_engine import MARKERS, Toy, greedy, reference_tokens, toy_model

torch.set_num_threads(1)
OPTIONS = [LayoutOptions(), LayoutOptions("flat", "own"), LayoutOptions("max", "all", "reencode")]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_tokens_are_those_of_the_reference(kind, options):
    """Nested and repeated forks, guesses right, wrong, mixed: up to five sampled tokens of a lane
    in a pass, then truncated by as many as were wrong."""
    model, rng = toy_model(kind, 7), random.Random(kind)
    prompts = [[rng.randrange(16) for _ in range(rng.randint(1, 6))] for _ in range(4)]
    params = greedy(max_new_tokens=45, draft_tokens=4)
    wanted = [reference_tokens(model, prompt, params, options) for prompt in prompts]
    plain = Toy(model, options).run(prompts, params)
    most, in_branch, dropped = [], [], 0

    def look(batch, _):
        for _, drafts, _ in batch.by_lane(batch.sites):
            most.append(1 + len(drafts))
            in_branch.extend(d.lane.path for d in drafts if d.lane.in_branch)

    for wrong in (0.0, 0.3, 1.0):
        source = recalling(plain, wrong)
        found = Toy(model, options, source=source, on_step=look).run(prompts, params)
        assert [[t for t, _, _ in r.trunk.tokens()] for r in found] == wanted
        assert [set(r.limits) for r in found] == [set(r.limits) for r in plain]
        dropped += sum(r.stats.dropped for r in found) if wrong else 0
        passes, without = (sum(r.stats.passes for r in rs) for rs in (found, plain))
        assert passes < without if wrong < 1 else passes <= without
        for request, other in zip(found, plain, strict=True):
            kept, all_kept = (r.stats.fed - r.stats.dropped for r in (request, other))
            if request.finish_reason == "stop":  # else the last passes may feed less
                assert kept == all_kept, "rejected guesses are left in the cache"
    assert max(most) == 5 and in_branch and dropped > 20


@pytest.mark.parametrize("changes", [{"max_width": 1}, {"mode": "serial"}, {"temperature": 1.0}])
def test_widths_rows_and_noise_change_nothing(changes):
    """Sampling too: a site has its own noise, so a guess is right or wrong as without it."""
    model, rng = toy_model("qwen3", 3), random.Random(5)
    prompts = [[rng.randrange(16) for _ in range(5)] for _ in range(6)]
    params = greedy(max_new_tokens=50, repetition_penalty=1.2, stop=("ab",), **changes)
    plain = Toy(model).run(prompts, params)
    wanted = [[t for t, _, _ in r.trunk.tokens()] for r in plain]
    assert sum(MARKERS.join in tokens for tokens in wanted) > 2
    two = EngineLimits(max_rows=4, max_requests=2)  # guesses take the rows that tokens leave
    for limits in (EngineLimits(), two, EngineLimits(max_requests=2)):
        source = recalling(plain, 0.2, seed=limits.max_rows)
        found = Toy(model, limits=limits, source=source).run(prompts, params)
        assert [[t for t, _, _ in r.trunk.tokens()] for r in found] == wanted
        assert source.asked > 10


def test_guesses_stop_before_markers_and_ends():
    """A guess is ordinary text: markers and the end of a text are never fed on trial."""
    model, fed = toy_model("llama", 2), []
    barred = {*MARKERS.as_dict().values(), 22}

    def look(batch, _):
        fed.extend(token.token_id for token in batch.tokens if token.draft)

    source = Guessing(lambda lane, most: [1, MARKERS.fork, 2, 22])
    toy = Toy(model, source=source, on_step=look)
    toy.run([[1, 2, 3]], greedy(max_new_tokens=30))
    assert fed and not barred & set(fed)
