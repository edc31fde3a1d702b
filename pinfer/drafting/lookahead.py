"""Look-ahead drafts: the model drafts its own next tokens, in its own passes (PaSS, arXiv
2311.13581).

Behind a lane's token stand L trained look-ahead embeddings as scratch tokens. They see what the
token sees, go through a LoRA of their own, and give L guesses of what follows its next token; a
Markov head corrects each by the token before it. All other rows of a pass are as without them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import linear

from pbranch.hf.lookahead.files import MODULES, load_checked
from pinfer.drafting.draft import Draft, Wish
from pinfer.request.state import Lane, QueuedToken, Request
from pinfer.warping import warp

# two_pass: a pass drafts or verifies, by turns. tail: a pass that verifies drafts as well, for the
# case that all guesses hold. fused: it drafts for each number of guesses that may hold
Mode = Literal["two_pass", "tail", "fused"]
MODES: tuple[Mode, ...] = get_args(Mode)
Pair = tuple[Tensor, Tensor]  # of a LoRA: (r, inputs) and (outputs, r)


@dataclass(frozen=True, slots=True)
class PassLora:
    """A `RowAdapter`: the LoRA of look-ahead rows. layers: by module; rows: those of the pass."""

    layers: Sequence[Mapping[str, Pair]]
    rows: slice | Tensor

    def add(self, layer: int, module: str, inputs: Tensor, outputs: Tensor) -> None:
        """As `RowAdapter`."""
        a, b = self.layers[layer][module]
        outputs[self.rows] += linear(linear(inputs[self.rows], a), b)


class LookaheadSource:
    """Drafts what look-ahead rows of the last pass have said. reach: how many of them stand behind
    an anchor from now on, at most `length`."""

    def __init__(self, tensors: Mapping[str, Tensor], mode: Mode = "tail") -> None:
        """tensors: see `tensor_shapes`, in the model's dtype and on its device."""
        self.mode = mode
        self.embeddings = tensors["embeddings"]
        self.reach = len(self.embeddings)
        self.markov = tensors.get("markov_in"), tensors.get("markov_out")
        self.layers: list[dict[str, Pair]] = []
        while f"layer{len(self.layers)}_qkv_a" in tensors:
            name = f"layer{len(self.layers)}"
            pairs = {m: (tensors[f"{name}_{m}_a"], tensors[f"{name}_{m}_b"])
                     for m in MODULES}  # fmt: skip
            self.layers.append(pairs)
        self._logits: dict[Lane, dict[int, list[Tensor]]] = {}  # of the last pass, by position

    @property
    def length(self) -> int:
        """Look-ahead embeddings (L)."""
        return len(self.embeddings)

    def choose_anchors(self, fed: Sequence[QueuedToken]) -> Sequence[QueuedToken]:
        """Behind which of a lane's tokens (the newest one, and the guesses behind it) look-ahead
        rows are to stand, the most wanted first."""
        if self.mode == "two_pass":
            return fed if len(fed) == 1 else ()
        return fed[-1:] if self.mode == "tail" else fed[::-1]

    def count_rows(self, guesses: int, reach: int) -> int:
        """How many look-ahead rows a lane that is fed so many guesses gets."""
        groups = {"two_pass": not guesses, "tail": 1, "fused": guesses + 1}
        return groups[self.mode] * reach

    def held(self, lane: Lane) -> list[Tensor]:
        """What was said of the tokens behind a lane's newest one: of its groups that one counts
        whose anchor stands right before it."""
        assert lane.newest is not None, "a lane that is asked has a token"
        return self._logits.get(lane, {}).get(lane.newest.position - 1, [])

    def clear(self) -> None:
        """A new pass: what was said before is of no use behind it."""
        self._logits = {}

    def inputs(self, tokens: Sequence[QueuedToken], rows: Sequence[int]) -> dict[str, Any]:
        """What a `PassInput` has for the look-ahead tokens, which stand at `rows` of the pass."""
        device = self.embeddings.device
        places = torch.tensor([tokens[i].token_id for i in rows], device=device)
        at = torch.tensor(rows, device=device)
        in_one_run = rows[-1] - rows[0] == len(rows) - 1
        own = slice(rows[0], rows[-1] + 1) if in_one_run else at
        return {
            "embeddings": self.embeddings[places],
            "embedded": at,
            "adapter": PassLora(self.layers, own) if self.layers else None,
        }

    def take(self, rows: Sequence[QueuedToken], logits: Tensor) -> None:
        """What look-ahead tokens of a pass have said: logits (rows, vocabulary)."""
        for row, said in zip(rows, logits, strict=True):
            assert row.anchor is not None, "a look-ahead row has an anchor"
            groups = self._logits.setdefault(row.lane, {})
            groups.setdefault(row.anchor.position, []).append(said)

    @torch.inference_mode()
    def propose(self, wishes: Sequence[Wish]) -> list[Draft]:
        """As `DraftSource`."""
        said = [self.held(lane)[:most] for lane, most in wishes]
        tokens: list[list[int]] = [[] for _ in wishes]
        drawn: list[list[Tensor]] = [[] for _ in wishes]
        before = [lane.newest.token_id for lane, _ in wishes]  # type: ignore[union-attr]
        for k in range(max(map(len, said), default=0)):
            active = [i for i, rows in enumerate(said) if len(rows) > k]
            logits = torch.stack([said[i][k] for i in active]).float()
            logits = logits + self._bias([before[i] for i in active])
            best = logits.argmax(-1).tolist()
            for i, row, token in zip(active, logits, best, strict=True):
                lane = wishes[i].lane
                params = lane.request.params
                if params.temperature > 0:
                    drawn[i].append(warp(row[None], params)[0].softmax(-1))
                    place = f"{lane.request.prefix.key}|{lane.path}|{lane.position}|{k}"
                    token = draw(drawn[i][-1], f"{params.seed}|{place}")
                tokens[i].append(token)
                before[i] = token
        return [Draft(t, torch.stack(q) if q else None) for t, q in zip(tokens, drawn, strict=True)]

    def forget(self, request: Request) -> None:
        """As `DraftSource`."""
        self._logits = {k: v for k, v in self._logits.items() if k.request is not request}

    def _bias(self, before: Sequence[int]) -> Tensor | float:
        inner, outer = self.markov
        if inner is None or outer is None:
            return 0.0
        return linear(inner[torch.tensor(before, device=inner.device)], outer).float()


def draw(q: Tensor, key: str) -> int:
    """A token drawn from probabilities (vocabulary,), by noise that belongs to `key` alone: the
    sampler's is another. No two drafts share a key, not even where a guess was never verified: what
    it was may have decided whether there is another draft."""
    digest = hashlib.blake2b(f"look-ahead {key}".encode(), digest_size=8).digest()
    generator = torch.Generator(q.device).manual_seed(int.from_bytes(digest, "big"))
    return int(torch.multinomial(q, 1, generator=generator))


def load_lookahead(
    folder: Path, model: Any, adapter: Path | None = None, mode: Mode = "tail"
) -> LookaheadSource:
    """The source that `ptrain lookahead` has trained for a model.

    Args:
        folder: with the look-ahead files.
        model: as it is decoded, its adapter merged.
        adapter: that adapter's folder; None: the bare model.
        mode: see `Mode`.

    Raises:
        AdapterError: The files are missing or broken, or of another model, adapter or width.
    """
    return LookaheadSource(load_checked(folder, model, adapter), mode)
