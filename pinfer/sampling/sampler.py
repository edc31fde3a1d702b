"""Samples tokens from logits under the grammar.

A sample is keyed by (seed, prompt, path, position), so it depends neither on what else is in the
batch nor on scheduling; sample i of a prompt has the seed plus i. Of guesses, only those with a
distribution of their own change samples (not how these are distributed). Knows sites, no lanes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pbranch.errors import ModelError
from pbranch.format.grammar import LaneState
from pinfer.drafting.verification import verify
from pinfer.request.state import Logprob
from pinfer.sampling.noise import gumbel
from pinfer.sampling.processors import process
from pinfer.scheduling.batch import Choice, SampleSite

# the state of a lane that may not fork, and what it would be if it might
_IF_FORK_ALLOWED = {LaneState.TRUNK_FLAT: LaneState.TRUNK, LaneState.BRANCH_FLAT: LaneState.BRANCH}


@dataclass(frozen=True, slots=True)
class SiteSample:
    """What was sampled at one site. `unconstrained`: from the bare model's logits; `legal`: whether
    the grammar allows that; `constrained`: from what is legal; `if_fork_allowed`: the same if no
    limit kept the lane from a fork."""

    unconstrained: int
    legal: bool
    constrained: int
    if_fork_allowed: int


class Sampler:
    """`legal` (states, vocabulary), bool: the grammar's table."""

    def __init__(self, legal: Tensor) -> None:
        self.legal = legal

    def barring(self, tokens: Mapping[LaneState, Sequence[int]]) -> "Sampler":
        """A sampler that never samples these tokens in these states."""
        legal = self.legal.clone()
        for state, barred in tokens.items():
            legal[state, [i for i in barred if i < self.vocabulary]] = False
        return Sampler(legal)

    @property
    def vocabulary(self) -> int:
        """Tokens that there are logits of."""
        return self.legal.shape[1]

    def __call__(self, logits: Tensor, sites: Sequence[SampleSite]) -> list[Choice]:
        """One choice a site from logits (sites, vocabulary)."""
        if not sites:
            return []
        logits = logits if logits.dtype == torch.float64 else logits.float()
        choices = []
        for i, (site, found) in enumerate(zip(sites, self._sample(logits, sites), strict=True)):
            bound = site.params.grammar == "on"
            token = found.constrained if bound else found.unconstrained
            wanted = found.if_fork_allowed if bound else token
            token = token if site.given is None else site.given
            choices.append(Choice(token, found.legal, wanted, logprob_at(logits[i], site, token)))
        return choices

    def _sample(self, logits: Tensor, sites: Sequence[SampleSite]) -> list[SiteSample]:
        unconstrained = sample(logits, sites)
        states = [site.state for site in sites]
        constrained, free, legal = self._sample_legal(logits, sites, states, unconstrained)
        freer = [
            _IF_FORK_ALLOWED.get(s.state, s.state) if s.params.forks else s.state for s in sites
        ]
        wanted = constrained
        if freer != states:
            wanted, _, _ = self._sample_legal(logits, sites, freer, unconstrained)
        return list(map(SiteSample, free, legal, constrained, wanted))

    def _sample_legal(
        self,
        logits: Tensor,
        sites: Sequence[SampleSite],
        states: Sequence[LaneState],
        unconstrained: Tensor,
    ) -> tuple[list[int], list[int], list[bool]]:
        """The tokens sampled among the legal ones, the unconstrained ones, and whether those are
        legal.

        Greedy sites of which all have a legal best token wait for the device once, and no
        vocabulary is masked: the best of all tokens is then the best of the legal ones.
        """
        # from pinned memory numbers go over without waiting for the device
        rows = torch.tensor(states, pin_memory=unconstrained.is_cuda)
        rows = rows.to(unconstrained.device, non_blocking=True)
        allowed = self.legal[rows, unconstrained].long()
        numbers = logits.amax(-1).isfinite().long()  # a NaN is the largest of all
        free, legal, finite = torch.stack((unconstrained, allowed, numbers)).tolist()
        if not all(finite):
            raise ModelError(
                "the model's logits are NaN or infinite; expected numbers. Its weights are broken, "
                "or too large for its dtype (float16 overflows where bfloat16 does not)"
            )
        tokens = free
        if not all(legal) or any(site.params.temperature > 0 for site in sites):
            masked = logits.masked_fill(~self.legal[rows], float("-inf"))
            tokens = sample(masked, sites).tolist()
        return tokens, free, list(map(bool, legal))


def sample(logits: Tensor, sites: Sequence[SampleSite]) -> Tensor:
    """A token a site (sites,), left on the device, from logits (sites, vocabulary); each request's
    sites by themselves, with its own parameters."""
    tokens = logits.argmax(-1)
    members: dict[int, list[int]] = {}
    for i, site in enumerate(sites):
        if not site.params.is_argmax:
            members.setdefault(site.request, []).append(i)
    for rows in members.values():
        mine = [sites[i] for i in rows]
        processed = process(logits[rows], mine)
        if mine[0].params.temperature > 0:
            processed = given_drafts(processed, mine) + gumbel(mine, processed)
        tokens[rows] = processed.argmax(-1)
    return tokens


def given_drafts(logits: Tensor, sites: Sequence[SampleSite]) -> Tensor:
    """Processed logits (sites, vocabulary), those of sites for which a token was drawn and drafted
    changed by it, see `verify`."""
    drafted = [(i, site.proposal) for i, site in enumerate(sites) if site.proposal is not None]
    if not drafted:
        return logits
    rows = torch.tensor([i for i, _ in drafted], device=logits.device)
    tokens = torch.tensor([p.token for _, p in drafted], device=logits.device)
    proposal = torch.stack([p.distribution for _, p in drafted]).to(logits)
    target = logits[rows].softmax(-1)
    return logits.index_copy(0, rows, verify(target, proposal, tokens).log())


def logprob_at(logits: Tensor, site: SampleSite, token: int) -> Logprob | None:
    """Of a token under the model's own distribution, logits (vocabulary,); None where not asked."""
    params = site.params
    best = params.logprobs if site.given is None else params.prompt_logprobs or 0
    if best is None:
        return None
    scores = logits.log_softmax(-1)
    values, ids = scores.topk(min(best, len(scores)))
    return Logprob(float(scores[token]), tuple(zip(ids.tolist(), values.tolist(), strict=True)))
