"""The measured check: both readings row by row and against plain passes, and how well it separates
independent from dependent blocks with the shipped base."""

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pdata.judge import judge as judge_module
from pdata.judge.judge import THRESHOLD, Judge, flatten_forks, judge_record
from pdata.judge.rows import make_scoring_rows
from pdata.record import Record
from pdata.rules.rewriter import rewrite
from pdata.synthetic.generator import make_record

from pbranch.errors import ModelError
from pbranch.format.layout import Layout
from pbranch.format.tagged_text import parse, render, separators_of
from pbranch.format.tree import Fork, Trace, make_trace, plain_text
from tests.conftest import MODEL_KINDS
from tests.support.strategies import traces

ASK = ({"role": "user", "content": "Check them."},)
NESTED = make_trace(
    "First look.\n",
    Fork(
        ("A", "B", "C"),
        (
            make_trace("A: 12 is even."),
            make_trace("B in parts: ", Fork(("x", "y"), tuple(map(make_trace, ("x 1", "y 22"))))),
            make_trace("C: 30 is even."),
        ),
    ),
    "\nThen again.\n",
    Fork(("D", "E"), (make_trace("D is 4.09."), make_trace("E is 2.51.")), "; "),
    "\nDone.",
)


@pytest.fixture(scope="module")
def tiny() -> Judge:
    torch.set_num_threads(1)
    return Judge("tiny", device="cpu")


def saved(model: Any, tokenizer: Any, folder: Path) -> str:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", [*MODEL_KINDS, "gemma2", "phi3"])
def test_scores_are_those_of_plain_passes(
    kind: str, byte_tokenizer: Any, make_model: Any, tmp_path: Path
) -> None:
    """Every score against passes that know no mask: the siblings are just left out."""
    own = make_model(kind, byte_tokenizer)
    judge = Judge(saved(own, byte_tokenizer, tmp_path), device="cpu")
    prompt = judge.encode_prompt(ASK)

    def log_prob(before: list[int], words: list[int]) -> float:
        ids = torch.tensor([[*before, *words]])
        with torch.no_grad():
            found = own(input_ids=ids).logits[0].log_softmax(-1)
        rows = range(len(before) - 1, ids.shape[1] - 1)
        return torch.stack([found[r, ids[0, r + 1]] for r in rows]).mean().item()

    def ids(*texts: str) -> list[int]:
        return [i for text in texts for i in judge.codec.encode(text)]

    lead, second = "First look.\n", ids("\nThen again.\n")
    inner = [*ids("B", " in parts: ", "x", " 1", "\n", "y", " 22")]
    block = [*ids(lead, "A", ": 12 is even.", "\n"), *inner, *ids("\n", "C", ": 30 is even.")]
    cases = [  # (words after the topic, all before them, the same without siblings)
        (inner[1:], ids(lead, "A", ": 12 is even.", "\n", "B"), ids(lead, "B")),
        (
            ids(": 30 is even."),
            [*ids(lead, "A", ": 12 is even.", "\n"), *inner, *ids("\n", "C")],
            ids(lead, "C"),
        ),
        (
            ids(" 22"),
            ids(lead, "A", ": 12 is even.", "\n", "B", " in parts: ", "x", " 1", "\n", "y"),
            ids(lead, "A", ": 12 is even.", "\n", "B", " in parts: ", "y"),
        ),
        (
            ids(" is 2.51."),
            [*block, *second, *ids("D", " is 4.09.", "; ", "E")],
            [*block, *second, *ids("E")],
        ),
    ]
    wanted = [
        log_prob([*prompt, *seen], words) - log_prob([*prompt, *hidden], words)
        for words, seen, hidden in cases
    ]
    scores = judge.score(ASK, NESTED)
    assert [len(fork) for fork in scores] == [3, 2, 2]
    assert [fork[0] for fork in scores] == [0, 0, 0]
    found = [scores[0][1], scores[0][2], scores[1][1], scores[2][1]]
    assert found == pytest.approx(wanted, abs=2e-4)
    assert min(map(abs, found)) > 1e-2


