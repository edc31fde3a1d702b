"""Speculative sampling is exact, by enumeration of all that can be drafted and sampled; and rules
that others have shipped fail the same test."""

import itertools
import math
import random

import pytest
import torch

from pinfer.drafting.draft import Draft, Wish
from pinfer.drafting.ngram import NgramSource
from pinfer.drafting.verification import verify
from pinfer.model_spec import ModelSpec
from pinfer.params import SamplingParams
from pinfer.request.marker_controller import MARKERS
from pinfer.request.transitions import open_request

torch.set_num_threads(1)
SIZE, LENGTH = 4, 4
EVERY = torch.arange(SIZE)
PAIRS = [0, 0, 1, 0, 2, 0, 3, 1, 1, 2, 1, 3, 2, 2, 3, 3, 0]  # each pair of tokens once
SPEC = ModelSpec(None, frozenset({99}), 100)


def table(seed, sharp=1.0):
    """A distribution for each text; some have zeros."""
    found = {}

    def distribution(text):
        if text not in found:
            rng = random.Random(f"{seed} {text}")
            weights = [math.exp(sharp * rng.gauss(0, 1)) for _ in range(SIZE)]
            if rng.random() < 0.3:
                weights[rng.randrange(SIZE)] = 0.0
            x = torch.tensor(weights, dtype=torch.float64)
            found[text] = x / x.sum()
        return found[text]

    return distribution


def one_hot(token):
    return torch.nn.functional.one_hot(torch.tensor(token), SIZE).double()


def exact(target, proposal):
    """(drafted, sampled): what `verify` says for every draft."""
    return verify(target.expand(SIZE, -1), proposal.expand(SIZE, -1), EVERY)


def law(target, draft, length, rule=exact, tapped=0):
    """The distribution of the first LENGTH tokens, as a dict, decoded in passes with drafts of so
    many tokens. draft(prefix, guesses): (what the next guess is drawn from, what is reported),
    or None; tapped: how many positions too early the verified distribution is read."""
    done, open_ = {}, {(): 1.0}
    while open_:
        prefix, weight = open_.popitem()
        if len(prefix) >= LENGTH:
            done[prefix[:LENGTH]] = done.get(prefix[:LENGTH], 0) + weight
            continue
        live = {(): weight}  # guesses so far, all accepted
        for place in range(length + 1):
            following = {}
            for guesses, w in live.items():
                text = (*prefix, *guesses)
                p = target(text[: max(len(prefix), len(text) - tapped)])
                drafted = draft(prefix, guesses) if place < length else None
                if drafted is None:
                    add(open_, text, w * p)
                    continue
                drawn, reported = drafted
                sampled = rule(p, reported)
                for d in range(SIZE):
                    if not drawn[d]:
                        continue
                    row = w * drawn[d] * sampled[d]
                    following[*guesses, d] = following.get((*guesses, d), 0) + float(row[d])
                    row[d] = 0
                    add(open_, text, row)
            live = following
    return done


def add(weights, prefix, row):
    for token, weight in enumerate(row.tolist()):
        if weight:
            key = (*prefix, token)
            weights[key] = weights.get(key, 0) + weight


def distance(target, draft, length, **how):
    """Total variation between decoding with drafts and sampling one token after another."""
    found = law(target, draft, length, **how)
    gap = 0.0
    for text in itertools.product(range(SIZE), repeat=LENGTH):
        wanted = 1.0
        for n, token in enumerate(text):
            wanted *= float(target(text[:n])[token])
        gap += abs(wanted - found.get(text, 0.0))
    return gap / 2


def same(proposal):
    """Drafts that report what they were drawn from."""
    return lambda prefix, guesses: (proposal(prefix, guesses),) * 2


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_any_draws_leave_the_distribution(seed, length):
    """Guesses that depend on all before them, on the prefix alone, or on nothing."""
    target, other = table(seed), table(seed + 100, 2.0)
    for proposal in (
        lambda prefix, guesses: other((*prefix, *guesses)),
        lambda prefix, guesses: other((*prefix, *[0] * len(guesses))),
        lambda prefix, guesses: torch.full((SIZE,), 1 / SIZE, dtype=torch.float64),
        lambda prefix, guesses: target((*prefix, *guesses)),
    ):
        assert distance(target, same(proposal), length) < 1e-12


@pytest.mark.parametrize("length", [1, 3])
def test_certain_drafts_leave_the_distribution(length):
    target, other = table(5), table(6)

    def argmax(prefix, guesses):
        return one_hot(int(other((*prefix, *guesses)).argmax()))

    assert distance(target, same(argmax), length) < 1e-12
    p, drafted = target(()), one_hot(2)
    torch.testing.assert_close(exact(p, drafted)[2], p, rtol=0, atol=1e-15)


