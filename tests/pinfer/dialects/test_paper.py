"""Decoding in the paper's dialect: the tokens of the plain three-stage oracle, for tokenizers that
write the marks as one token, as several, and merged with their neighbours."""

import copy
import random
from dataclasses import asdict
from functools import cache

import pytest
import torch
from pdata.sources.dialects import read_dialect

from pbranch.errors import RequestError
from pbranch.format.tagged_text import parse, render
from pbranch.hf.segment_codec import SegmentCodec
from pinfer.dialects.instruction import instruct
from pinfer.output.events import Finished
from pinfer.output.reading_order import InOrder
from pinfer.params import EngineLimits, SamplingParams
from pinfer.request.state import Status
from pinfer.scheduling.batch import Choice
from tests.support.paper_oracle import TEXTS, Oracle, make_engine, make_leaning, make_tokenizer

torch.set_num_threads(1)
FAMILIES = ("qwen3", "llama", "mistral")
KINDS = tuple(TEXTS)
# with which blocks are written
SEEDS = {"whole": (31, 12, 57), "cut": (1, 42, 9), "merged": (57, 41, 1)}


@cache
def tokenizer_of(kind):
    return make_tokenizer(kind)


@cache
def model_of(family, kind):
    return make_leaning(family, tokenizer_of(kind))


def plain_model(model):
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("sdpa")
    return plain


def params(**changes):
    return SamplingParams(
        **{"dialect": "paper", "temperature": 1.0, "seed": 0, "max_new_tokens": 60, **changes}
    )


def long(kind, **changes):
    """Parameters with which blocks are written."""
    return params(seed=SEEDS[kind][0], max_new_tokens=90, **changes)


PROMPTS = [[ord(c) - 33 + 1 for c in text] for text in ("abc", "efg a", "g")]


def check(family, kind, prompts=PROMPTS, **changes):
    model, tokenizer = model_of(family, kind), tokenizer_of(kind)
    engine = make_engine(model, tokenizer)
    answers = engine.generate([{"token_ids": p} for p in prompts], params(**changes))
    wanted = {k: v for k, v in changes.items() if k in Oracle.__dataclass_fields__}
    oracles = []
    for prompt, answer in zip(prompts, answers, strict=True):
        oracle = Oracle(plain_model(model), tokenizer, **{"max_new_tokens": 60, **wanted})
        assert answer.token_ids == oracle.generate(prompt)
        assert answer.forced == oracle.forced
        assert answer.stats.passes == oracle.passes
        why = answer.fallback
        assert (why.split(": ")[-1] if why else None) == (
            oracle.why or (None if oracle.blocks else "no marks")
        )
        oracles.append(oracle)
    return oracles, answers


@pytest.mark.parametrize("kind", KINDS)
def test_tokenizers_write_marks_in_three_ways(kind):
    lengths = [len(tokenizer_of(kind).encode(m)) for m in ("####", "%%%%", "......", "\n\n")]
    merged = tokenizer_of(kind).encode("a\n\n####b")
    assert (lengths == [1] * 4) == (kind == "whole")
    assert (min(lengths) > 1) == (kind == "cut")
    assert (len(merged) <= 3) == (kind == "merged")


def check_many(family, kind, outline, seeds):
    oracles = []
    for seed in seeds:
        changes = {"outline": outline, "seed": seed, "max_new_tokens": 90}
        oracles += check(family, kind, **changes)[0]
    assert sum(len(o.blocks) for o in oracles) >= 2, "hardly a block is written"
    assert any(o.why for o in oracles), "nothing is decoded plainly"
    return oracles


@pytest.mark.parametrize("outline", ["own", "all"])
@pytest.mark.parametrize("family, kind", list(zip(FAMILIES, KINDS, strict=True)))
def test_tokens_are_those_of_three_stages(family, kind, outline):
    check_many(family, kind, outline, SEEDS[kind][:2])


