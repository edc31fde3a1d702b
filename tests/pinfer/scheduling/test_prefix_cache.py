"""Prompts that begin alike: fed once, the same tokens, and nothing kept for longer than asked."""

import os
import random
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pinfer import Engine, EngineLimits, SamplingParams
from pinfer.scheduling.prefix_cache import SMALLEST
from tests.conftest import MODEL_KINDS
from tests.support.toy_engine import Toy, greedy, toy_model

torch.set_num_threads(1)


class Counter:
    """An `on_step` that counts prompt rows as they are fed."""

    def __init__(self):
        self.prompt_rows = 0

    def __call__(self, batch, logits):
        prompts = {r.lane.request: len(r.lane.request.prompt) for r in batch.tokens}
        self.prompt_rows += sum(
            not r.lane.in_branch and r.position < prompts[r.lane.request] for r in batch.tokens
        )


def alike(rng, n, shared, own):
    """Prompts of one beginning, and some of another."""
    heads = [[rng.randrange(16) for _ in range(shared)] for _ in range(2)]
    return [rng.choice(heads) + [rng.randrange(16) for _ in range(own)] for _ in range(n)]


@settings(max_examples=25)
@given(
    kind=st.sampled_from(MODEL_KINDS),
    seed=st.integers(0, 10**6),
    shared=st.sampled_from([SMALLEST - 1, SMALLEST, 50]),
    own=st.sampled_from([0, 1, 9, 40]),
    rows=st.sampled_from([5, 33, 512]),
    kept=st.sampled_from([0, 60, 4096]),
)
def test_sharing_changes_no_token(kind, seed, shared, own, rows, kept):
    rng = random.Random(seed)
    model, prompts = toy_model(kind, seed % 5), alike(rng, 5, shared, own)
    params = [
        SamplingParams(max_new_tokens=rng.choice([3, 25]), temperature=rng.choice([0, 1]), seed=i)
        for i in range(5)
    ]
    limits = EngineLimits(max_rows=rows, max_requests=3, max_prefix_rows=kept)
    found = Toy(model, limits=limits).tokens(prompts, params)
    alone = [Toy(model).tokens([p], [q])[0] for p, q in zip(prompts, params, strict=True)]
    assert found == alone


