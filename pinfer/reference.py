"""The readable decoder: one request, no cache, one dense mask, one row at a time. It defines what
is right: the engine gives the same tokens, greedy or sampled.

Every token is a full forward over all rows so far, branch after branch; who sees whom is read off
the rows' paths. Limits on width, rows, time and context do not exist here, nor do penalties.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from pbranch.format.grammar import LaneState, legal_table, next_state
from pbranch.format.layout import LayoutOptions
from pbranch.format.markers import MarkerIds, Role
from pbranch.hf.additive_mask import additive_masks
from pinfer.params import SamplingParams
from pinfer.request.state import Path, hash_tokens
from pinfer.sampling.noise import gumbel
from pinfer.sampling.processors import process
from pinfer.scheduling.batch import SampleSite


def sees(q: Path, k: Path) -> bool:
    """Row of path q sees an earlier row of path k: unless they lie in different branches of one
    block, or k's block is not the earlier one."""
    shared = next((i for i, (a, b) in enumerate(zip(q, k, strict=False)) if a != b), None)
    return shared is None or k[shared][0] < q[shared][0]


@dataclass
class Reference:
    """`model`: a plain transformers model (eager or sdpa attention)."""

    model: Any
    markers: MarkerIds
    end_of_text: frozenset[int]
    known: Iterable[int]  # vocabulary ids that have text
    options: LayoutOptions = field(default_factory=LayoutOptions)

    def generate(self, prompt: Sequence[int], params: SamplingParams) -> list[int]:
        """Generated tokens in text order, injected ones included."""
        self.params, self.prompt_key = params, hash_tokens(prompt)
        size = self.model.get_output_embeddings().weight.shape[0]
        self.legal = torch.from_numpy(legal_table(self.markers, self.end_of_text, size, self.known))
        self.rows: list[tuple[int, int, Path]] = [(t, i, ()) for i, t in enumerate(prompt)]
        out, _, _ = self.decode((), len(prompt), params.max_new_tokens, [])
        return out

    def decode(
        self, path: Path, position: int, budget: int, header: list[int]
    ) -> tuple[list[int], int, int]:
        """Decode a lane: its tokens in text order, the budget left, the position behind it."""
        p, m = self.params, self.markers
        in_branch, blocks, home = bool(path), 0, path
        out: list[int] = []
        topics: list[list[int]] = []

        def feed(token: int) -> None:
            nonlocal position
            self.rows.append((token, position, home))
            out.append(token)
            position += 1

        def flat(state: LaneState, role: Role | None) -> LaneState:
            may_fork = p.forks and len(path) < p.max_depth
            return next_state(state, role, in_branch=in_branch, may_fork=may_fork)

        for token in header:
            feed(token)
        state = flat(LaneState.TRUNK, None)
        while True:
            if budget <= 0 and state is LaneState.OPEN:
                token, topics = m.topic, [[]]
            elif budget <= 0 and state.in_outline:
                token = m.spawn
            elif budget <= 0 and in_branch:
                token = m.end
            elif budget <= 0:
                return out, budget, position
            else:
                token, budget = self.draw(state, path, position), budget - 1
                role = m.role(token)
                if token in self.end_of_text:
                    if not in_branch:
                        return [*out, token], budget, position
                    token = m.end
                elif state.in_outline and self.full(topics, role):
                    token = m.spawn
                elif role is Role.TOPIC:
                    topics.append([])
                elif role is None and state.in_outline:
                    topics[-1].append(token)
            if token == m.fork:
                topics = []
                home = (*path, (blocks, -1)) if self.options.outline == "own" else path
            feed(token)
            state = flat(state, m.role(token))
            if token == m.end:
                return out, budget, position
            if token == m.spawn:
                spawn, share, extents, home = position - 1, budget // len(topics), [], path
                kept, begin = len(self.rows), len(out)
                share = min(share, p.max_branch_tokens or share)
                for i, topic in enumerate(topics):
                    inner = (*path, (blocks, i))
                    tokens, left, end = self.decode(inner, spawn + 1, share, [m.branch, *topic])
                    out += tokens
                    budget -= share - left
                    extents.append(end - 1 - spawn)
                blocks += 1
                if self.options.join == "reencode":
                    again = enumerate(out[begin:], spawn + 1)
                    self.rows[kept:] = [(token, at, path) for at, token in again]
                position = spawn + 1 + self.options.extent(extents)
                feed(m.join)
                state = flat(state, Role.JOIN)

    def full(self, topics: list[list[int]], role: Role | None) -> bool:
        """Whether a topic marker or a word would make the outline too large."""
        if role is Role.TOPIC:
            return len(topics) >= self.params.max_topics
        return role is None and len(topics[-1]) >= self.params.max_topic_tokens

    @torch.inference_mode()
    def draw(self, state: LaneState, path: Path, position: int) -> int:
        """The best legal token behind the newest row, or one drawn by the noise of its place."""
        logits = self.forward()[-1:].masked_fill(~self.legal[state], float("-inf"))
        if self.params.temperature > 0:
            site = SampleSite(0, self.params, path, position, state, prompt_key=self.prompt_key)
            logits = process(logits, [site])
            logits = logits + gumbel([site], logits)
        return int(logits.argmax())

    def forward(self) -> torch.Tensor:
        """Logits (rows, vocabulary) of one forward over all rows under the dense mask."""
        tokens, positions, paths = zip(*self.rows, strict=True)
        places, n = torch.tensor([positions]), len(paths)
        seen = [[k <= q and sees(paths[q], paths[k]) for k in range(n)] for q in range(n)]
        mask = additive_masks(torch.tensor([[seen]]), places, self.model.config, self.model.dtype)
        given = {"input_ids": torch.tensor([tokens]), "position_ids": places}
        return self.model(**given, attention_mask=mask, use_cache=False).logits[0]
