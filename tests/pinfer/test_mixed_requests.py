"""All features of decoding at once, at random: one branch at a time, side by side, alone, in a
batch, in any cut of passes, with and without drafts, the tokens are the same, and nothing is left
behind."""

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pbranch.format.layout import LayoutOptions
from pinfer.drafting.ngram import NgramSource
from pinfer.params import EngineLimits, SamplingParams
from pinfer.scheduling.prefix_cache import SMALLEST
from tests.conftest import MODEL_KINDS
from tests.support.toy_engine import LETTERS, Toy, toy_model

torch.set_num_threads(1)

PARAMS = st.builds(
    SamplingParams,
    max_new_tokens=st.integers(1, 50),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 3, 10]),
    top_p=st.sampled_from([1.0, 0.9, 0.4]),
    min_p=st.sampled_from([0.0, 0.05, 0.3]),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.8]),
    seed=st.integers(0, 99),
    logprobs=st.sampled_from([None, 0, 2]),
    stop=st.lists(st.text(LETTERS, min_size=1, max_size=3), max_size=2).map(tuple),
    stop_token_ids=st.lists(st.integers(0, 15), max_size=1).map(tuple),
    max_topics=st.integers(1, 4),
    max_topic_tokens=st.integers(1, 3),
    max_depth=st.integers(1, 3),
    max_branch_tokens=st.sampled_from([None, 2, 9]),
    max_width=st.sampled_from([None, 2]),
    fork=st.sampled_from(["auto", "always", "never"]),
    min_branch_tokens=st.sampled_from([1, 9]),  # of branches that took 5 in training, say
    draft_tokens=st.sampled_from([0, 1, 4]),
)
CASES = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(MODEL_KINDS),
        "model": st.integers(0, 5),
        "params": st.lists(PARAMS, min_size=1, max_size=4),
        "prompts": st.lists(
            st.lists(st.integers(0, 15), min_size=1, max_size=8), min_size=4, max_size=4
        ),
        "shared": st.sampled_from([0, 0, SMALLEST]),  # tokens that all prompts begin with
        "options": st.sampled_from(
            [LayoutOptions(), LayoutOptions("flat", "own"), LayoutOptions(join="reencode")]
        ),
        "rows": st.sampled_from([2, 7, 512]),
        "requests": st.sampled_from([2, 64]),
    }
)


def answers(toy, prompts, params):
    """Everything that a caller gets of each request, times left out."""
    return [
        (list(r.trunk.tokens()), r.finish_reason, sorted(r.limits), toy.trace(r))
        for r in toy.run(prompts, params)
    ]


def check(case):
    """One case."""
    model, params = toy_model(case["kind"], case["model"]), case["params"]
    head = [i % 16 for i in range(case["shared"])]
    prompts = [head + prompt for prompt in case["prompts"][: len(params)]]
    limits = EngineLimits(max_rows=case["rows"], max_requests=case["requests"])
    source = NgramSource(longest=2, shortest=1)
    toy = Toy(model, case["options"], limits, source=source)
    batch = answers(toy, prompts, params)
    serial = [replace(p, mode="serial") for p in params]
    assert strip(answers(toy, prompts, serial)) == strip(batch)
    assert not source._texts
    for prompt, param, found in zip(prompts, params, batch, strict=True):
        assert strip(answers(Toy(model, case["options"]), [prompt], [param])) == strip([found])


def strip(found):
    """Without log-probabilities, whose last bits depend on how rows are summed."""
    return [([row[:2] for row in rows], *rest) for rows, *rest in found]


@settings(max_examples=15)
@given(case=CASES)
def test_serial_and_alone_give_the_tokens_of_the_batch(case):
    check(case)


@pytest.mark.slow
@settings(max_examples=500)
@given(case=CASES)
def test_five_hundred_times(case):
    check(case)


@pytest.mark.slow
def test_aborts_and_timeouts_leave_nothing(base, adapter):
    """At random moments, beside others that go on; the engine serves the next one as before."""
    from pinfer import Engine

    engine = Engine.from_pretrained(str(base), str(adapter), device="cpu")
    rng = random.Random(4)
    wanted = engine.generate(["Go on."], SamplingParams(max_new_tokens=40))[0].token_ids
    timeouts = 0
    for round_ in range(40):
        requests = [
            engine.add(
                "Check each record.",
                SamplingParams(
                    max_new_tokens=60,
                    temperature=1.2,
                    seed=100 * round_ + i,
                    timeout_s=rng.choice([None, 0.01, 0.05]),
                    max_width=rng.choice([None, 1, 2]),
                ),
            )
            for i in range(5)
        ]
        while engine.core.scheduler.busy:
            engine.step()
            engine.core.runner.arena.check()
            if rng.random() < 0.1:
                engine.abort(rng.choice(requests))
                engine.core.runner.arena.check()
        timeouts += sum(r.finish_reason == "timeout" for r in requests)
        assert all(r.finish_reason and not r.live and not r.waiting for r in requests)
        assert engine.core.runner.arena.rows == 0 and not engine.core.runner.arena.segments
    assert timeouts > 5
    assert engine.generate(["Go on."], SamplingParams(max_new_tokens=40))[0].token_ids == wanted
