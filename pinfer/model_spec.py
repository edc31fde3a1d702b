"""What a loaded model brings to decoding. Plain values: no tensors, no tokenizer."""

from dataclasses import dataclass, field

from pbranch.format.layout import LayoutOptions
from pbranch.format.markers import MarkerIds, Role
from pinfer.cost.pass_cost import PassCost


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a model brings: markers, the ids that end a text, context in positions, the layout that
    it was trained for, how long the branches were that it learned from, in tokens (the mean), and
    what its passes cost here (the scheduler adds it, if it is known)."""

    markers: MarkerIds | None
    end_of_text: frozenset[int]
    context: int
    layout: LayoutOptions = field(default_factory=LayoutOptions)
    branch_tokens: float | None = None
    cost: PassCost | None = None

    def role(self, token: int) -> Role | None:
        """The marker that `token` is, if any."""
        return self.markers.role(token) if self.markers else None

    def id(self, role: Role) -> int:
        """Token of a marker."""
        return getattr(self.markers, role.value)
