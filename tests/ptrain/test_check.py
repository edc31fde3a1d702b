"""`ptrain check`: what a user has to see before a run."""

import json
from unittest import mock

import pytest

from pbranch.errors import RecipeError
from pbranch.files.recipe import load_recipe
from pbranch.format.layout import NO_TARGET, build_layout
from pbranch.format.markers import MARKERS, Role, add_markers
from pbranch.format.tree import Fork, make_trace
from pbranch.format.visibility import sees
from pbranch.hf.segment_codec import SegmentCodec
from ptrain.check import check, draw_example
from ptrain.config import Recipe, TrainOptions
from tests.ptrain.conftest import make_records, make_tokenizer, write_records
from tests.support.repository import ROOT


def run(base, data, *overrides):
    options = [f"model={base}", f"data={data}", "train.device=cpu", "eval_share=0", *overrides]
    return "\n".join(check(load_recipe(Recipe, ROOT / "recipes" / "sft.yaml", options)))


@pytest.fixture(scope="module")
def tokenizer():
    tokenizer = make_tokenizer()
    add_markers(tokenizer)
    return tokenizer


def words(n):
    return " ".join(["value"] * n)


@pytest.mark.parametrize(("lead", "body", "width"), [(700, 3, 3), (3, 300, 3), (400, 200, 12)])
def test_the_fork_of_a_long_example_is_seen(tokenizer, lead, body, width):
    codec, markers = SegmentCodec(tokenizer), add_markers(make_tokenizer())
    topics = tuple(f"{i} low" for i in range(width))
    trace = make_trace(
        f"so {words(lead // 2)}: ",
        Fork(topics, tuple(make_trace(f"{t}: {words(body)}") for t in topics)),
        f" then {words(lead // 2)}",
    )
    layout = build_layout(codec.encode(words(lead)), trace, codec, markers, 2)
    lines = draw_example(layout, tokenizer, markers).splitlines()
    assert len(lines) < 150
    rows = {int(line.split()[0]): line for line in lines[1:] if line.split()[0].isdigit()}
    first = next(i for i, target in enumerate(layout.targets) if target != NO_TARGET)
    seen = {first, first - 1, 0, len(layout) - 1}
    seen |= {i for i, token in enumerate(layout.token_ids) if markers.role(token)}
    branches = [i for i, token in enumerate(layout.token_ids) if token == markers.branch]
    assert seen | {i + 1 for i in branches} <= set(rows)
    folded = [line.split("… ")[-1] for line in lines if " tokens of " in line]
    left_out = len(layout) - len(rows)
    assert sum(int(text.split()[0]) for text in folded) == left_out > 0
    for q, line in rows.items():
        assert int(line.split()[1]) == layout.position_ids[q]
        cells = line[lines[0].index("sees") :].replace("┆", "")
        assert cells == "".join("█" if sees(layout, q, k) else "·" for k in rows if k <= q)


def test_a_short_example_is_drawn_whole(tokenizer):
    codec, markers = SegmentCodec(tokenizer), add_markers(make_tokenizer())
    layout = build_layout([5, 6], make_trace("so it fits"), codec, markers, 2)
    assert len(draw_example(layout, tokenizer, markers).splitlines()) == 1 + len(layout)


def test_how_many_traces_fork_is_said(bases, tmp_path):
    fork = MARKERS[Role.FORK]
    records = make_records(20)
    forked = sum(fork in record["completion"] for record in records)
    path = write_records(tmp_path / "a.jsonl", records)
    text = run(bases["qwen3"], path)
    assert f"{forked} of 20 traces fork" in text and "warning" not in text
    linear = [record for record in records if fork not in record["completion"]]
    text = run(bases["qwen3"], write_records(path, linear), "eval_share=0.3")
    assert f"0 of {len(linear)} traces fork\nwarning: no trace forks" in text
    text = run(bases["qwen3"], path, "eval_share=0.3", "form=linear")
    assert f"0 of {len(linear)} traces fork" in text and "warning: no trace" not in text


def test_a_run_beyond_the_memory_is_refused_after_what_is_known_of_its_data(bases, tmp_path):
    data = write_records(tmp_path / "a.jsonl", make_records(4))
    recipe = Recipe(data=str(data), model=str(bases["qwen3"]), train=TrainOptions(device="cpu"))
    parts, found = check(recipe), []
    with (
        mock.patch("ptrain.trainer.micro_batches.free_memory", return_value=1000),
        pytest.raises(RecipeError, match="memory: one row of"),
    ):
        found.extend(parts)
    assert len(found) == 3 and "traces fork" in found[1] and "targets:" in found[2]


def test_notes_are_said(bases, tmp_path):
    records = make_records(4)
    records[1]["completion"] += "<|im_end|>"
    records[2]["completion"] += " <|im_start|> x"
    text = run(bases["qwen3"], write_records(tmp_path / "a.jsonl", records))
    assert "1 of 4: ends with an end token of the base, which is left off" in text
    assert "1 of 4: spells control tokens of the base, trained as plain text" in text


@pytest.mark.parametrize("form", ["parallel", "linear", "mixed"])
def test_traces_beyond_the_context_are_left_out(bases, tmp_path, form):
    """Positions count, not tokens; of each form that is trained."""
    base, short = bases["qwen3"], tmp_path / "base"
    short.mkdir()
    for file in base.iterdir():
        (short / file.name).symlink_to(file)
    config = json.loads((base / "config.json").read_text())
    (short / "config.json").unlink()
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 200}))
    F, T, S, B, E, J = MARKERS.values()
    wide = "".join(f"{B}{i}: {words(30)}{E}" for i in range(8))
    outline = "".join(f"{T}{i}" for i in range(8))
    records = make_records(3)
    records[1]["completion"] = f"{F}{outline}{S}{wide}{J} so"
    records[2]["completion"] = words(200)
    text = run(short, write_records(tmp_path / "a.jsonl", records), f"form={form}")
    left = 1 if form == "parallel" else 2
    assert f"{left} left out ({left} beyond the base's context of 200 positions)" in text