def test_words_of_a_hidden_sibling_change_nothing(tiny: Judge) -> None:
    """Not one bit of what the other branches are given without it."""
    trace = forced_fork(make_record("chain", 3, 0, 4, "train"))
    reading = make_scoring_rows(tiny.encode_prompt(ASK), trace, tiny.codec)
    for changed in range(4):
        ids = list(reading.layout.token_ids)
        seen, hidden = reading.pairs[0][changed]
        for predictors in (seen, hidden):
            for row in range(predictors.start + 1, predictors.stop + 1):
                ids[row] = 20 + ids[row] % 400
        other = Layout(
            ids, reading.layout.position_ids, doc=reading.layout.doc, hidden=reading.layout.hidden
        )
        a, b = tiny.log_probs(reading.layout), tiny.log_probs(other)
        for number, (in_sight, alone) in enumerate(reading.pairs[0]):
            if number != changed:
                assert torch.equal(a[alone], b[alone])
            if number > changed:
                assert not torch.equal(a[in_sight], b[in_sight])


def test_a_number_taken_from_a_sibling_scores_high(tiny: Judge) -> None:
    """The same words beside a sibling that shows their number, and beside one that does not."""
    record = make_record("chain", 5, 3, 3, "train")
    fork = next(forced_fork(record).forks())
    rng = random.Random(0)
    numbers = rng.sample(range(10, 99), 2)
    ask = ({"role": "user", "content": "Draw a number, then write it down.\nWhat is it?"},)

    def score(drawn: int, written: int) -> float:
        texts = (f"Round 1: {drawn} = {drawn}.", f"Round 2: {written} = {written}.")
        branches = tuple(map(make_trace, texts))
        return tiny.score(ask, make_trace("Go.\n", Fork(("Round 1", "Round 2"), branches)))[0][1]

    assert len(fork.branches) == 3
    assert score(numbers[0], numbers[0]) > THRESHOLD
    assert score(numbers[0], numbers[0]) > score(numbers[1], numbers[0]) + THRESHOLD


def forced_fork(record: Record) -> Trace:
    """The steps of a linear trace as branches, whether or not they need one another."""
    lines, topics = record.completion.split("\n"), record.meta["topics"]
    first = next(i for i, line in enumerate(lines) if line.startswith(topics[0]))
    end = first + len(topics)
    branches = tuple(make_trace(line) for line in lines[first:end])
    lead = "".join(f"{line}\n" for line in lines[:first])
    trace = make_trace(lead, Fork(tuple(topics), branches), "\n" + "\n".join(lines[end:]))
    assert plain_text(trace) == record.completion
    return trace


def worst_scores(judge: Judge, dependent: bool, seed: int, n: int) -> list[float]:
    """The worst branch of each of `n` blocks."""
    tasks = ("chain",) if dependent else ("records", "sums", "cases")
    found = []
    for i in range(n):
        record = make_record(tasks[i % len(tasks)], seed, i, None, "train")
        prompt = record.messages[0]["content"]
        trace = forced_fork(record) if dependent else rewrite(record.completion, prompt).trace
        found += [max(branches) for branches in judge.score(record.messages, trace)]
    assert len(found) >= 0.95 * n  # rules fork nearly all of the independent ones
    return found


def quantiles(values: list[float]) -> str:
    shares = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)
    found = torch.tensor(values).quantile(torch.tensor(shares))
    return ", ".join(f"{s:.0%} {v:.3f}" for s, v in zip(shares, found.tolist(), strict=True))


@pytest.mark.slow
def test_separates_dependent_from_independent_blocks(tiny: Judge) -> None:
    """THRESHOLD was chosen on seeds 7 and 11; these are others."""
    low, high = (worst_scores(tiny, dependent, seed=12, n=60) for dependent in (False, True))
    pairs = [(b > a) + (b == a) / 2 for a in low for b in high]
    auc = sum(pairs) / len(pairs)
    false_alarms = sum(x > THRESHOLD for x in low) / len(low)
    missed = sum(x <= THRESHOLD for x in high) / len(high)
    print(f"\nAUC {auc:.4f}; at {THRESHOLD}: {false_alarms:.1%} false alarms, {missed:.1%} missed")
    print(f"independent, worst branch of a block: {quantiles(low)}")
    print(f"dependent, worst branch of a block: {quantiles(high)}")
    assert auc >= 0.9
    assert false_alarms <= 0.05 and missed <= 0.05


