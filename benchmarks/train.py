"""How fast training on whole trees is, compared with what one would do without them.

    python benchmarks/train.py [--rounds 5] [--device cpu|cuda] [--vocabulary 1408] [--json]

Three arms feed the same traces to the same model, LoRA steps with the head of a run:
  tree    whole traces packed into sequences, through the attention that a run takes
  paths   one causal sequence per branch, in batches of similar length: stock SDPA without a mask
  plain   sequences of the same tokens and targets as `tree`, as ordinary causal text: stock SDPA
Arms take turns within a round; a figure is the median over rounds of the ratio of their times.
Against paths the ideal is the ratio of the tokens fed, padding included; against plain it is 1.
On a CPU the times are CPU time of one thread, so other load counts little.

The model has the width of Qwen2.5-0.5B, random weights, and on a CPU 2 of its 24 layers. Its head
has the proportion to the layers that the 7B's has, or with `--vocabulary 6336` the 0.5B's. The head
works on the targets alone, which are the same in all arms, so a large one limits what fewer tokens
save. The settings for CUDA (8,192 tokens, FlexAttention against flash SDPA) were not run yet.
"""

import argparse
import json
import random
import statistics
import string
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, Qwen2Config
from trl.trainer.utils import add_fused_lm_head

from pbranch.format.layout import Layout, build_layout, concatenate
from pbranch.format.markers import MarkerIds
from pbranch.format.tree import Fork, Trace, make_trace
from ptrain.config import LoraOptions
from ptrain.data.batching import pack
from ptrain.data.collator import collate
from ptrain.data.path_rows import split_paths
from ptrain.model import attention
from ptrain.model.base import Base, add_lora
from ptrain.model.fast_layers import use_fast_layers
from ptrain.model.vocabulary import use_frozen_vocabulary

MARKERS = MarkerIds(fork=1, topic=2, spawn=3, branch=4, end=5, join=6)
PROMPT, INTRO, TOPIC, TAIL = 256, 32, 8, 64  # tokens
VOCABULARY = 1408  # for each layer, of width 896: 152,064 of width 3,584 for 28 in the 7B
Batch = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Settings:
    """Shape of the model and of the rows."""

    layers: int = 2
    hidden: int = 896
    vocabulary: int = 2 * VOCABULARY  # of the whole model
    max_length: int = 2048
    device: str = "cpu"
    dtype: str = "float32"
    rounds: int = 5
    # (branches of a trace, tokens of a branch); traces are added until the rows are full
    traces: tuple[tuple[int, int], ...] = ((4, 128), (8, 192), (2, 256), (16, 96))


@dataclass(frozen=True, slots=True)
class Arm:
    """Batches of one optimiser step and the attention that they take."""

    attention: str
    batches: list[Batch]

    @property
    def tokens(self) -> int:
        """Tokens fed, padding among them."""
        return sum(batch["input_ids"].numel() for batch in self.batches)


@dataclass(frozen=True, slots=True)
class Result:
    """Of one kind of trace. `share` is ratio over ideal; memory in bytes, on CUDA."""

    branches: int
    branch_tokens: int
    tree_tokens: int
    path_tokens: int
    seconds: dict[str, float]  # an arm, median
    against_paths: float
    against_plain: float
    memory: dict[str, int]

    @property
    def ideal(self) -> float:
        """Tokens that one row per branch feeds for one of a tree row's."""
        return self.path_tokens / self.tree_tokens


class Letters:
    """A codec of one token a character."""

    def encode(self, text: str) -> list[int]:
        return [10 + ord(letter) for letter in text]


def make_layout(
    branches: int, tokens: int, rng: random.Random, markers: MarkerIds = MARKERS
) -> Layout:
    """Rows of a prompt and one block of `branches`, with text before and after it."""

    def text(n: int) -> str:
        return "".join(rng.choices(string.ascii_letters, k=n))

    topics = tuple(text(TOPIC) for _ in range(branches))
    fork = Fork(topics, tuple(make_trace(t + text(tokens - TOPIC - 2)) for t in topics))
    trace: Trace = make_trace(text(INTRO), fork, text(TAIL))
    return build_layout(Letters().encode(text(PROMPT)), trace, Letters(), markers, 9)  # type: ignore[arg-type]


def make_arms(branches: int, tokens: int, settings: Settings, config: Any) -> dict[str, Arm]:
    """The three arms over as many traces as fill two rows."""
    rng, longest = random.Random(0), settings.max_length
    size = len(make_layout(branches, tokens, rng))
    count = max(1, longest // size) * (2 if settings.device == "cuda" else 1)
    layouts = [make_layout(branches, tokens, rng) for _ in range(count)]
    rows = [concatenate([layouts[i] for i in row]) for row in pack([size] * count, longest, 0)]
    chosen = attention.choose_attention("auto", settings.device, longest, config)
    multiple = attention.length_multiple(chosen)
    tree = [_move(collate([row], multiple=multiple), settings.device) for row in rows]
    paths = sorted((p for x in layouts for p in split_paths(x)), key=len)
    groups: list[list[Layout]] = [[]]
    for path in paths:
        if (len(groups[-1]) + 1) * len(path) > longest:
            groups.append([])
        groups[-1].append(path)
    return {
        "tree": Arm(chosen, tree),
        "paths": Arm("sdpa", [_plain(collate(g), settings.device) for g in groups if g]),
        "plain": Arm("sdpa", [_plain(batch, settings.device) for batch in tree]),
    }


def _plain(batch: Batch, device: str) -> Batch:
    """Without mask and positions: causal text, padded on the right."""
    return _move({k: v for k, v in batch.items() if k in ("input_ids", "shift_labels")}, device)


def _move(batch: Batch, device: str) -> Batch:
    keys = batch.keys() - {"kinds", "labels"}
    return {k: batch[k].to(device) for k in keys}


def make_model(settings: Settings) -> Any:
    """Random weights; LoRA, marker rows and head as in a run."""
    heads = settings.hidden // 64
    config = Qwen2Config(
        vocab_size=settings.vocabulary,
        hidden_size=settings.hidden,
        intermediate_size=settings.hidden * 38 // 7 // 64 * 64,  # 4,864 of 896
        num_hidden_layers=settings.layers,
        num_attention_heads=heads,
        num_key_value_heads=2 if heads % 2 == 0 else 1,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
    )
    attention.register()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        config, dtype=getattr(torch, settings.dtype), trust_remote_code=False
    )
    model = add_lora(Base("random", model.to(settings.device), None, MARKERS, ""), LoraOptions())
    add_fused_lm_head(model.get_base_model(), outputs=("log_probs", "entropy", "is_top1"))
    use_frozen_vocabulary(model)
    use_fast_layers(model)
    return model.train()


