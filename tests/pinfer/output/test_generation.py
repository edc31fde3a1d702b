"""What a caller gets: text, tagged text, tokens and statistics of one answer agree."""

import dataclasses
import json
import re

import pytest

from pbranch import parse, plain_text, render
from pbranch.errors import RequestError
from pbranch.format.markers import MARKERS, Role, escape
from pinfer import Engine, SamplingParams
from pinfer.output.generation import Stats

PROMPTS = ["Check each record.", "a", "Case 1", "Nitin Sharma: 4.09", "你好", "x = 3"]


@pytest.fixture(scope="module")
def engine(base, adapter):
    return Engine.from_pretrained(str(base), str(adapter))


@pytest.fixture(scope="module", params=[0.0, 1.0])
def answers(request, engine):
    params = SamplingParams(
        max_new_tokens=50, max_topics=3, max_topic_tokens=3, temperature=request.param, seed=0
    )
    return engine.generate(PROMPTS, params)


def test_answers_hold_blocks(answers):
    assert sum(a.stats.blocks for a in answers) >= 2


def test_tagged_text_and_plain_text_are_those_of_the_trace(answers):
    for answer in answers:
        assert parse(answer.tagged_text) == answer.trace
        assert render(answer.trace) == answer.tagged_text
        assert answer.text == plain_text(answer.trace)
        assert not any(marker in answer.text for marker in MARKERS.values())


def runs_of(answer, m):
    """Runs of words as they were encoded: cut at markers, and behind a branch's header."""
    topics, waiting, run, left = [], [], [], -1
    for token in answer.token_ids:
        role = m.role(token)
        if role is not None or left == 0:
            yield run
            run = []
        left -= 1
        if role is None:
            run.append(token)
            if topics and left < 0:
                topics[-1].append(token)
            continue
        yield role
        if role is Role.FORK:
            topics = []
        elif role is Role.TOPIC:
            topics.append([])
        elif role is Role.SPAWN:
            waiting, topics = [*topics, *waiting], []
        left = len(waiting.pop(0)) if role is Role.BRANCH else -1
    yield run


def test_tokens_spell_the_tagged_text(engine, answers):
    for answer in answers:
        spelled = "".join(
            MARKERS[run] if isinstance(run, Role) else escape(engine.codec.decode(run))
            for run in runs_of(answer, engine.spec.markers)
        )
        assert spelled == answer.tagged_text


def test_forced_tokens_are_the_injected_ones(engine, answers):
    """branch, header and join always; besides, what a limit closed."""
    m = engine.spec.markers
    closing = 0
    for answer in answers:
        topics: list[list[int]] = []
        header: list[int] = []
        waiting: list[list[int]] = []
        for token, forced in zip(answer.token_ids, answer.forced, strict=True):
            if header:
                assert forced and token == header.pop(0), "a header repeats its topic"
            elif token == m.fork:
                assert not forced
                topics = []
            elif token == m.topic:
                topics.append([])
            elif token == m.spawn:
                waiting = [*topics, *waiting]
                closing += forced
                topics = []
            elif token == m.branch:
                assert forced
                header = list(waiting.pop(0))
            elif token == m.join:
                assert forced
            elif token == m.end:
                closing += forced
            else:
                assert not forced, "a word is never injected outside a header"
                if topics:
                    topics[-1].append(token)
        assert not waiting and not header
        stats = answer.stats
        assert stats.generated_tokens == answer.forced.count(False)
        assert stats.injected_tokens == answer.forced.count(True)
    assert closing


def test_the_dictionary_is_json_and_complete(answers):
    for answer in answers:
        stored = json.loads(json.dumps(answer.as_dict()))
        assert list(stored) == [
            "prompt_token_ids",
            "text",
            "tagged_text",
            "token_ids",
            "forced",
            "finish_reason",
            "stop_reason",
            "limits",
            "seed",
            "sampling",
            "stats",
        ]
        names = [f.name for f in dataclasses.fields(Stats) if f.name != "kv"]  # of a bounded cache
        assert list(stored["stats"]) == names
        assert stored["text"] == answer.text


def test_statistics_of_an_answer(answers):
    for answer in answers:
        stats = answer.stats
        assert stats.mode == "parallel"
        assert stats.prompt_tokens == len(answer.prompt_token_ids)
        assert stats.passes == stats.critical_path_tokens - 1
        assert stats.critical_path_tokens <= 50
        assert stats.kv_rows == stats.prompt_tokens + stats.rows
        assert stats.prefill_seconds > 0 and stats.decode_seconds >= 0
        if stats.decode_seconds:
            rate = stats.generated_tokens / stats.decode_seconds
            assert stats.tokens_per_second == pytest.approx(rate)


def test_markers_spelled_in_a_prompt_are_text(engine):
    spelled = "".join(MARKERS.values())
    (answer,) = engine.generate([f"Say {spelled} now"], SamplingParams(max_new_tokens=20))
    ids = set(engine.spec.markers.as_dict().values())
    assert not ids & set(answer.prompt_token_ids)
    assert spelled in engine.tokenizer.decode(answer.prompt_token_ids)
    assert parse(answer.tagged_text) == answer.trace