def as_record(record: Record, trace: Trace) -> Record:
    meta = {
        "form": "branches",
        "forks": [{"found_by": "counted"} for _ in trace.all_forks()],
        "separators": separators_of(trace),
    }
    return Record(record.id, record.messages, render(trace), "42", True, "x", meta)


def test_only_dependent_blocks_become_linear(tiny: Judge) -> None:
    chain, cases = (make_record(task, 5, 1, 3, "train") for task in ("chain", "cases"))
    before = as_record(chain, forced_fork(chain))
    after = judge_record(before, tiny)
    assert after.completion == chain.completion and after.answer_ok
    assert after.meta["form"] == "linear" and after.meta["linear"] == "dependent steps"
    assert "nats a token" in after.meta["linear_because"]
    assert len(after.meta["independence"]) == 1 and after.meta["independence"][0] > THRESHOLD
    assert "forks" not in after.meta
    kept = as_record(cases, forced_fork(cases))
    after = judge_record(kept, tiny)
    assert after.completion == kept.completion and after.meta["form"] == "branches"
    assert after.meta["independence"][0] <= THRESHOLD
    assert judge_record(cases, tiny) == cases


def test_one_of_two_blocks_becomes_linear(tiny: Judge) -> None:
    chain = make_record("chain", 5, 1, 3, "train")
    (dependent,) = forced_fork(chain).forks()
    same = Fork(("A", "B"), (make_trace("A"), make_trace("B")), "; ")
    after = judge_record(as_record(chain, make_trace("Go.\n", dependent, "\n", same)), tiny)
    assert list(parse(after.completion, after.meta["separators"]).forks()) == [same]
    assert after.meta["form"] == "branches" and "linear" not in after.meta
    assert [x > THRESHOLD for x in after.meta["independence"]] == [True, False]
    score = after.meta["independence"][1]
    assert after.meta["forks"] == [{"found_by": "counted", "independence": score}]


def test_what_cannot_be_measured_becomes_linear(
    tiny: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make_record("cases", 5, 1, 3, "train")
    monkeypatch.setattr(tiny, "context", 50)
    after = judge_record(as_record(record, forced_fork(record)), tiny)
    assert after.completion == record.completion and after.meta["linear"] == "not measured"
    assert "the judge reads at most 50" in after.meta["linear_because"]


@given(traces(), st.data())
def test_straight_blocks_keep_every_word(trace: Trace, data: st.DataObject) -> None:
    n = sum(1 for _ in trace.all_forks())
    chosen = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    found = flatten_forks(trace, chosen)
    assert plain_text(found) == plain_text(trace)
    assert sum(1 for _ in found.all_forks()) == n - sum(chosen)
    assert flatten_forks(trace, [False] * n) == trace


def test_messages_without_a_chat_template(
    metaspace_tokenizer: Any, make_model: Any, tmp_path: Path
) -> None:
    model = make_model("llama", metaspace_tokenizer)
    judge = Judge(saved(model, metaspace_tokenizer, tmp_path), device="cpu")
    assert [len(fork) for fork in judge.score(ASK, NESTED)] == [3, 2, 2]


@pytest.mark.parametrize("name", ["/no/such/folder", "./missing", "nobody/no-such-model"])
def test_a_bad_name_is_one_clear_line(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        Judge(name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_model_that_ignores_the_mask_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def causal(tensor: torch.Tensor, window: int | None = None) -> torch.Tensor:
        n = tensor.shape[2]
        return torch.ones(1, 1, n, n, dtype=torch.bool).tril()

    monkeypatch.setattr(judge_module, "dense_mask", causal)
    with pytest.raises(ModelError, match="hiding a branch is not the same as leaving it out"):
        Judge("tiny", device="cpu")


def test_a_trace_without_forks_needs_no_pass(tiny: Judge) -> None:
    judge = copy.copy(tiny)
    judge.model = None
    assert judge.score(ASK, make_trace("Just text.")) == []
