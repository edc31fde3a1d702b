"""Sampling with drafts that were drawn: the real engine's samples follow the model's distribution,
whatever the drafts were drawn from."""

import copy

import pytest
import torch

from pinfer.drafting.draft import Draft
from pinfer.params import EngineLimits, SamplingParams
from pinfer.sampling.processors import process
from pinfer.scheduling.batch import SampleSite
from tests.support.draft_sources import Guessing
from tests.support.toy_engine import END_OF_TEXT, KNOWN, MARKERS, SIZE, Toy, toy_model

torch.set_num_threads(1)
PROMPT, TOKENS = [3, 1, 4], 4
PARAMS = SamplingParams(
    max_new_tokens=TOKENS, mode="linear", temperature=0.9, top_k=5, repetition_penalty=1.3
)
BARRED = [*MARKERS.as_dict().values(), *range(KNOWN, SIZE)]


@torch.inference_mode()
def expected(model, params):
    """Probabilities of all texts, from plain forwards, each under its own prefix's penalty."""
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("sdpa")
    open_, done = {(): 1.0}, {}
    while open_:
        text, weight = open_.popitem()
        if len(text) == TOKENS or text[-1:] == (END_OF_TEXT,):
            done[text] = weight
            continue
        ids = [*PROMPT, *text]
        logits = plain(torch.tensor([ids]), use_cache=False).logits[0, -1:].float()
        logits[:, BARRED] = -torch.inf
        site = SampleSite(0, params, (), len(ids), 0, frozenset(ids))
        for token, p in enumerate(process(logits, [site])[0].softmax(-1).tolist()):
            if p:
                open_[*text, token] = weight * p
    return done


def drawn_from(distribution, seed):
    """Guesses drawn from `distribution(place, text so far)`, markers and ends among them."""
    g = torch.Generator().manual_seed(seed)

    def guess(lane, most):
        tokens, rows = [], []
        for _ in range(most):
            q = distribution([*(t for t, _ in lane.items), *tokens])
            tokens.append(int(torch.multinomial(q, 1, generator=g)))
            rows.append(q)
        return Draft(tokens, torch.stack(rows)) if rows else Draft()

    return Guessing(guess)


def near(model_law):
    """The right distribution, blurred: most guesses hold."""

    def distribution(text):
        q = torch.full((SIZE,), 0.3 / SIZE, dtype=torch.float64)
        for found, p in model_law.items():
            if found[: len(text)] == tuple(text) and len(found) > len(text):
                q[found[len(text)]] += p
        return q / q.sum()

    return distribution


def unrelated(text):
    g = torch.Generator().manual_seed(hash(tuple(text)) % 1000)
    return torch.randn(SIZE, generator=g, dtype=torch.float64).mul(2).softmax(0)


@pytest.mark.parametrize(
    ("kind", "n"),
    [("near", 1000), ("unrelated", 1000), pytest.param("near", 25_000, marks=pytest.mark.slow)],
)
def test_samples_follow_the_model(kind, n):
    """Chi-square over whole texts of four tokens, so that a bias in any of them shows: 100,000
    tokens in the slow run."""
    model = toy_model("qwen2", 5, {END_OF_TEXT: 1.0})
    law = expected(model, PARAMS)
    source = drawn_from(near(law) if kind == "near" else unrelated, 1)
    limits = EngineLimits(max_draft_rows=500)
    counts, drafted, accepted = dict.fromkeys(law, 0), 0, 0
    params = [SamplingParams(**{**as_dict(PARAMS), "seed": seed}) for seed in range(n)]
    for request in Toy(model, limits=limits, source=source).run([PROMPT] * n, params):
        counts[tuple(t for t, _, _ in request.trunk.tokens())] += 1
        drafted += request.stats.drafted
        accepted += request.stats.accepted.total()
    assert 0.02 < accepted / drafted < 0.98
    assert_follows(law, counts, n)


def assert_follows(law, counts, n):
    """Chi-square; rare texts are counted as one."""
    often = [text for text, p in law.items() if p * n > 5]
    pairs = [(counts[text], law[text] * n) for text in often]
    pairs.append((n - sum(c for c, _ in pairs), n - sum(e for _, e in pairs)))
    chi = sum((c - e) ** 2 / e for c, e in pairs if e > 5)
    freedom = len(pairs) - 1
    assert freedom > 10
    assert chi < freedom + 4 * (2 * freedom) ** 0.5, f"chi-square {chi:.0f} of {freedom}"


def as_dict(params):
    return {name: getattr(params, name) for name in params.__slots__}


def test_the_same_test_fails_for_a_wrong_report():
    """Guesses drawn from one distribution and reported as of another."""
    model = toy_model("qwen2", 5, {END_OF_TEXT: 1.0})
    law = expected(model, PARAMS)
    right = drawn_from(unrelated, 1)

    def guess(lane, most):
        draft = right.guess(lane, most)
        if not draft.tokens:
            return draft
        flat = torch.full_like(draft.distributions, 1 / SIZE)
        return Draft(draft.tokens, flat)

    counts = dict.fromkeys(law, 0)
    params = [SamplingParams(**{**as_dict(PARAMS), "seed": seed}) for seed in range(3000)]
    toy = Toy(model, limits=EngineLimits(max_draft_rows=500), source=Guessing(guess))
    for request in toy.run([PROMPT] * 3000, params):
        counts[tuple(t for t, _, _ in request.trunk.tokens())] += 1
    with pytest.raises(AssertionError, match="chi-square"):
        assert_follows(law, counts, 3000)
