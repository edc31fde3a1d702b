"""Many threads, one engine: answers are those of a lone engine, whoever leaves, fails or waits."""

import threading

import pytest

from pbranch.errors import RequestError
from pinfer import Engine, EngineLimits, SamplingParams
from pinfer.engine_loop import EngineLoop
from pinfer.output.events import Finished, TokenEvent

PROMPTS = ["Go on.", "Check each record.", "Compute 12 + 30.", "你好"]
PARAMS = SamplingParams(max_new_tokens=40)


@pytest.fixture(scope="module")
def engine(base, adapter):
    return Engine.from_pretrained(str(base), str(adapter), device="cpu")


@pytest.fixture(scope="module")
def alone(engine):
    return {prompt: engine.generate([prompt], PARAMS)[0].token_ids for prompt in PROMPTS}


def test_threads_get_the_answers_of_a_lone_engine(engine, alone):
    answers, streamed = {}, {}

    def ask(loop, number):
        prompt = PROMPTS[number % len(PROMPTS)]
        if number % 2:
            events = list(loop.submit(prompt, PARAMS, stream=True).events())
            assert isinstance(events[-1], Finished)
            streamed[number] = "".join(e.text for e in events if isinstance(e, TokenEvent))
            answers[number] = events[-1].generation
        else:
            answers[number] = loop.submit(prompt, PARAMS).result(timeout=120)

    with EngineLoop(engine, max_unfinished=5) as loop:
        threads = [threading.Thread(target=ask, args=(loop, i)) for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 12 and len(streamed) == 6
    for number, answer in answers.items():
        assert answer.token_ids == alone[PROMPTS[number % len(PROMPTS)]]
    assert not engine.core.busy and not loop._handles


def test_who_leaves_a_stream_early_disturbs_nobody(engine, alone):
    with EngineLoop(engine) as loop:
        other = loop.submit(PROMPTS[1], PARAMS)
        events = loop.submit(PROMPTS[0], PARAMS, stream=True).events()
        next(events)
        events.close()
        assert other.result(timeout=120).token_ids == alone[PROMPTS[1]]
        cancelled = loop.submit(PROMPTS[0], SamplingParams(max_new_tokens=400))
        cancelled.cancel()
        assert cancelled.result(timeout=120).limits == ["aborted"]
    assert not engine.core.busy


def test_a_full_loop_refuses_and_a_closed_one_too(engine):
    with EngineLoop(engine, max_unfinished=1) as loop:
        first = loop.submit(PROMPTS[0], SamplingParams(max_new_tokens=400))
        with pytest.raises(RequestError, match="1 requests are unfinished"):
            loop.submit(PROMPTS[1], PARAMS, wait=0)
        first.cancel()
        loop.submit(PROMPTS[1], PARAMS, wait=60).result(timeout=120)
        last = loop.submit(PROMPTS[0], SamplingParams(max_new_tokens=400))
    assert last.result(timeout=5).finish_reason in ("error", "stop", "length")
    with pytest.raises(RequestError, match="closed"):
        loop.submit(PROMPTS[0], PARAMS, wait=0)


def test_what_cannot_be_served_is_said_to_whom_it_concerns(base, adapter):
    limits = EngineLimits(max_kv_rows=300)
    small = Engine.from_pretrained(str(base), str(adapter), device="cpu", limits=limits)
    with EngineLoop(small) as loop:
        refused = loop.submit(PROMPTS[0], SamplingParams(max_new_tokens=5000))
        served = loop.submit(PROMPTS[0], SamplingParams(max_new_tokens=10))
        with pytest.raises(RequestError, match="cached rows"):
            refused.result(timeout=60)
        assert served.result(timeout=60).error is None
        with pytest.raises(RequestError, match="stream=True"):
            next(served.events())


def test_an_add_is_not_drained_by_others(engine, alone):
    """`run` gives out what `add` has queued, whatever was generated or streamed meanwhile."""
    request = engine.add(PROMPTS[0], PARAMS)
    (answer,) = engine.generate([PROMPTS[1]], PARAMS)
    assert answer.token_ids == alone[PROMPTS[1]]
    other = engine.add(PROMPTS[2], PARAMS)
    assert isinstance(list(engine.stream(PROMPTS[1], PARAMS))[-1], Finished)
    found = {r.number: g.token_ids for r, g in engine.run()}
    assert found == {request.number: alone[PROMPTS[0]], other.number: alone[PROMPTS[2]]}
    assert not list(engine.run()) and not engine._unclaimed


def test_unclaimed_answers_do_not_grow_for_ever(engine, monkeypatch):
    monkeypatch.setattr("pinfer.engine.UNCLAIMED", 3)
    short = SamplingParams(max_new_tokens=2)
    for _ in range(6):
        engine.add(PROMPTS[0], short)
        list(engine.stream(PROMPTS[1], SamplingParams(max_new_tokens=4)))
    assert len(engine._unclaimed) <= 3
    list(engine.run())
