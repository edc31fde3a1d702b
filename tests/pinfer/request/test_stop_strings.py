"""Stop strings and stop tokens, against an oracle that decodes every lane from its start."""

import random

import pytest
import torch

from pbranch import parse
from pinfer import Engine, SamplingParams
from pinfer.output.generation import make_generation
from pinfer.request.detokenizer import Detokenizer
from pinfer.request.state import LiveFork
from pinfer.request.stop_strings import StopMatcher, safe_length, truncate_at_stop

torch.set_num_threads(1)
PROMPT = "Check each record."


@pytest.fixture(scope="module")
def engine(base, adapter):
    return Engine.from_pretrained(str(base), str(adapter), device="cpu")


def decode_all(engine, params):
    """The request and its answer."""
    engine.add(PROMPT, params)
    ((request, answer),) = list(engine.run())
    return request, answer


def segments(lane, rules):
    """Tokens of each run of body text of a lane, in order."""
    runs, in_outline = [[]], False
    for item in lane.items[lane.header.length :]:
        role = None if isinstance(item, LiveFork) else rules.role(item[0])
        if isinstance(item, LiveFork):
            runs, in_outline = [*runs, []], False
        elif role is not None:
            in_outline = in_outline or role.value == "fork"
        elif not in_outline and item[0] not in rules.end_of_text:
            runs[-1].append(item[0])
    return runs


def candidates(rng, request, engine):
    """Stop strings that this answer holds: inside words and across tokens, topics, single signs."""
    texts = [
        engine.codec.decode(run)
        for lane in request.lanes
        for run in segments(lane, engine.spec)
        if run
    ]
    topics = [
        engine.codec.decode(topic)
        for lane in request.lanes
        for item in lane.items
        if isinstance(item, LiveFork)
        for topic in item.topics
    ]
    found = []
    for _ in range(rng.randint(1, 3)):
        text = rng.choice([t for t in texts if t] or ["x"])
        at = rng.randrange(len(text))
        found.append(text[at : at + rng.randint(1, 6)])
    if topics and rng.random() < 0.3:
        found.append(rng.choice(topics))
    found.append(rng.choice(["🙂", "世界", "é", "\n"]))
    return tuple(s for s in found if s and "\ufffd" not in s)


@pytest.mark.parametrize("cases", [60, pytest.param(200, marks=pytest.mark.slow)])
def test_random_cases_agree_with_the_oracle(engine, cases):
    rng, stopped_in = random.Random(1), {"trunk": 0, "branch": 0}
    for seed in range(cases):
        params = SamplingParams(max_new_tokens=60, temperature=1.2, seed=seed)
        before, _ = decode_all(engine, params)
        stops = candidates(rng, before, engine)
        params = SamplingParams(max_new_tokens=60, temperature=1.2, seed=seed, stop=stops)
        request, answer = decode_all(engine, params)
        assert parse(answer.tagged_text) == answer.trace
        for lane in request.lanes:
            runs = segments(lane, engine.spec)
            for i, run in enumerate(runs):
                text = engine.codec.decode(run)
                hit = any(stop in text for stop in stops)
                if not hit:
                    continue
                assert i == len(runs) - 1 and lane.state.stops.matched
                earlier = engine.codec.decode(run[:-1])
                assert not any(stop in earlier for stop in stops), "it went on behind a stop"
                assert truncate_at_stop(text, stops) in answer.text
                stopped_in["branch" if lane.in_branch else "trunk"] += 1
        last = segments(request.trunk, engine.spec)[-1]
        if any(stop in engine.codec.decode(last) for stop in stops):
            assert answer.finish_reason == "stop"
            assert answer.text.endswith(truncate_at_stop(engine.codec.decode(last), stops))
        assert ("stop_in_branch" in answer.limits) == any(
            lane.in_branch and lane.state.stops.matched for lane in request.lanes
        )
        streamed = list(engine.stream(PROMPT, params))
        assert streamed[-1].generation.text == answer.text
    assert min(stopped_in.values()) > cases * 0.15


def test_a_stop_equal_to_a_topic_lets_the_headers_be(engine):
    """Topics and headers are no body text; the same word in a body stops."""
    watch = StopMatcher(engine.codec.decode, ("abc",))
    for token in engine.codec.encode("xxab"):
        watch.push(token)
    assert not watch.matched
    fresh = watch.for_new_segment()
    for token in engine.codec.encode("c"):
        fresh.push(token)
    assert not fresh.matched, "a stop string does not reach across a marker"
    for token in engine.codec.encode("c"):
        watch.push(token)
    assert watch.matched


@pytest.mark.parametrize("text", ["a🙂b", "你好，世界", "naïve café", "plain"])
def test_text_grows_by_whole_characters(engine, text):
    segment, seen = Detokenizer(engine.codec.decode), ""
    for token in engine.codec.encode(text):
        segment.push(token)
        assert segment.text.startswith(seen) and "\ufffd" not in segment.text
        assert text.startswith(segment.text)
        seen = segment.text
    assert seen + segment.tail == text


def test_what_a_stop_may_still_take_away_is_held_back():
    assert safe_length("hello EN", ("END",)) == 6
    assert safe_length("hello END", ("ENDS",)) == 6
    assert safe_length("hello", ("END", "lo there")) == 3
    assert safe_length("hello", ()) == 5
    assert truncate_at_stop("aXbYc", ("Y", "Xb")) == "a"
    assert truncate_at_stop("abc", ("x",)) == "abc"


def test_stop_tokens_end_the_answer_or_the_branch_and_are_no_text(engine):
    ended = {"stop": 0, "stop_in_branch": 0}
    for seed in range(60):
        params = SamplingParams(max_new_tokens=60, temperature=1.2, seed=seed)
        request, _ = decode_all(engine, params)
        body = [t for lane in request.lanes for run in segments(lane, engine.spec) for t in run]
        if not body:
            continue
        stop = random.Random(seed).choice(body)
        params = SamplingParams(
            max_new_tokens=60, temperature=1.2, seed=seed, stop_token_ids=(stop,)
        )
        request, answer = decode_all(engine, params)
        assert make_generation(request, engine.spec, engine.codec).text == answer.text
        for lane in request.lanes:
            runs = segments(lane, engine.spec)
            assert (
                stop
                not in [t for run in runs for t in run][: -1 if lane is request.trunk else None]
            )
        if request.trunk.items[-1] == (stop, False):
            assert answer.finish_reason == "stop"
            ended["stop"] += 1
        ended["stop_in_branch"] += "stop_in_branch" in answer.limits
    assert min(ended.values()) > 5