def make_step(model: Any, device: str) -> Callable[[Arm], float]:
    """A function that takes one optimiser step over an arm's batches and returns its seconds."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    clock = time.perf_counter if device == "cuda" else time.process_time

    def step(arm: Arm) -> float:
        model.set_attn_implementation(arm.attention)
        count = sum(int((b["shift_labels"] != -100).sum()) for b in arm.batches)
        _wait(device)
        began = clock()
        for batch in arm.batches:  # as BranchSFTTrainer.compute_loss
            output = model(**batch, use_cache=False, fused_lm_head=True)
            (-output.log_probs.sum() / count).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        _wait(device)
        return clock() - began

    return step


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measure(model: Any, branches: int, tokens: int, settings: Settings) -> Result:
    """All arms, `rounds` times in turn, after one round that is not counted."""
    arms = make_arms(branches, tokens, settings, model.config)
    step, names = make_step(model, settings.device), list(arms)
    times: dict[str, list[float]] = {name: [] for name in names}
    memory: dict[str, int] = {}
    for turn in range(settings.rounds + 1):
        for name in names[turn % 3 :] + names[: turn % 3]:
            if settings.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            taken = step(arms[name])
            times[name] += [taken] if turn else []
            if settings.device == "cuda":
                memory[name] = torch.cuda.max_memory_allocated()
        shown = ", ".join(f"{name} {t[-1]:.2f} s" for name, t in times.items() if t) or "warm-up"
        print(f"{branches} branches of {tokens} tokens: {shown}", file=sys.stderr, flush=True)
    return Result(
        branches=branches,
        branch_tokens=tokens,
        tree_tokens=arms["tree"].tokens,
        path_tokens=arms["paths"].tokens,
        seconds={name: statistics.median(values) for name, values in times.items()},
        against_paths=_ratio(times["paths"], times["tree"]),
        against_plain=_ratio(times["plain"], times["tree"]),
        memory=memory,
    )


def _ratio(above: Sequence[float], below: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def draw_table(results: Sequence[Result], settings: Settings) -> str:
    """A line for each kind of trace."""
    goal = 0.8 if settings.device == "cuda" else 0.9
    lines = [
        f"hidden {settings.hidden}, {settings.layers} layers, vocabulary {settings.vocabulary}, "
        f"{settings.dtype} on {settings.device}; sequences of {settings.max_length} tokens; "
        f"{settings.rounds} rounds; torch {torch.__version__}",
        "tree: whole traces as trees; paths: one sequence per branch; plain: as causal text",
        "gain: time of paths / time of tree; ideal: their tokens' ratio, padding included; "
        "plain / tree: ratio of times",
        f"goals: share of ideal >= 0.9, plain / tree >= {goal}",
        "",
        "branches  tokens each  tokens, tree  tokens, paths  "
        " gain  ideal  share of ideal  plain / tree",
    ]
    for r in results:
        lines.append(
            f"{r.branches:8}  {r.branch_tokens:11}  {r.tree_tokens:12}  {r.path_tokens:13}  "
            f"{r.against_paths:5.2f}  {r.ideal:5.2f}  {r.against_paths / r.ideal:14.2f}  "
            f"{r.against_plain:12.2f}"
        )
        if r.memory:
            lines.append(
                f"          peak memory, tree / plain: {r.memory['tree'] / r.memory['plain']:.2f}"
            )
    return "\n".join(lines)


def run(settings: Settings) -> list[Result]:
    """One result for each kind of trace."""
    torch.set_num_threads(1)
    model = make_model(settings)
    return [measure(model, *kind, settings) for kind in settings.traces]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, help="2 on a CPU, 24 on CUDA")
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY, help="for each layer")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    layers = args.layers or (24 if args.device == "cuda" else 2)
    size = {"layers": layers, "vocabulary": layers * args.vocabulary, "rounds": args.rounds}
    settings = Settings(**size)
    if args.device == "cuda":
        wide = ((8, 256), (8, 896), (16, 448))
        settings = Settings(**size, max_length=8192, device="cuda", dtype="bfloat16", traces=wide)
    results = run(settings)
    if args.json:
        rows = [asdict(r) | {"ideal": r.ideal} for r in results]
        print(json.dumps({"settings": asdict(settings), "results": rows}))
    else:
        print(draw_table(results, settings))


if __name__ == "__main__":
    main()
