"""What a loaded model brings to decoding. Plain values: no tensors, no tokenizer."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pbranch.format.layout import LayoutOptions
from pbranch.format.markers import MarkerIds, Role
from pinfer.cost.pass_cost import PassCost
from pinfer.params import SamplingParams

# what holds where neither a caller nor the model's files name a value
NEUTRAL: Mapping[str, Any] = {
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "suppress_tokens": (),
}


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a model brings: markers, the ids that end a text, context in positions, the layout that
    it was trained for, how long the branches were that it learned from, in tokens (the mean), the
    sampling that its files name, and what its passes cost here (the scheduler adds it, if it is
    known)."""

    markers: MarkerIds | None
    end_of_text: frozenset[int]
    context: int
    layout: LayoutOptions = field(default_factory=LayoutOptions)
    branch_tokens: float | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)  # of the names in NEUTRAL
    cost: PassCost | None = None

    def role(self, token: int) -> Role | None:
        """The marker that `token` is, if any."""
        return self.markers.role(token) if self.markers else None

    def resolve(self, params: SamplingParams) -> SamplingParams:
        """`params` with the model's own values where they leave one open (None)."""
        branches = self.markers is not None or params.dialect != "native"
        own = {"mode": "parallel" if branches else "linear", **NEUTRAL, **self.sampling}
        return replace(params, **{k: v for k, v in own.items() if getattr(params, k) is None})

    def id(self, role: Role) -> int:
        """Token of a marker."""
        return getattr(self.markers, role.value)
