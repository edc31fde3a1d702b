"""Trace files into layouts, held-out prompts, packing and the order of rows."""

import gzip
import json
import logging
import random
from collections import Counter

import pytest

from pbranch.errors import DataError
from pbranch.format.layout import LayoutOptions
from pbranch.format.markers import MARKERS, Role, add_markers
from pbranch.hf.prompt import render_prompt
from ptrain.data.batching import order_sequences, pack
from ptrain.data.dataset import Encoder, Traces, find_files, hold_out, read_traces
from tests.ptrain.conftest import make_records, make_tokenizer, write_records


@pytest.fixture(scope="module")
def encode():
    tokenizer = make_tokenizer()
    return Encoder(tokenizer, add_markers(tokenizer), LayoutOptions())


def test_broken_lines_are_set_aside_and_named(encode, tmp_path, caplog):
    records = make_records(3)
    unclosed = records[0] | {"completion": "so " + MARKERS[Role.FORK]}
    lines = [
        json.dumps(records[0]),
        "{not json",
        json.dumps(unclosed),
        json.dumps({"messages": []}),
        json.dumps(["a", "list"]),
        json.dumps(records[1] | {"messages": [{"role": "user"}]}),
        json.dumps(records[1] | {"answer_ok": False}),
        "",
        json.dumps(records[2]),
    ]
    path = tmp_path / "t.jsonl"
    path.write_bytes("\n".join(lines).encode() + b'\n{"messages": "\xff"}\n')
    with caplog.at_level(logging.WARNING):
        traces = read_traces(str(path), encode, 4096)
    assert len(traces.examples) == 2
    assert traces.left_out == {"broken": 6, "wrong answer": 1}
    named = [r.getMessage() for r in caplog.records]
    assert [m.split(": ")[0] for m in named] == [f"{path}:{n}" for n in (2, 3, 4, 5, 6, 10)]
    assert len(read_traces(str(path), encode, 4096, keep_wrong=True).examples) == 3


def test_nothing_left_is_an_error_with_the_first_reason(encode, tmp_path):
    path = write_records(tmp_path / "t.jsonl", [{"completion": "x"}])
    with pytest.raises(DataError, match=r"1 broken.*t\.jsonl:1"):
        read_traces(str(path), encode, 4096)
    with pytest.raises(DataError, match="1 longer than 5 tokens"):
        read_traces(str(write_records(path, make_records(1))), encode, 5)


def test_gzip_globs_and_the_second_folder(encode, tmp_path, monkeypatch):
    home, here = tmp_path / "home", tmp_path / "here"
    (home / "data").mkdir(parents=True)
    here.mkdir()
    monkeypatch.chdir(here)
    plain = write_records(home / "data" / "a.jsonl", make_records(2))
    (home / "data" / "b.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert find_files("data/*", home) == [home / "data" / "a.jsonl", home / "data" / "b.jsonl.gz"]
    assert len(read_traces(["data/*"], encode, 4096, home=home).examples) == 4
    with pytest.raises(DataError, match=r"nothing\.jsonl"):
        find_files(["data/a.jsonl", "nothing.jsonl"], home)


def test_training_ids_are_those_of_decoding_and_markers_in_prompts_are_text(encode):
    record = make_records(1)[0]
    record["messages"][0]["content"] += MARKERS[Role.FORK]
    layout = encode(record)
    prompt = render_prompt(record["messages"], encode.tokenizer)
    assert layout.token_ids[: len(prompt)] == prompt
    assert encode.markers.fork not in prompt
    assert layout.targets[len(prompt) - 1] != -100 and set(layout.targets[: len(prompt) - 1]) == {
        -100
    }


def test_held_out_prompts_depend_on_themselves_alone():
    keys = [f"prompt {i % 80}" for i in range(100)]
    layouts = [[k] for k in keys]
    train, held_out = hold_out(Traces(layouts, keys), 0.1, 0)
    assert {x[0] for x in train}.isdisjoint({x[0] for x in held_out})
    assert len({x[0] for x in held_out}) == 8
    turned = hold_out(Traces(layouts[::-1], keys[::-1]), 0.1, 0)[1]
    assert sorted(turned) == sorted(held_out) != sorted(hold_out(Traces(layouts, keys), 0.1, 1)[1])
    assert hold_out(Traces(layouts[:1], keys[:1]), 0.5, 0) == (layouts[:1], [])


def test_packing_is_whole_tight_and_repeatable():
    rng = random.Random(0)
    lengths = [rng.randint(10, 400) for _ in range(500)]
    rows = pack(lengths, 1024, seed=0)
    sums = [sum(lengths[i] for i in row) for row in rows]
    assert sorted(i for row in rows for i in row) == list(range(500))
    assert max(sums) <= 1024 and len(rows) <= 1.03 * sum(lengths) / 1024 + 1
    assert rows == pack(lengths, 1024, seed=0) != pack(lengths, 1024, seed=1)


def test_order_covers_every_epoch_and_groups_by_length():
    rng = random.Random(0)
    lengths = [rng.randint(10, 400) for _ in range(1000)]
    order = order_sequences(lengths, 32, 70, seed=0)
    assert len(order) == 32 * 70 and set(Counter(order).values()) <= {2, 3}
    batches = [order[i : i + 32] for i in range(0, len(order), 32)]
    padded = sum(32 * max(lengths[i] for i in b) for b in batches)
    assert padded < 1.06 * sum(lengths[i] for i in order)
    same, other = (order_sequences(lengths, 32, 70, seed=seed) for seed in (0, 1))
    assert order == same != other
    assert len(order_sequences([5], 4, 2, seed=0)) == 8