@pytest.mark.parametrize("rows", [100, 512])
def test_a_shared_beginning_is_fed_once(rows):
    """64 prompts of 1,000 shared tokens and 7 own ones, 16 of them at a time."""
    rng, count = random.Random(1), Counter()
    head = [rng.randrange(16) for _ in range(1000)]
    # own words differ from the first on, so that no two share more than the head
    prompts = [[*head, i % 16, i // 16, *(rng.randrange(16) for _ in range(5))] for i in range(64)]
    toy = Toy(toy_model("qwen2"), limits=EngineLimits(max_rows=rows), on_step=count)
    requests = toy.run(prompts, greedy(max_new_tokens=2))
    # behind the head, those that share a first own word too may share that as well
    most = 1000 + 64 * 7
    assert count.prompt_rows == most - sum(max(0, r.prefix.shared - 1000) for r in requests)
    assert sum(r.prefix.shared >= 1000 for r in requests) == 63
    assert toy.most_rows < 1000 + 64 * 20


def test_later_calls_find_the_prompt_of_earlier_ones(base, adapter):
    engine = Engine.from_pretrained(str(base), str(adapter), device="cpu")
    params, system = SamplingParams(max_new_tokens=8), "Be brief. " * 30
    (first,) = engine.generate(["Go on."], params, system=system)
    (again,) = engine.generate(["Go on."], params, system=system)
    (other,) = engine.generate(["Stop."], params, system=system)
    assert first.stats.prefix_rows == 0
    assert again.stats.prefix_rows == first.stats.prompt_tokens - 1
    assert 0 < other.stats.prefix_rows < other.stats.prompt_tokens
    assert again.token_ids == first.token_ids
    engine.core.runner.arena.check()
    engine.reset()
    assert engine.core.runner.arena.rows == 0
    (last,) = engine.generate(["Go on."], params, system=system)
    assert last.stats.prefix_rows == 0 and last.token_ids == first.token_ids


def test_what_is_kept_is_bounded_and_the_oldest_goes(base, adapter):
    limits = EngineLimits(max_prefix_rows=200)
    engine = Engine.from_pretrained(str(base), str(adapter), device="cpu", limits=limits)
    params = SamplingParams(max_new_tokens=2)
    for i in range(6):
        engine.generate([f"{i} " * 40], params, raw=True)
        assert engine.core.runner.arena.rows <= 200
        engine.core.runner.arena.check()
    (newest,) = engine.generate(["5 " * 40], params, raw=True)
    (oldest,) = engine.generate(["0 " * 40], params, raw=True)
    assert newest.stats.prefix_rows > 0 == oldest.stats.prefix_rows


def test_kept_prompts_give_way_to_requests(base, adapter):
    """Memory for one request and a bit: what is kept of the last one goes when the next is due."""
    limits = EngineLimits(max_kv_rows=400)
    engine = Engine.from_pretrained(str(base), str(adapter), device="cpu", limits=limits)
    params = SamplingParams(max_new_tokens=50)
    for i in range(5):
        (answer,) = engine.generate([f"{i} " * 60], params, raw=True)
        assert answer.finish_reason in ("length", "stop")
        assert engine.core.runner.arena.slots <= 400


@pytest.mark.slow
def test_memory_is_what_the_formula_says(base):
    """64 prompts of a shared beginning of 1,000 tokens in a pool that just admits them: the process
    grows by the bytes of the pool, within a tenth."""
    command = [sys.executable, "-c", PEAK, str(base)]
    # large tensors apart from the heap, whose gaps vary by a tenth of the pool from run to run
    apart = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=apart)
    assert done.returncode == 0, done.stderr
    grown, pool, prompt_rows, prefix_rows = map(int, done.stdout.split())
    assert prompt_rows - prefix_rows == 1000 + 64 * 160
    assert 0.9 * pool < grown < 1.1 * pool, (grown, pool)


PEAK = r"""
import re, sys, psutil, torch
from pathlib import Path
from transformers import AutoTokenizer
from pinfer.engine import Engine
from pinfer.models.load import Loaded
from pinfer import EngineLimits, SamplingParams
from pinfer.model_spec import ModelSpec
from tests.conftest import build_model

torch.set_num_threads(1)
shape = dict(hidden_size=64, num_hidden_layers=16, num_key_value_heads=4, num_attention_heads=4)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = build_model("qwen3", tokenizer, vocab_size=448, head_dim=128, **shape).eval()
row_bytes = 16 * 2 * 4 * 128 * 4
rows = 1000 + 64 * (160 + 4 * 2)  # a shared beginning, own words, and what two tokens may bring
limits = EngineLimits(max_rows=128, max_memory=rows * row_bytes / 2**30)
engine = Engine(Loaded(model, tokenizer, ModelSpec(None, frozenset({0}), 2048)), limits=limits)
params = SamplingParams(max_new_tokens=2, mode="linear")
engine.generate([{"token_ids": [5] * 20}], params)  # first passes: libraries take their memory
engine.reset()
before = psutil.Process().memory_info().rss
head = [i % 200 for i in range(1000)]
prompts = [{"token_ids": [*head, 200 + i, *range(159)]} for i in range(64)]
answers = engine.generate(prompts, params)
status = Path("/proc/self/status").read_text()  # ru_maxrss would count the process that began us
grown = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 - before
taken = [a.stats.prefix_rows for a in answers]
assert engine.core.runner.arena.slots <= rows
pool = engine.core.runner.arena.slots * row_bytes
print(grown, pool, sum(a.stats.prompt_tokens for a in answers), sum(taken))
"""


def test_a_source_that_leaves_takes_nothing_along(base, adapter):
    """Aborted before, while and after others wait for its rows."""
    engine = Engine.from_pretrained(
        str(base), str(adapter), device="cpu", limits=EngineLimits(max_rows=40)
    )
    params, prompt = SamplingParams(max_new_tokens=6), "Check each record. " * 30
    (wanted,) = engine.generate([prompt], params)
    for steps in range(8):
        engine.reset()
        requests = [engine.add(prompt, params) for _ in range(3)]
        for _ in range(steps):
            engine.step()
        engine.abort(requests[0])
        engine.core.runner.arena.check()
        answers = [answer for _, answer in engine.run()]
        assert [a.token_ids for a in answers] == [wanted.token_ids] * len(answers)
        assert len(answers) == 2
