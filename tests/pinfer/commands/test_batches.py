"""Files of prompts of any length: read and answered a piece at a time, and never written over."""

import io
import json
import os
import sys
import tracemalloc
from collections import deque
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pbranch.errors import DataError
from pinfer.commands.answer_writer import WINDOW, answer_batch
from pinfer.commands.jobs import Jobs
from pinfer.commands.prompt_files import PromptFile
from pinfer.output.generation import ANSWER_KEYS
from pinfer.params import EngineLimits, SamplingParams
from tests.support.checkpoints import copy_folder, short

PARAMS = SamplingParams(max_new_tokens=5, seed=0)


class Enough(Exception):
    """What a test has seen."""


class FakeEngine:
    """Answers in order, but for a request that never ends, if there is one."""

    def __init__(self, endless: int = -1) -> None:
        self.queue: deque[Any] = deque()
        self.added, self.endless = 0, endless
        limits = EngineLimits(max_requests=4)
        self.core = SimpleNamespace(scheduler=SimpleNamespace(limits=limits), runner=None)

    def add(self, prompt: Any, params: SamplingParams, **_: Any) -> Any:
        request = SimpleNamespace(number=self.added, seed=params.seed)
        self.added += 1
        if request.number != self.endless:
            self.queue.append(request)
        return request

    def run(self, until: Any) -> Any:
        while self.queue and not until():
            request = self.queue.popleft()
            yield request, SimpleNamespace(error=None, as_dict=lambda r=request: {"text": r.seed})


class Output(io.StringIO):
    """Counts lines; enough is enough."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.rows = most, []

    def write(self, line: str) -> int:
        self.rows.append(json.loads(line))
        if len(self.rows) == self.most:
            raise Enough
        return len(line)


def test_the_first_answer_is_written_before_the_last_prompt_is_read() -> None:
    """A hundred million samples: as many are begun as the engine has use for."""
    engine, out = FakeEngine(), Output(1000)
    jobs = Jobs([("", {"prompt": "x"})], PARAMS, 10**8, {})
    assert len(jobs) == 10**8
    with pytest.raises(Enough):
        answer_batch(engine, jobs, lambda: nullcontext(out), as_json=True)
    assert engine.added < 1010 and [row["text"] for row in out.rows] == list(range(1000))


def test_answers_that_wait_for_a_long_one_are_not_without_number() -> None:
    engine, out = FakeEngine(endless=0), Output(10**9)
    jobs = Jobs([("", {"prompt": "x"})], PARAMS, 10**8, {})
    answer_batch(engine, jobs, lambda: nullcontext(out), as_json=True)
    assert engine.added == WINDOW and out.rows == []


def test_all_are_written_in_order_refused_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, out, n = FakeEngine(), Output(10**9), 3 * WINDOW
    plain = engine.add

    def add(prompt: Any, params: SamplingParams, **more: Any) -> Any:
        if params.seed % 7 or params.seed > n // 2:
            raise DataError("refused")
        return plain(prompt, params, **more)

    monkeypatch.setattr(engine, "add", add)
    jobs = Jobs([("f:1", {"prompt": "x"})], PARAMS, n, {})
    with pytest.raises(ValueError, match=f"of {n} prompts refused, the first: f:1: refused"):
        answer_batch(engine, jobs, lambda: nullcontext(out), as_json=True)
    assert len(out.rows) == n
    assert all((row["text"] == "") == ("error" in row) for row in out.rows[1:])
    assert [row["text"] for row in out.rows if row["text"]] == list(range(7, n // 2 + 1, 7))


@pytest.mark.parametrize("stdin", [False, True])
def test_a_file_of_prompts_is_not_held(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, stdin: bool
) -> None:
    file = tmp_path / "p.jsonl"
    with open(file, "w") as out:
        for i in range(2000):
            out.write(json.dumps({"prompt": "x" * 10_000, "id": i}) + "\n")
    if stdin:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=open(file, "rb")))
    tracemalloc.start()
    prompts = PromptFile("-" if stdin else str(file))
    for _ in range(2):
        numbers = [job["id"] for _, job in prompts]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(prompts) == 2000 and numbers == list(range(2000))
    assert peak < 2 << 20


def test_an_output_is_no_input(pinfer: Any, tmp_path: Any, base: Any) -> None:
    """Prompts, what asks for a dialect, and the files of a model, by any name."""
    prompts, hard = tmp_path / "p.jsonl", tmp_path / "hard.jsonl"
    prompts.write_text('{"prompt": "hello"}\n')
    os.link(prompts, hard)
    (tmp_path / "soft.jsonl").symlink_to(prompts)
    model = copy_folder(base, tmp_path / "model")
    given = ["--prompts", prompts, *short()]
    asking = ["a", "--dialect", "paper", "--instruction", prompts, *short()]
    reads = [
        (prompts, given), (hard, given), (tmp_path / "soft.jsonl", given), (hard, asking),
        (model / "config.json", [*given, "--model", model, "--adapter", "none"]),
    ]  # fmt: skip
    for output, options in reads:
        before, named = output.read_bytes(), "--model" in options
        for more in ([], ["--json"], ["--json", "--resume"]):
            code, _, err = pinfer(*options, "--output", output, *more, model=not named)
            assert code == 1 and "is the source itself" in err
            assert output.read_bytes() == before


def test_a_line_of_answers_is_asked_again(pinfer: Any, tmp_path: Any) -> None:
    """Such as one that failed: it does not keep its error."""
    prompts, out = tmp_path / "p.jsonl", tmp_path / "o.jsonl"
    old = dict.fromkeys(ANSWER_KEYS, "old")
    prompts.write_text(json.dumps({**old, "prompt": "Check each record.", "id": 7}) + "\n")
    options = ["--prompts", prompts, *short("--json", "--resume", "--output", out)]
    code, _, err = pinfer(*options)
    assert code == 0 and f"{prompts}: answers stand in 1 of 1 lines; they are asked again" in err
    before = out.read_bytes()
    row = json.loads(before)
    assert row["id"] == 7 and "error" not in row and "old" not in row.values()
    assert set(row) <= ANSWER_KEYS | {"prompt", "id"}
    assert pinfer(*options)[0] == 0 and out.read_bytes() == before


def test_other_weights_do_not_go_on(pinfer: Any, tmp_path: Any, base: Any, adapter: Any) -> None:
    """In the same place: the adapter's, and the base's."""
    prompts, out = tmp_path / "p.jsonl", tmp_path / "o.jsonl"
    prompts.write_text('{"prompt": "hello"}\n{"prompt": "hi"}\n')
    folder = copy_folder(adapter, tmp_path / "adapter")
    options = ["--prompts", prompts, "--model", base, "--adapter", folder, "--max-new-tokens", "4"]
    options += ["--device", "cpu", "--json", "--output", out]
    assert pinfer(*options, model=False)[0] == 0
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(lines[0])
    stored = folder / "adapter_model.safetensors"
    tensors = {name: tensor + 0.01 for name, tensor in load_file(stored).items()}
    save_file(tensors, stored, metadata={"format": "pt"})
    code, _, err = pinfer(*options, "--resume", model=False)
    assert code == 1 and f"{out}:1: an answer to another settings" in err
    assert out.read_bytes() == lines[0] and torch.is_tensor(tensors.popitem()[1])
