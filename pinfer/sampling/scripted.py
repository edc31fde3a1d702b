"""A sampler that answers what scripts say: probes, benchmarks and tests decode known tokens."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from torch import Tensor

from pinfer.request.state import Path
from pinfer.scheduling.batch import Choice, SampleSite


class ScriptedSampler:
    """`scripts`: the tokens of each lane, by (request, path). before: called with logits (sites,
    vocabulary) and sites, as a real sampler would be, its answer thrown away."""

    def __init__(
        self, before: Callable[[Tensor, Sequence[SampleSite]], object] | None = None
    ) -> None:
        self.before = before
        self.width = 0  # sites of the newest pass
        self._scripts: dict[tuple[int, Path], Iterator[int]] = {}

    def add(self, request: int, scripts: Mapping[Path, Iterable[int]]) -> None:
        """Tokens of a request's lanes, each taken once."""
        for path, tokens in scripts.items():
            self._scripts[request, path] = iter(tokens)

    def __call__(self, logits: Tensor, sites: Sequence[SampleSite]) -> list[Choice]:
        """One choice a site."""
        if self.before is not None:
            self.before(logits, sites)
        self.width = len(sites)
        return [Choice(next(self._scripts[site.request, site.path]), True) for site in sites]
