"""What a pass feeds, and what is sampled from it."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import TypeVar

from pbranch.format.grammar import LaneState
from pinfer.drafting.draft import Proposal
from pinfer.drafting.lookahead import LookaheadSource
from pinfer.params import SamplingParams
from pinfer.request.state import Logprob, Path, QueuedToken, Request

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SampleSite:
    """A token at which the model is asked for the next one, with all that the answer depends on:
    the sampler knows no lanes. `position`: of the next token; `seen`: what a repetition penalty
    looks at, empty where there is none; `given`: a token that is known to follow, of which only the
    logprob is asked; `proposal`: a token that was drafted for it, where that was drawn;
    `prompt_key`: see `hash_tokens`."""

    request: int
    params: SamplingParams
    path: Path
    position: int
    state: LaneState
    seen: frozenset[int] = frozenset()
    given: int | None = None
    proposal: Proposal | None = field(default=None, compare=False)
    prompt_key: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """A token sampled at a site; `legal`: whether the model's own choice was; `wanted`: what had
    been sampled if no limit kept the lane from a fork; `logprob` where the request asks for it."""

    token: int
    legal: bool
    wanted: int = -1
    logprob: Logprob | None = None


@dataclass(slots=True)
class Batch:
    """One pass: tokens grouped by request, each after all that it sees. `logits_indices` are those
    whose logits are needed, one site each; `prefill`: how many are of whose prompt; `ahead`: whose
    the scratch tokens are, if there are any, and who gets their logits."""

    tokens: list[QueuedToken] = field(default_factory=list)
    logits_indices: list[int] = field(default_factory=list)
    sites: list[SampleSite] = field(default_factory=list)
    prefill: list[tuple[Request, int]] = field(default_factory=list)
    ahead: LookaheadSource | None = None

    def add(self, token: QueuedToken, site: SampleSite | None) -> None:
        """One more token; site: where its logits are needed."""
        if site is not None:
            self.logits_indices.append(len(self.tokens))
            self.sites.append(site)
        self.tokens.append(token)

    def with_scratch(
        self, added: Mapping[Request, Sequence[QueuedToken]], source: LookaheadSource
    ) -> "Batch":
        """The same pass with scratch tokens of a source behind the tokens of each request."""
        tokens: list[QueuedToken] = []
        moved: list[int] = []  # where each of the former tokens stands now
        for request, own in groupby(self.tokens, key=lambda token: token.home.request):
            for token in own:
                moved.append(len(tokens))
                tokens.append(token)
            tokens += added.get(request, ())
        indices = [moved[i] for i in self.logits_indices]
        return Batch(tokens, indices, self.sites, self.prefill, source)

    @property
    def sampled(self) -> list[QueuedToken]:
        """The tokens whose logits are needed."""
        return [self.tokens[i] for i in self.logits_indices]

    @property
    def requests(self) -> list[Request]:
        """The requests that have tokens in it, in order."""
        return list(dict.fromkeys(token.home.request for token in self.tokens))

    def by_lane(
        self, choices: Sequence[T]
    ) -> Iterator[tuple[QueuedToken, deque[QueuedToken], list[T]]]:
        """What belongs together: a token whose logits were needed, the guesses after it, and a
        choice for it and for each of those."""
        sampled = self.sampled
        begins = [i for i, token in enumerate(sampled) if not token.draft]
        for begin, end in pairwise([*begins, len(sampled)]):
            drafts = deque(sampled[begin + 1 : end])
            yield sampled[begin], drafts, list(choices[begin:end])