@pytest.mark.slow
@pytest.mark.parametrize("outline", ["own", "all"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_those_of_three_stages_often(family, kind, outline):
    check_many(family, kind, outline, [*SEEDS[kind], 40, 41])


def answers_alone(engine, prompts, params):
    return [engine.generate([{"token_ids": p}], params)[0] for p in prompts]


def shown(answer):
    """All of an answer but the time it took."""
    stats = {k: v for k, v in asdict(answer.stats).items() if "second" not in k}
    return answer.token_ids, answer.forced, answer.text, answer.limits, answer.fallback, stats


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_16_equals_lone_runs(kind):
    """Some are at their titles while others are at their bodies or behind them."""
    rng = random.Random(3)
    prompts = [[rng.randrange(33, 90) for _ in range(rng.randint(1, 9))] for _ in range(16)]
    model, tokenizer = model_of("llama", kind), tokenizer_of(kind)
    stages = []
    engine = make_engine(model, tokenizer, limits=EngineLimits(max_prefix_rows=0))
    schedule = engine.core.scheduler.schedule

    def look():
        stages.append({r.trunk.status is Status.JOINING for r in engine.core.scheduler.running})
        return schedule()

    engine.core.scheduler.schedule = look
    together = engine.generate([{"token_ids": p} for p in prompts], long(kind))
    assert {True, False} in stages, "all were at the same stage in every pass"
    alone = answers_alone(engine, prompts, long(kind))
    assert list(map(shown, together)) == list(map(shown, alone))
    assert sum(a.stats.blocks for a in together) >= 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limits", [{"max_rows": 3}, {"max_rows": 1}])
def test_rows_of_a_pass_change_no_token(kind, limits):
    model, tokenizer = model_of("qwen3", kind), tokenizer_of(kind)
    prompts = [{"token_ids": p} for p in PROMPTS]
    found = []
    for chosen in ({}, limits):
        engine = make_engine(model, tokenizer, limits=EngineLimits(**chosen))
        found.append([a.token_ids for a in engine.generate(prompts, long(kind))])
    engine = make_engine(model, tokenizer)
    for changes in ({"mode": "serial"}, {"max_width": 2}):
        answers = engine.generate(prompts, long(kind, **changes))
        assert max(a.stats.max_width for a in answers) <= (1 if "mode" in changes else 2)
        found.append([a.token_ids for a in answers])
    assert all(tokens == found[0] for tokens in found)


def test_a_branch_at_its_limit_draws_no_more():
    """While the others go on."""
    model, tokenizer = model_of("qwen3", "cut"), tokenizer_of("cut")
    engine, branches = make_engine(model, tokenizer), []
    for seed in SEEDS["cut"]:
        chosen = params(seed=seed, max_branch_tokens=5, mode="serial", max_new_tokens=90)
        requests = [engine.add({"token_ids": p}, chosen) for p in PROMPTS]
        while any(r.finish_reason is None for r in requests):
            engine.step()
        branches += [lane for r in requests for lane in r.lanes if lane.in_branch]
    assert max(lane.budget.sampled for lane in branches) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_block_is_decoded_as_without_the_dialect(kind):
    """Up to the end of the answer, whatever kept the titles from being a block."""
    model, tokenizer = model_of("llama", kind), tokenizer_of(kind)
    engine = make_engine(model, tokenizer)
    seen = set()
    for seed in range(20, 26):
        for prompt in PROMPTS:
            given = {"seed": seed, "max_new_tokens": 40, "max_topic_tokens": 9}
            (answer,) = engine.generate([{"token_ids": prompt}], params(**given))
            if answer.stats.blocks:
                continue
            plain = params(**given, mode="linear")
            (linear,) = engine.generate([{"token_ids": prompt}], plain)
            assert answer.token_ids == linear.token_ids and answer.text == linear.text
            assert answer.finish_reason == linear.finish_reason
            assert answer.limits == linear.limits
            assert answer.fallback and linear.fallback is None
            seen.add(answer.fallback)
    assert len(seen) >= 2, seen


def written(kind, texts, **changes):
    """The answer of an engine that draws the tokens of texts: the trunk's first, then a branch's
    for each title, then the trunk's again."""
    model, tokenizer = model_of("llama", kind), tokenizer_of(kind)
    engine, codec = make_engine(model, tokenizer), SegmentCodec(tokenizer)
    pieces = [[t for piece in text for t in codec.encode(piece)] for text in texts]
    trunk, *bodies, tail = pieces
    left = {(): [*trunk, *tail, tokenizer.eos_token_id]}
    left |= {((0, i),): body for i, body in enumerate(bodies)}

    chosen = params(max_new_tokens=4000, max_topics=99, max_topic_tokens=99, **changes)
    engine.prepare({"token_ids": PROMPTS[0]}, chosen)  # from now on, marks are barred where illegal
    legal = engine.core.sampler.legal

    def draw(logits, sites):
        for site in sites:
            token = left[site.path][0]
            assert legal[site.state, token], tokenizer.decode([token])
        return [Choice(left[site.path].pop(0), True) for site in sites]

    engine.core.sampler = draw
    (answer,) = engine.generate([{"token_ids": PROMPTS[0]}], chosen)
    assert answer.error is None, answer.error
    assert not any(left.values()), "something was not drawn"
    return answer


def block(titles, bodies):
    """What the trunk draws, each branch, and the block as it stands in the text."""
    outline = ["####", *(part for title in titles for part in (title, ":")), "%%%%"]
    whole = "".join(f"####{t}:{b}\n\n" for t, b in zip(titles, bodies, strict=True))
    return [outline, *([body, "\n\n", "####"] for body in bodies)], f"{whole}####%%%%"


TITLES = {
    "two": ["a", "b"],
    "repeated": ["a", "a", "a"],
    "empty": ["", ""],
    "spaces": [" a b ", "  "],
    "60 tokens": ["abcd" * 15, "a"],
    "30": ["abcd"[i % 4] * (i // 4 + 1) for i in range(30)],
}


@pytest.mark.parametrize("kind", ["whole", "cut"])
@pytest.mark.parametrize("titles", TITLES.values(), ids=TITLES)
def test_titles_of_all_kinds(kind, titles):
    bodies = [f" {'dcba'[i % 4] * (1 + i % 5)}" for i in range(len(titles))]
    texts, whole = block(titles, bodies)
    answer = written(kind, [["ab", "\n\n", *texts[0]], *texts[1:], [" d"]])
    assert tokenizer_of(kind).decode(answer.token_ids) == f"ab\n\n{whole} d<eos>"
    named = [f"{t}:{b}" for t, b in zip(titles, bodies, strict=True)]
    assert answer.text == "ab\n\n" + "\n\n".join(named) + "\n\n d"
    (fork,) = answer.trace.forks()
    assert fork.topics == tuple(titles) and answer.fallback is None
    if all(title.strip() == title != "" for title in titles):
        assert read_dialect(f"ab\n\n{whole} d", "paper") == answer.trace
    count = [sum(len(tokenizer_of(kind).encode(piece)) for piece in text) for text in texts]
    around = sum(len(tokenizer_of(kind).encode(piece)) for piece in ("ab", "\n\n", " d")) + 1
    assert answer.stats.passes == count[0] + max(count[1:]) + around - 1
    assert answer.stats.max_width == len(titles)


def test_one_title_is_no_block():
    # what the outline drew is forgotten, and drawn again as plain text
    answer = written("whole", [["####", "a", ":", "%%%%"], ["a", ":", " b", "####", "%%%%"]])
    assert answer.fallback == "block 1: one branch" and answer.stats.blocks == 0
    assert tokenizer_of("whole").decode(answer.token_ids) == "####a: b####%%%%<eos>"
    assert answer.stats.discarded_tokens == 3


@pytest.mark.parametrize("kind", KINDS)
def test_500_answers_of_garbage(kind):
    """A third of them each: no exception, well-formed text, and what is no block is plain text."""
    rng = random.Random(7)
    model, tokenizer = model_of("mistral", kind), tokenizer_of(kind)
    engine = make_engine(model, tokenizer)
    blocks = plain = 0
    for batch in range(17):
        prompts = [{"token_ids": [rng.randrange(1, 256) for _ in range(3)]} for _ in range(10)]
        given = {
            "seed": 100 * batch,
            "max_new_tokens": rng.choice([1, 2, 7, 50]),
            "max_topics": rng.choice([1, 2, 32]),
            "max_topic_tokens": rng.choice([1, 4, 32]),
            "max_branch_tokens": rng.choice([None, 1, 6]),
            "max_width": rng.choice([None, 1, 2]),
            "outline": rng.choice(["own", "all"]),
            "temperature": rng.choice([0.0, 1.0, 3.0]),
        }
        if batch < len(SEEDS[kind]):
            prompts[: len(PROMPTS)] = [{"token_ids": p} for p in PROMPTS]
            given |= {"seed": SEEDS[kind][batch], "max_new_tokens": 90, "max_topics": 32}
            given |= {"temperature": 1.0, "max_topic_tokens": 32}
        answers = engine.generate(prompts, params(**given))
        linear = engine.generate(prompts, params(**given, mode="linear"))
        for answer, alone in zip(answers, linear, strict=True):
            assert render(parse(answer.tagged_text)) == answer.tagged_text
            blocks += answer.stats.blocks
            assert (answer.fallback is None) <= bool(answer.stats.blocks)
            if not answer.stats.blocks:
                plain += answer.fallback != "no marks"
                assert answer.token_ids == alone.token_ids and answer.text == alone.text
    assert blocks and plain


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_tells_the_text(kind):
    model, tokenizer = model_of("llama", kind), tokenizer_of(kind)
    engine, blocks = make_engine(model, tokenizer), 0
    for prompt in PROMPTS:
        told, text = InOrder(), ""
        for event in engine.stream({"token_ids": prompt}, long(kind)):
            text += told.feed(event)
        assert isinstance(event, Finished) and text == event.generation.text
        blocks += event.generation.stats.blocks
    assert blocks


def test_stop_texts_end_a_branch_or_the_answer():
    steps, _ = block(["a", "b"], ["", ""])
    texts = [steps[0], [" dd", "c"], [" d", "\n\n", "####"], [" b", "dd"]]
    answer = written("whole", texts, stop=("ddc",))
    assert answer.text == "a: \n\nb: d\n\n bdd" and answer.limits == ["stop_in_branch"]


def test_instructions_follow_the_language_and_can_be_replaced():
    assert instruct("Who?").startswith("Who?\n\nHow to lay out")
    assert "####%%%%" in instruct("Who?") and "####%%%%" in instruct("谁？")
    assert instruct("谁？").startswith("谁？\n\n回答")
    assert instruct("Who?", "") == "Who?" and instruct("Who?", "Mark.") == "Who?\n\nMark."
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert instruct([*turns, {"role": "user", "content": "c"}], "X") == [
        *turns,
        {"role": "user", "content": "c\n\nX"},
    ]
    with pytest.raises(RequestError, match="behind a user message; found none"):
        instruct([{"role": "system", "content": "a"}], "X")
