"""An exception at any line of a call leaves the engine as new: nothing queued, nothing cached that
nobody holds, and the next answers are those of an engine that was never interrupted."""

import os
import random
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import pinfer
from pbranch.errors import BranchError, RequestError
from pinfer import Engine, EngineLimits, SamplingParams
from pinfer.request import state, transitions
from pinfer.scheduling import admission

OURS = str(Path(pinfer.__file__).parent)
PROMPTS = ["Check each record and go on.", "Go on.", "Compute 12 + 30, then stop.", "Hallie Turner"]
PARAMS = SamplingParams(max_new_tokens=30)
TRIES = int(os.environ.get("INJECTIONS", "60"))


@pytest.fixture(scope="module")
def engine(base: Any, adapter: Any) -> Engine:
    limits = EngineLimits(max_kv_rows=260, max_rows=40, max_requests=2)
    return Engine.from_pretrained(str(base), str(adapter), device="cpu", limits=limits)


@pytest.fixture(scope="module")
def wanted(engine: Engine) -> list[list[int]]:
    return answers(engine)


def answers(engine: Engine) -> list[list[int]]:
    return [answer.token_ids for answer in engine.generate(PROMPTS, PARAMS)]


class Injection:
    """Raises `error` at the line number `at`, counted over all that run in the package, or in the
    one file of it that is named."""

    def __init__(self, at: int, error: type[BaseException], file: str = "") -> None:
        self.at, self.error, self.count, self.where = at, error, 0, ""
        self.files = str(Path(OURS, file))

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self.line if frame.f_code.co_filename.startswith(self.files) else None

    def line(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.count += event == "line"
        if self.count == self.at and not self.where:
            self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            sys.settrace(None)
            raise self.error("injected")
        return self.line

    def run(self, engine: Engine) -> None:
        sys.settrace(self)
        try:
            engine.generate(PROMPTS, PARAMS)
        except self.error:
            pass
        finally:
            sys.settrace(None)


def assert_as_new(engine: Engine, wanted: list[list[int]], where: str) -> None:
    scheduler, cache = engine.core.scheduler, engine.core.runner.cache
    assert not scheduler.queued and not scheduler.running and not engine._unclaimed, where
    cache.check()
    kept = {request.trunk for request in scheduler.prefixes.kept}
    assert set(cache._homes) <= kept, f"{where}: lanes that nobody holds"
    assert not any(request.prefix.users for request in scheduler.prefixes.kept), where
    assert answers(engine) == wanted, where
    cache.check()


def inject(engine: Engine, wanted: list[list[int]], tries: int, seed: int) -> None:
    plain = Injection(0, RuntimeError)
    plain.run(engine)
    assert plain.count > 10_000
    rng = random.Random(seed)
    errors = [KeyboardInterrupt, MemoryError, RuntimeError]
    for number in range(tries):
        injection = Injection(rng.randint(1, plain.count), errors[number % len(errors)])
        injection.run(engine)
        assert_as_new(engine, wanted, f"{injection.error.__name__} at {injection.where}")


def test_exceptions_at_some_lines(engine: Engine, wanted: list[list[int]]) -> None:
    inject(engine, wanted, 6, 0)


def test_exceptions_where_errors_are_caught(engine: Engine, wanted: list[list[int]]) -> None:
    """They stay what they are: a MemoryError does not become another error."""
    for at in range(1, 9):
        injection = Injection(at, MemoryError, "scheduling/guard.py")
        injection.run(engine)
        assert injection.where
        assert_as_new(engine, wanted, injection.where)


def test_an_exception_while_branches_open(
    engine: Engine, wanted: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaves no fork without branches: what was written is still told."""
    opened = 0

    def header(*args: Any, **options: Any) -> state.Header:
        nonlocal opened
        opened += 1
        if opened == 2:
            raise MemoryError("injected")
        return state.Header(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(transitions, "Header", header)
        found = engine.generate(PROMPTS, PARAMS)
    assert [answer.error for answer in found if answer.error] == ["MemoryError: injected"]
    assert_as_new(engine, wanted, "open_branches")


def test_an_exception_while_a_branch_is_let_in(
    engine: Engine, wanted: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the request has written is kept."""
    let_in = admission.start

    def start(lane: state.Lane, spec: Any) -> None:
        monkeypatch.setattr(admission, "start", let_in)
        raise MemoryError("injected")

    monkeypatch.setattr(admission, "start", start)
    (failed,) = [x for x in engine.generate(PROMPTS, PARAMS) if x.error]
    assert failed.error == "MemoryError: injected"
    assert failed.text
    assert_as_new(engine, wanted, "start")


@pytest.mark.slow
def test_exceptions_at_many_lines(engine: Engine, wanted: list[list[int]]) -> None:
    """INJECTIONS: how many."""
    inject(engine, wanted, TRIES, 1)


def test_an_exception_between_commit_and_release(
    engine: Engine, wanted: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again and again: it would use up the pool."""
    cache = engine.core.runner.cache

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for _ in range(20):
        with monkeypatch.context() as patch:
            patch.setattr(cache, "release", interrupted)
            with pytest.raises(KeyboardInterrupt):
                engine.generate(PROMPTS, PARAMS)
        assert not cache.arena.segments and not cache._homes
    assert_as_new(engine, wanted, "release")


def test_a_pass_that_breaks_the_cache_ends_everything(
    engine: Engine, wanted: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that runs out in the middle of placing tokens: nothing goes on over what is left."""
    arena, failed = engine.core.runner.cache.arena, []

    def give(*_: Any) -> None:
        failed.append(True)
        raise MemoryError("here")

    other = engine.add("Go on.", PARAMS)
    monkeypatch.setattr(type(arena), "_give", give)
    with pytest.raises(MemoryError, match="here"):
        for _ in engine.run():
            pass
    monkeypatch.undo()
    assert failed and other.finish_reason is not None
    assert_as_new(engine, wanted, "_give")


@pytest.mark.parametrize(
    "bad",
    [
        5,
        None,
        b"x",
        ["a"],
        [],
        {},
        {"token_ids": ["x"]},
        {"token_ids": None},
        {"token_ids": [1.5]},
        {"token_ids": "12"},
        {"token_ids": []},
        "x " * 5000,
    ],
    ids=lambda bad: repr(bad)[:20],
)
def test_a_prompt_that_is_refused_leaves_nothing_queued(engine: Engine, bad: Any) -> None:
    with pytest.raises(BranchError):
        engine.generate([*PROMPTS, bad], PARAMS)
    assert not engine.core.busy


@pytest.mark.parametrize(
    "options",
    [
        {"max_new_tokens": 1.5}, {"max_new_tokens": "5"}, {"max_new_tokens": float("inf")},
        {"seed": "x"}, {"timeout_s": "x"}, {"temperature": None}, {"logprobs": True},
        {"stop": (5,)}, {"min_branch_tokens": float("nan")},
    ],
    ids=str,
)  # fmt: skip
def test_a_parameter_of_another_kind_is_one_line(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(RequestError, match=f"^{name} .*: expected"):
        SamplingParams(**options)


def test_reset_is_linear_in_the_queue(engine: Engine) -> None:
    """No request is looked for in a queue of others."""
    requests = [engine.add("Go on.", PARAMS) for _ in range(400)]
    seen = 0

    def count(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal seen
        seen += event == "call" and frame.f_code.co_filename.startswith(OURS)
        return None

    sys.settrace(count)
    engine.reset()
    sys.settrace(None)
    assert all(r.limits == ["aborted"] and r.finish_reason == "error" for r in requests)
    assert not engine.core.busy and seen < 100 * len(requests)


def test_a_second_thread_is_told(engine: Engine, wanted: list[list[int]]) -> None:
    """While one thread decodes, another one's call is refused, and disturbs nothing."""
    inside, go_on, told = threading.Event(), threading.Event(), []

    def pause() -> bool:
        inside.set()
        return go_on.wait(60)

    def ask() -> None:
        inside.wait(60)
        try:
            engine.generate(["Go on."], PARAMS)
        except RequestError as e:
            told.append(str(e))
        go_on.set()

    thread = threading.Thread(target=ask)
    thread.start()
    stopping = SamplingParams(max_new_tokens=5, stop_when=lambda text: pause() and False)
    engine.generate(["Go on."], stopping)
    thread.join()
    assert told == ["the engine is in use by another thread; an EngineLoop serves one to many"]
    assert_as_new(engine, wanted, "threads")