def test_raw_prompts_system_and_messages(engine):
    params = SamplingParams(max_new_tokens=3)
    (raw,) = engine.generate(["Go."], params, raw=True)
    (user,) = engine.generate(["Go."], params)
    (messages,) = engine.generate([[{"role": "user", "content": "Go."}]], params)
    (system,) = engine.generate(["Go."], params, system="Be brief.")
    (ids,) = engine.generate([{"token_ids": user.prompt_token_ids}], params)
    decode = engine.tokenizer.decode
    assert decode(raw.prompt_token_ids) == "Go."
    assert "user\nGo." in decode(user.prompt_token_ids)
    assert messages.prompt_token_ids == user.prompt_token_ids == ids.prompt_token_ids
    assert messages.token_ids == user.token_ids == ids.token_ids
    assert "system\nBe brief." in decode(system.prompt_token_ids)


def test_no_prompts_no_answers(engine):
    assert engine.generate([]) == []


def test_one_prompt_is_not_cut_into_pieces(engine):
    """A text, a mapping or a conversation alone is a list of one."""
    params = SamplingParams(max_new_tokens=3)
    turns = [{"role": "user", "content": "Go."}]
    (wanted,) = engine.generate(["Go."], params)
    ids = {"token_ids": wanted.prompt_token_ids}
    for alone in ("Go.", turns, {"messages": turns}, ids, (turns,), [ids]):
        (answer,) = engine.generate(alone, params)
        assert answer.token_ids == wanted.token_ids
    assert len(engine.generate(["Go.", turns], params, n=2)) == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1, 2], "prompt 1: found int, expected a text, messages,"),
        ([[1, 2]], "prompt 1: found a list of int, expected"),
        (["Go.", {"text": "Go."}], "prompt 2: found a mapping of text, expected"),
        ([b"Go."], "prompt 1: found bytes"),
        ([None], "prompt 1: found NoneType"),
        (None, "prompt 1: found NoneType"),
        (7, "prompt 1: found int"),
        (b"Go.", "prompt 1: found bytes"),
        ({}, "prompt 1: found a mapping of nothing"),
    ],
)
def test_what_is_no_prompt_is_refused_by_its_place(engine, given, message):
    with pytest.raises(RequestError, match=re.escape(message)):
        engine.generate(given)
    assert not engine.core.busy
    with pytest.raises(RequestError, match="the prompt: found a list of str, expected"):
        next(engine.stream(["a", "b"]))


def test_no_seed_is_a_random_one_that_the_answer_names(engine):
    params = SamplingParams(max_new_tokens=20, temperature=1.5)
    answers = engine.generate(["Go on."], params, n=6)
    assert len({a.seed for a in answers}) == 6 == len({tuple(a.token_ids) for a in answers})
    (again,) = engine.generate(["Go on."], dataclasses.replace(params, seed=answers[2].seed))
    assert again.token_ids == answers[2].token_ids and again.seed == answers[2].seed
    given = engine.generate(["Go on."], dataclasses.replace(params, seed=7), n=2)
    assert [a.seed for a in given] == [7, 8]
    assert engine.generate(["Go on."], SamplingParams(max_new_tokens=2))[0].seed is None


def test_what_ended_an_answer_is_told(engine):
    params = SamplingParams(max_new_tokens=30, mode="linear")
    (whole,) = engine.generate(["Go on."], params)
    assert whole.stop_reason is None and whole.finish_reason == "length"
    text, token = whole.text[5:7], whole.token_ids[9]
    (by_text,) = engine.generate(["Go on."], dataclasses.replace(params, stop=("@@", text)))
    assert (by_text.finish_reason, by_text.stop_reason) == ("stop", text)
    assert by_text.text == whole.text[: whole.text.index(text)]
    (by_token,) = engine.generate(["Go on."], dataclasses.replace(params, stop_token_ids=(token,)))
    assert (by_token.finish_reason, by_token.stop_reason) == ("stop", token)
    asked = dataclasses.replace(params, stop_when=lambda text: len(text) > 5)
    (by_caller,) = engine.generate(["Go on."], asked)
    assert (by_caller.finish_reason, by_caller.stop_reason) == ("stop", None)


def test_a_dialects_tagged_text_gives_its_text():
    """Its branches stand further apart than those of a tagged text do."""
    engine = Engine.from_pretrained("tiny", "none", device="cpu")
    prompt = "Look at this list. Whose weight is above 7.4?\n- Roti: weight 3.0\n- Sivo: weight 8.7"
    for outline in ("own", "all"):
        params = SamplingParams(dialect="paper", outline=outline)
        (answer,) = engine.generate(prompt, params)
        assert answer.stats.branches == 2
        assert plain_text(parse(answer.tagged_text)) == answer.text
