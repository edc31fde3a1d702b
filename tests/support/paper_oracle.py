"""What the tests of the paper's dialect stand on: tokenizers that write its marks in three ways,
models that lean to them, and an oracle: three stages, dense masks, no cache, whole texts."""

import copy
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch

from pbranch.hf.segment_codec import SegmentCodec
from pinfer.engine import Engine
from pinfer.models.load import Loaded, make_spec
from pinfer.request.state import hash_tokens
from pinfer.sampling.noise import gumbel
from tests.conftest import build_model
from tests.support.toy_engine import ExactNorm

TEXTS = {
    # each mark one token
    "whole": ["#### %%%% ...... \n\n", "a b c d a b : c", "ab cd: abc dd"] * 50,
    # each mark several
    "cut": ["ab cd: abc dd", "a b c d ca"] * 50,
    # marks with what stands beside them
    "merged": ["a\n\n####b: c", "d:......\n\n####", "####%%%%a", " b\n\n####c:d"] * 50,
}
WANTED = {"whole": ["####", "%%%%", "......", "\n\n"], "cut": [], "merged": []}


def make_tokenizer(kind: str) -> Any:
    """Byte-level BPE that merges across words, and so across marks where the texts make it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + 2 + (30 if kind != "whole" else 0),
        special_tokens=["<eos>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(TEXTS[kind], trainer)
    core.add_tokens(WANTED[kind])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<eos>", clean_up_tokenization_spaces=False
    )


CLEAN = re.compile(r"[ a-d#%:\n.]*")  # what answers are made of
# how much a model likes a character of one kind behind one of another
_FOLLOWS = {
    "#": {"#": 5.0, "x": 2.6, "%": 1.8},
    "%": {"%": 5.0, "x": 2.0, "e": 0.0},
    "x": {"x": 2.0, ":": 2.8, "n": 0.6, "#": 0.3, "e": -2.0},
    ":": {"x": 3.0, "n": 0.5, "#": 0.8},
    "n": {"#": 4.0, "x": 1.0, "e": -1.0},
    "e": {"x": 3.0},
}


def _kind(char: str) -> str:
    return {"\n": "n", "": "e"}.get(char, char if char in "#%:" else "x")


def make_leaning(family: str, tokenizer: Any) -> Any:
    """A random float64 model whose last token leans to what may follow it in the dialect; layers
    make the rest of it depend on all that a row sees."""
    model = build_model(family, tokenizer, std=0.05, hidden_size=384).double()
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child).__name__.endswith("RMSNorm"):
                setattr(parent, name, ExactNorm(child))
    n, wide = len(tokenizer), model.lm_head.weight.shape
    texts = ["" if i == tokenizer.eos_token_id else tokenizer.decode([i]) for i in range(n)]
    likes = torch.tensor(
        [[_FOLLOWS[_kind(a[-1:])].get(_kind(b[:1]), -4.0) for b in texts] for a in texts]
    )
    crowd = Counter(_kind(t[:1]) for t in texts if CLEAN.fullmatch(t))
    for j, text in enumerate(texts):  # a kind with more tokens is no likelier for it
        clean = CLEAN.fullmatch(text) is not None
        likes[:, j] -= math.log(crowd[_kind(text[:1])]) if clean else 40.0
        likes[:, j] -= 3.0 * ("#%" in text)  # they close a block that has no steps
    embed = model.get_input_embeddings().weight
    embed.data = torch.zeros_like(embed)
    embed.data[:n, :n] = 60.0 * torch.eye(n, dtype=torch.float64)
    model.lm_head = torch.nn.Linear(wide[1], wide[0]).double()
    model.lm_head.weight.data[:] = 0.0
    model.lm_head.weight.data[:n, :n] = likes.T / wide[1] ** 0.5
    model.lm_head.bias.data[:] = 0.0
    return model


def make_engine(model: Any, tokenizer: Any, **options: Any) -> Engine:
    """An engine over a copy of the model, without an adapter."""
    model = copy.deepcopy(model)
    return Engine(Loaded(model, tokenizer, make_spec(model, tokenizer, None)), "sdpa", **options)


@dataclass
class Oracle:
    """Draws at temperature 1. `passes` counts what a cache would need one pass for each of."""

    model: Any
    tokenizer: Any
    max_new_tokens: int = 200
    max_topics: int = 32
    max_topic_tokens: int = 32
    outline: str = "own"
    seed: int = 0
    why: str | None = None  # decoded plainly
    blocks: list[list[str]] = field(default_factory=list)  # titles
    passes: int = -1  # the first token comes with the prompt
    forced: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        codec = SegmentCodec(self.tokenizer)
        self.encode, self.text = codec.encode, codec.decode
        self.eos = self.tokenizer.eos_token_id
        known = {i: codec.decode([i]) for i in range(len(self.tokenizer))}
        self.no_mark = [i for i, t in known.items() if t[:1] == "#"]
        self.no_dots = [i for i, t in known.items() if re.match(r"\s*(\.$|\.\.|…|。。)", t)]
        self.known = len(known)

    def next(self, rows: list[tuple[int, int, int]], barred: Sequence[int] = ()) -> int:
        """A token drawn behind the last of (token, position, branch) rows; branch −1: trunk."""
        tokens, positions, lanes = (torch.tensor([x]) for x in zip(*rows, strict=True))
        n, lane = len(rows), lanes[0]
        seen = (lane[None] == -1) | (lane[None] == lane[:, None])
        seen &= torch.ones(n, n, dtype=torch.bool).tril()
        config, masks = self.model.config, {}
        window = getattr(config, "sliding_window", None)
        kinds = getattr(config, "layer_types", None) or ["sliding_attention" if window else ""]
        for kind in kinds:
            near = seen
            if kind == "sliding_attention":
                near = seen & (positions[0][:, None] - positions[0][None] < window)
            masks[kind] = torch.zeros(1, 1, n, n).double().masked_fill(~near, float("-inf"))
        with torch.no_grad():
            logits = (
                self.model(
                    input_ids=tokens,
                    position_ids=positions,
                    attention_mask=masks if len(masks) > 1 else masks[kinds[0]],
                    use_cache=False,
                )
                .logits[0, -1]
                .clone()
            )
        logits[self.known :] = float("-inf")
        logits[list(barred)] = float("-inf")
        _, position, branch = rows[-1]
        path = () if branch < 0 else ((len(self.blocks), branch),)
        site = SimpleNamespace(
            params=SimpleNamespace(seed=self.seed),
            path=path,
            position=position + 1,
            prompt_key=self.prompt_key,
        )
        shaped = logits - logits.max()
        return int((shaped + gumbel([site], shaped[None])[0]).argmax())

    def plain(self, ids: list[int]) -> list[tuple[int, int, int]]:
        return [(t, i, -1) for i, t in enumerate(ids)]

    def generate(self, prompt: list[int]) -> list[int]:
        """Tokens in text order."""
        out, start, self.budget = [], 0, self.max_new_tokens
        self.prompt_key = hash_tokens(prompt)
        while True:
            if not self.budget:
                return out
            token = self.draw(self.plain([*prompt, *out]))
            out.append(token)
            self.forced.append(False)
            if token == self.eos:
                return out
            text = self.text(out[start:])
            at = text.find("####")
            if at < 0 or not self.budget or self.why:
                continue
            begin, lead = self.seam(out[start:], at)
            begin += start
            kept = self.budget
            titles = self.outline_of([*prompt, *out], text[at + 4 :])
            if titles is None or self.budget < len(titles):
                self.why = self.why or "no room for its branches"
                self.budget = kept
                continue
            skeleton = self.skeleton if self.outline == "all" else None
            del out[begin:], self.forced[begin:]
            out += lead
            self.forced += [True] * len(lead)
            block, drawn = self.bodies([*prompt, *out], titles, skeleton)
            out += block
            self.forced += drawn
            self.blocks.append([t for t, _ in titles])
            start = len(out)

    def draw(self, rows: Any, barred: Any = (), count: bool = True) -> int:
        self.budget -= count
        self.passes += count
        return self.next(rows, barred)

    def seam(self, ids: list[int], at: int) -> tuple[int, list[int]]:
        """The longest run of whole tokens in the first `at` characters, and the others' ids."""
        text = self.text(ids)
        n = max(
            n
            for n in range(len(ids) + 1)
            if len(self.text(ids[:n])) <= at and text.startswith(self.text(ids[:n]))
        )
        return n, self.encode(text[len(self.text(ids[:n])) : at])

    def outline_of(self, ids: list[int], after: str) -> list[tuple[str, list[int]]] | None:
        """(title, header) of each step, or None where there is no block."""
        ids, titles, entry, before = list(ids), [], [], after
        barred = [] if after else self.no_mark
        while True:
            if not self.budget:
                self.why = "no room for its outline"
                return None
            token = self.draw(self.plain(ids), barred)
            entry.append(token)
            text = before + self.text(entry)
            found = re.search("[:：]", text)
            title = text[: found.start()] if found else text
            if token == self.eos:
                self.why = "its outline does not end"
                return None
            if title.lstrip(" ").startswith("%%%%"):
                break
            if "####" in title or "\n" in title:
                self.why = "a title without a colon"
                return None
            if len(entry) - bool(found) > self.max_topic_tokens:
                self.why = "a title of more than max_topic_tokens"
                return None
            barred = []
            ids.append(token)
            if not found:
                continue
            header = self.encode("####") + self.encode(before[: found.start()])
            whole, rest = self.seam(entry, max(0, found.start() - len(before)))
            titles.append((title, [*header, *entry[:whole], *rest, *self.encode(found[0])]))
            if len(titles) == self.max_topics:
                ids.pop()
                break
            ids += self.encode("......") + self.encode("\n\n") + self.encode("####")
            entry, before, barred = [], "", self.no_mark
        self.skeleton = ids
        if len(titles) < 2:
            self.why = "one branch" if titles else "no branch"
            return None
        return titles

    def bodies(
        self, trunk: list[int], titles: list[tuple[str, list[int]]], skeleton: list[int] | None
    ) -> tuple[list[int], list[bool]]:
        """The block as plain text, and which of its tokens were not drawn."""
        share, spent, longest = self.budget // len(titles), 0, 0
        seen = self.plain(skeleton or trunk)
        out, forced = [], []
        for i, (_, header) in enumerate(titles):
            body: list[int] = []
            drawn, end = 0, None
            while drawn < share:
                lane = [*header, *body]
                rows = seen + [(t, len(seen) + k, i) for k, t in enumerate(lane)]
                token = self.draw(rows, [] if body else self.no_dots, count=False)
                drawn += 1
                if token == self.eos:
                    break
                body.append(token)
                end = self.text(body).find("####")
                if end >= 0:
                    break
            text = self.text(body)
            text = text[:end] if end is not None and end >= 0 else text
            whole, rest = self.seam(body, len(text.rstrip()))
            gap = self.encode("\n\n")
            out += [*header, *body[:whole], *rest, *gap]
            forced += [True] * len(header) + [False] * whole + [True] * (len(rest) + len(gap))
            spent, longest = spent + drawn, max(longest, drawn)
        self.budget -= spent
        self.passes += longest
        close = self.encode("####") + self.encode("%%%%")
        return out + close, forced + [True] * len(close)
