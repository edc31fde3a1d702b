"""What `gpu.py` reports: shapes of models and what their steps must read, steps, gains, targets.
Plain values, no tensors."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Shape:
    """A Qwen3 model without its weights."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    tied: bool
    dim: int = 128
    vocabulary: int = 151_936

    @property
    def parameters(self) -> int:
        """That a step reads: all but the rows of an embedding that is not also the head."""
        attention = 2 * self.hidden * self.dim * (self.heads + self.kv_heads)
        layer = attention + 3 * self.hidden * self.inner + 2 * self.hidden + 2 * self.dim
        return self.layers * layer + self.hidden + self.vocabulary * self.hidden

    def step_bytes(self, branches: int, prefix: int, own: int) -> int:
        """That a step must read: weights once, a shared prefix once, each branch's own rows."""
        row = 2 * self.layers * self.kv_heads * self.dim * 2
        return 2 * self.parameters + row * (prefix + branches * own)

    def config(self, context: int) -> Any:
        """In transformers' words."""
        from transformers import Qwen3Config

        return Qwen3Config(
            hidden_size=self.hidden, intermediate_size=self.inner, vocab_size=self.vocabulary,
            num_hidden_layers=self.layers, num_attention_heads=self.heads, head_dim=self.dim,
            num_key_value_heads=self.kv_heads, tie_word_embeddings=self.tied,
            max_position_embeddings=context,
        )  # fmt: skip


SHAPES = {
    "qwen3-8b": Shape(4096, 12288, 36, 32, 8, tied=False),
    "qwen3-0.6b": Shape(1024, 3072, 28, 16, 8, tied=True),
}


@dataclass(frozen=True, slots=True)
class Step:
    """A decoding step of `branches` rows: device milliseconds, and what launching it takes of the
    host, by path; `share`: of the measured bandwidth that the graph's step attains."""

    shape: str
    prefix: int
    branches: int
    eager_ms: float
    graph_ms: float
    eager_host_ms: float
    graph_host_ms: float
    share: float


@dataclass(frozen=True, slots=True)
class Gain:
    """Branches decoded one by one, and side by side: seconds of those passes, host and all."""

    shape: str
    prefix: int
    branches: int
    serial_s: float
    parallel_s: float

    @property
    def parallel_gain(self) -> float:
        """How many times faster; ideal: `branches`."""
        return self.serial_s / self.parallel_s


def targets(steps: list[Step], gains: list[Gain]) -> list[dict[str, Any]]:
    """What was hoped for, what was found, and whether that is enough; only what was measured."""
    at = {(s.shape, s.prefix, s.branches): s for s in steps}
    gain = {(g.shape, g.prefix, g.branches): g.parallel_gain for g in gains}
    rows: list[tuple[str, float, str, float]] = []
    one, eight = at.get(("qwen3-8b", 2048, 1)), at.get(("qwen3-8b", 2048, 8))
    small = at.get(("qwen3-0.6b", 2048, 1))
    if one and eight:
        rows.append(("8B, 2K: step at 8 branches / at 1", eight.graph_ms / one.graph_ms, "<=", 1.1))
    if one:
        rows.append(("8B, 2K: share of bandwidth at 1", one.share, ">=", 0.6))
        rows.append(("8B, 2K: eager / graph at 1", one.eager_ms / one.graph_ms, ">=", 1.2))
    if small:
        rows.append(("0.6B, 2K: eager / graph at 1", small.eager_ms / small.graph_ms, ">=", 3.0))
    for prefix, branches, least in ((2048, 8, 7.0), (2048, 16, 12.0), (16384, 8, 6.8)):
        if found := gain.get(("qwen3-8b", prefix, branches)):
            what = f"8B, {prefix // 1024}K: parallel_gain at {branches}"
            rows.append((what, found, ">=", least))
    return [
        {"what": w, "found": f, "wanted": f"{sign} {n}", "met": f <= n if sign == "<=" else f >= n}
        for w, f, sign, n in rows
    ]
