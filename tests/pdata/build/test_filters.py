"""Filters: near-duplicates are found by order and with their origin, other problems are kept."""

import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdata.build.filters import Fingerprint, TraceFilter, simhash, take_fingerprint
from pdata.record import Rejection
from pdata.synthetic.generator import make_record

PROMPT = (
    "A farmer near Bergen keeps 12 goats and twice as many sheep on a meadow by the sea. In spring "
    "he buys 5 more goats from Nia and sells a third of the sheep. How many animals has he then?"
)
TEXT = (
    "He starts with 12 goats and with 24 sheep, since he keeps twice as many of them. After spring "
    "he has 17 goats, and as a third of the sheep is 8 he has 16 sheep left. That makes 33 animals."
)
CHINESE = (
    "我们需要从五个方面来分析有机农业的影响，"
    "包括经济、环境、技术、政策以及消费者的看法，并且给出结论。"
)


def run(*traces: tuple[str, str], max_words: int | None = None) -> list[Rejection | None]:
    trace_filter = TraceFilter(max_words, near_duplicates=True)
    return [
        trace_filter.check(f"in.jsonl:{n}", take_fingerprint(*t)) for n, t in enumerate(traces, 1)
    ]


@pytest.mark.parametrize(
    "twin",
    [
        (PROMPT, TEXT),
        (PROMPT.replace(" ", "\n  "), TEXT.replace(".", " !").replace("After", "AFTER")),
        (PROMPT.replace("by the sea", "near the sea"), TEXT),
        (PROMPT, TEXT.replace("he has 17", "he now has 17")),
    ],
)
def test_near_duplicates_name_what_they_repeat(twin: tuple[str, str]) -> None:
    other = ("What is the sea?", "It is a large body of salt water, and it never ends.")
    assert run(other, (PROMPT, TEXT), twin) == [
        None, None, Rejection("near-duplicate", "of in.jsonl:2")
    ]  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        (PROMPT.replace("12", "14"), TEXT.replace("12", "14")),
        (PROMPT.replace("Nia", "Bo"), TEXT),
        (PROMPT, TEXT.replace("33", "34")),
        (PROMPT, "There are 12 goats and 24 sheep: 12 + 5 = 17 and 24 - 8 = 16, in sum 33."),
        (PROMPT.replace("How many animals has he then", "Which kind does he have more of"), TEXT),
    ],
    ids=["numbers", "name", "result", "another way", "another question"],
)
def test_other_traces_are_kept(other: tuple[str, str]) -> None:
    assert run((PROMPT, TEXT), other) == [None, None]


def test_chinese_signs_are_words() -> None:
    assert take_fingerprint("", CHINESE).words == 43
    changed = CHINESE.replace("给出", "得出")
    assert run((CHINESE, CHINESE), (CHINESE, changed))[1] == Rejection(
        "near-duplicate", "of in.jsonl:1"
    )
    assert run((CHINESE, CHINESE), (CHINESE, CHINESE[::-1]))[1] is None


def test_over_long_traces() -> None:
    words = "one two three four five"
    assert run(("p", words), ("q", words + " six"), max_words=5) == [
        None, Rejection("over-long", "6 words; at most 5")
    ]  # fmt: skip
    assert TraceFilter().check("a:1", take_fingerprint("p", words)) is None


def test_templates_of_synthetic_tasks_are_no_duplicates() -> None:
    for task in ("records", "sums", "cases", "chain"):
        records = [make_record(task, 5, i, None, "train").to_json() for i in range(150)]
        traces = [(r["messages"][-1]["content"], r["completion"]) for r in records]
        assert run(*traces) == [None] * 150
        assert all(run(*traces, *traces)[150:])


def test_prints_are_the_same_in_every_process() -> None:
    code = "from pdata.build.filters import *; print(take_fingerprint(*input().split('|')))"
    done = subprocess.run(
        [sys.executable, "-c", code], input=f"{PROMPT}|{TEXT}", capture_output=True, text=True
    )
    assert done.stdout.strip() == str(take_fingerprint(PROMPT, TEXT))


def prints(n: int, seed: int = 0) -> list[Fingerprint]:
    """Prints near one another, of two kinds of facts that share a bucket."""
    rng = random.Random(seed)
    centres = [rng.getrandbits(64) for _ in range(1 + n // 4)]

    def near() -> int:
        return rng.choice(centres) ^ (1 << rng.randrange(64)) ^ (1 << rng.randrange(64))

    return [Fingerprint(9, near(), near(), rng.randrange(2) << 16) for _ in range(n)]


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 5))
def test_resuming_gives_the_same_drops(n: int, cut: int, seed: int) -> None:
    every = [(f"in.jsonl:{i}", p) for i, p in enumerate(prints(n, seed), 1)]
    whole = TraceFilter(near_duplicates=True)
    expected = [whole.check(*item) for item in every]
    resumed = TraceFilter(near_duplicates=True)
    for item, drop in list(zip(every, expected, strict=True))[:cut]:
        if drop is None:
            resumed.add(*item)
    assert [resumed.check(*item) for item in every[cut:]] == expected[cut:]


@given(st.integers(1, 80), st.integers(0, 9))
def test_the_index_finds_what_a_plain_search_finds(n: int, seed: int) -> None:
    """The first kept trace whose two prints lie within seven bits and whose facts are equal."""
    trace_filter = TraceFilter(near_duplicates=True)
    kept: list[tuple[int, Fingerprint]] = []
    for i, p in enumerate(prints(n, seed)):
        near = [
            j for j, q in kept
            if (p.text ^ q.text).bit_count() <= 7 and (p.prompt ^ q.prompt).bit_count() <= 7
            and p.facts == q.facts
        ]  # fmt: skip
        drop = trace_filter.check(f"f:{i}", p)
        assert drop == (Rejection("near-duplicate", f"of f:{near[0]}") if near else None)
        if not near:
            kept.append((i, p))


def test_memory_is_a_few_bytes_a_trace() -> None:
    import tracemalloc

    rng = random.Random(1)
    trace_filter = TraceFilter(near_duplicates=True)
    for i in range(100):  # what does not grow with traces
        trace_filter.add(f"f:{i}", Fingerprint(1, 0, 0, i))
    tracemalloc.start()
    for i in range(50_000):
        trace_filter.add(
            f"f:{i}", Fingerprint(1, rng.getrandbits(64), rng.getrandbits(64), i % 100)
        )
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < 50_000 * 48


def test_empty_text_has_a_print() -> None:
    assert simhash([]) == 0 and take_fingerprint("", "").words == 0