@pytest.mark.parametrize("source", [NgramSource(), NgramSource(longest=3, shortest=1)])
def test_sources_leave_the_distribution(source):
    """What a source drafts for each prefix; one that reports no distribution is certain."""
    target, drafts, guessed = table(7), {}, 0

    def draft(prefix, guesses):
        nonlocal guessed
        if prefix not in drafts:
            request = open_request(0, PAIRS, SamplingParams(), SPEC, MARKERS)
            request.trunk.items += [(token, False) for token in prefix]
            (drafts[prefix],) = source.propose([Wish(request.trunk, 3)])
            source.forget(request)
        found: Draft = drafts[prefix]
        assert found.distributions is None
        n = len(guesses)
        if n < len(found.tokens) and guesses == tuple(found.tokens[:n]):
            guessed += 1
            return (one_hot(found.tokens[n]),) * 2
        return None

    assert distance(target, draft, 3) < 1e-12
    assert guessed > 20


def test_a_certain_target_is_not_changed():
    """Greedy decoding: whatever was drafted, the best token is sampled."""
    for best in range(SIZE):
        for seed in range(5):
            q = table(seed)((1, 2)).clamp(min=1e-9)
            wanted = one_hot(best).expand(SIZE, -1)
            torch.testing.assert_close(exact(one_hot(best), q), wanted, rtol=0, atol=0)


def test_as_many_drafts_are_accepted_as_can_be():
    """1 - total variation, the most that any exact rule accepts."""
    for seed in range(20):
        p, q = table(seed)((0,)), table(seed + 50)((0,)).clamp(min=1e-6)
        q = q / q.sum()
        accepted = float((q * exact(p, q).diagonal()).sum())
        assert accepted == pytest.approx(1 - float((p - q).abs().sum()) / 2, abs=1e-12)


def from_target(p, q):
    """Rejected: sampled from the target, not from what is left of it."""
    accepted = (p / q).clamp(max=1)[:, None]
    return accepted * torch.eye(SIZE) + (1 - accepted) * p


def truncated(proposal):
    """Drawn from the best two, reported before the others were taken away."""

    def draft(prefix, guesses):
        raw = proposal((*prefix, *guesses)).clamp(min=1e-6)
        drawn = torch.where(raw >= raw.topk(2).values[-1], raw, 0)
        return drawn / drawn.sum(), raw / raw.sum()

    return draft


def softmax_of_argmax(proposal):
    """The best token, reported as if it had been drawn."""

    def draft(prefix, guesses):
        raw = proposal((*prefix, *guesses)).clamp(min=1e-6)
        return one_hot(int(raw.argmax())), raw / raw.sum()

    return draft


def reported_late(proposal):
    """Drawn from one position, reported from the next."""

    def draft(prefix, guesses):
        late = proposal((*prefix, *guesses, 0)).clamp(min=1e-6)
        return proposal((*prefix, *guesses)), late / late.sum()

    return draft


def taken_out(barred):
    """A drafted token that may not be fed, and what was sampled as if nothing had been drafted."""

    def rule(p, q):
        found = exact(p, q)
        found[barred] = p
        return found

    return rule


@pytest.mark.parametrize(
    ("draft", "how"),
    [
        (lambda q: same(lambda a, b: q((*a, *b)).clamp(min=1e-6)), {"rule": from_target}),
        (truncated, {}),
        (softmax_of_argmax, {}),
        (reported_late, {}),
        (lambda q: same(lambda a, b: q((*a, *b))), {"tapped": 1}),
        (lambda q: same(lambda a, b: q((*a, *b))), {"rule": taken_out(1)}),
    ],
    ids=[
        "from target",
        "raw after top-k",
        "softmax of argmax",
        "late",
        "tapped early",
        "taken out",
    ],
)
def test_wrong_rules_fail_the_same_test(draft, how):
    target, other = table(8), table(9)
    assert distance(target, draft(other), 2, **how) > 0.02


def test_a_draft_says_what_it_was_drawn_from():
    q = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    assert Draft([0, 2], q).proposal(1).token == 2
    assert Draft([0, 2], q).proposal(2) is None and Draft([0, 2]).proposal(0) is None
    with pytest.raises(ValueError, match="token 2, which its distribution never draws"):
        Draft([2, 2], q)
    with pytest.raises(ValueError, match=r"a draft of 3 tokens: distributions \(2, 3\)"):
        Draft([0, 0, 2], q)
