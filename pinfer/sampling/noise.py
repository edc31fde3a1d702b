"""Gumbel noise keyed by seed, prompt, lane and position: samples do not depend on the batch."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from pinfer.scheduling.batch import SampleSite


def gumbel(sites: Sequence[SampleSite], like: Tensor, purpose: str = "") -> Tensor:
    """Gumbel noise (sites, vocabulary), float64, that belongs to the tokens sampled at the sites;
    purpose: other noise for the same tokens, as for guesses of them.

    The token with the largest sum of logit and noise has the probability that softmax gives it
    (Gumbel 1954). Each token's noise is its own, so rounding in the logits changes a sample only
    where two sums nearly tie, and not wherever a cumulated sum does. SplitMix64 (Steele, Lea and
    Flood 2014) makes it of the site's key and the token: the same on every device.
    """
    keys = torch.tensor([[_key(site, purpose)] for site in sites], device=like.device)
    x = keys + torch.arange(1, like.shape[1] + 1, device=like.device) * _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    uniform = (_shift(x ^ _shift(x, 31), 12).double() + 0.5) / 2**52
    return -torch.log(-torch.log(uniform))


def _key(site: SampleSite, purpose: str) -> int:
    """Of 64 bits, for the token at a site."""
    place = f"{site.path}|{site.position}{purpose}"
    key = f"{site.params.seed}|{site.prompt_key}|{place}"
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big", signed=True)


def _signed(bits: int) -> int:
    return bits - (1 << 64) if bits >> 63 else bits


def _shift(x: Tensor, n: int) -> Tensor:
    """Logical shift to the right, of int64."""
    return (x >> n) & ((1 << (64 - n)) - 1)
