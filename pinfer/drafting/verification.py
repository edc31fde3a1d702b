"""Speculative sampling: what a drafted token makes of the distribution that it is verified by."""

import torch
from torch import Tensor


def verify(target: Tensor, proposal: Tensor, tokens: Tensor) -> Tensor:
    """The distribution of the next token, given that a token was drafted: a sample of it that
    equals the draft accepts the draft, any other one replaces it.

    Speculative sampling (Leviathan et al., arXiv 2211.17192; Chen et al., arXiv 2302.01318) accepts
    d, drawn from q, with probability min(1, p(d) / q(d)), and else samples from max(p - q, 0),
    normalised. Written as one distribution, that is

        m(x | d) = min(1, p(d) / q(d)) [x = d] + (1 - min(1, p(d) / q(d))) max(p - q, 0) / sum,

    and sum_d q(d) m(x | d) = p(x): the target is sampled, whatever the draft. Two cases need no
    call. A draft that is certain (q is 1 at d, as in prompt lookup) gives m = p. So does a target
    that is certain (greedy decoding). There the samples, keyed by lane and position, are the very
    tokens of a run without drafts. Elsewhere m depends on d: the distribution stays, seeds give
    other tokens.

    Args:
        target: (sites, vocabulary), p: probabilities under the model, processed.
        proposal: (sites, vocabulary), q: what each token was really drawn from.
        tokens: (sites,), d: the drafted tokens, none of probability 0 under q.

    Returns:
        (sites, vocabulary), m, in the dtype of `target`.
    """
    at = tokens[:, None]
    accepted = (target.gather(-1, at) / proposal.gather(-1, at)).clamp(max=1)
    residual = (target - proposal).clamp(min=0)
    total = residual.sum(-1, keepdim=True)  # 0 where p = q, and nothing is rejected
    rejected = torch.where(total > 0, (1 - accepted) * residual / total, 0)
    return rejected.scatter_add(-1, at, accepted)
