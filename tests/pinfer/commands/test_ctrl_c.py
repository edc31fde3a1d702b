"""Ctrl-C at any moment: what there is by then is printed, whole and in order, and soon."""

import io
import json
import os
import pty
import random
import re
import resource
import select
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

import psutil
import pytest

from pbranch import parse, plain_text
from pinfer import Engine, SamplingParams
from pinfer.commands.answer_writer import answer_batch, stream_answer
from pinfer.commands.jobs import Job, Jobs
from pinfer.models import fast

LAYERS = 2
PARAMS = SamplingParams(max_new_tokens=150, temperature=1, seed=3)
MOMENTS = int(os.environ.get("CTRL_C_MOMENTS", "6"))
PROMPT = "Look at this list. Whose weight is above 7.4?\n" + "".join(
    f"- {name}: weight {3 + i * 0.7:.1f}\n"
    for i, name in enumerate("Roti Sivo Talu Mako Peni Duro Lemi Kato Nilo Rafu Beso".split())
)


@pytest.fixture(scope="module")
def engine(base, adapter):
    return Engine.from_pretrained(str(base), str(adapter), device="cpu", path="fast")


@pytest.fixture
def interrupt(monkeypatch, engine):
    """interrupt(n, work): what `work` writes when Ctrl-C comes in the n-th call of attention."""

    def run(at, work):
        calls, plain = [], fast.attend

        def attend(*args, **options):
            calls.append(at)
            if len(calls) == at:
                signal.raise_signal(signal.SIGINT)
            return plain(*args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(fast, "attend", attend)
            out = io.StringIO()
            with pytest.raises(KeyboardInterrupt):
                work(out)
        assert len(calls) == at, "nothing of the model is run after it"
        assert not engine.core.busy and engine.core.runner.arena.rows == 0
        engine.core.runner.arena.check()
        return out.getvalue()

    return run


@pytest.mark.parametrize("passes", [0, 1, 7, 20, 33, 60])
def test_a_forward_is_broken_off(engine, interrupt, passes):
    """In the prompt, and after so many passes: the same text is printed in each way."""
    jobs, at = [Job({"prompt": "Check each record."}, PARAMS, "x")], LAYERS * passes + 1

    def batch(as_json):
        return lambda out: answer_batch(engine, jobs, lambda: nullcontext(out), as_json)

    row = json.loads(interrupt(at, batch(True)))
    assert (row["finish_reason"], row["limits"][-1]) == ("error", "aborted")
    assert plain_text(parse(row["tagged_text"])) == row["text"]
    assert row["stats"]["passes"] in (0, passes) and bool(row["text"]) == (passes > 0)
    assert interrupt(at, batch(False)) == row["text"] + "\n"
    assert interrupt(at, lambda out: stream_answer(engine, jobs[0], out)) == row["text"] + "\n"


def test_a_batch_prints_what_has_begun(engine, interrupt, tmp_path):
    """In order; a file of JSON lines gets whole answers alone, as --resume goes on from there."""
    from pbranch.files.jsonl import LineFile

    short = SamplingParams(max_new_tokens=5, temperature=1, seed=3)
    params = [PARAMS, short, PARAMS, short]
    jobs = [Job({"prompt": f"Go {i}."}, p, "x") for i, p in enumerate(params)]

    def batch(out):
        answer_batch(engine, jobs, lambda: nullcontext(out), True)

    rows = [json.loads(line) for line in interrupt(20 * LAYERS, batch).splitlines()]
    assert [row["prompt"] for row in rows] == [job.line["prompt"] for job in jobs]
    ends = [row["limits"] == ["aborted"] for row in rows]
    assert ends == [True, False, True, False] and all(row["text"] for row in rows)
    path = tmp_path / "out.jsonl"

    def to_file(_):
        answer_batch(engine, jobs, lambda: LineFile(path, False), True)

    interrupt(20 * LAYERS, to_file)
    assert path.read_text() == ""


def test_of_many_jobs_those_that_have_begun_are_printed(engine, interrupt, capsys):
    """The others are not even made."""
    jobs = Jobs([("", {"prompt": "Go on."})], PARAMS, 10**8, {})

    def batch(out):
        answer_batch(engine, jobs, lambda: nullcontext(out), True)

    rows = [json.loads(line) for line in interrupt(20 * LAYERS, batch).splitlines()]
    aborted = sum(row["limits"] == ["aborted"] for row in rows)
    most = engine.core.scheduler.limits.max_requests
    assert 1 < aborted <= most and len(rows) <= 2 * most
    assert [(row["sample"], row["seed"]) for row in rows] == [(i, 3 + i) for i in range(len(rows))]
    assert f"{len(rows)} of {10**8} answers are written" in capsys.readouterr().err


def start(how, out):
    """`pinfer generate` on PROMPT, its answer sampled with one seed."""
    options = {"json": ["--json"], "no-stream": ["--no-stream"]}.get(how, [])
    process = subprocess.Popen(
        [sys.executable, "-m", "pinfer", "generate", "-", "--temperature", "0.7", "--seed", "1",
         "--max-new-tokens", "1500", *options],
        stdin=subprocess.PIPE, stdout=out, stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
    )  # fmt: skip
    process.stdin.write(PROMPT.encode())
    process.stdin.close()
    process.stdin = None
    return process


def cpu_seconds(pid):
    """(user, system) so far."""
    return psutil.Process(pid).cpu_times()[:2]


def read_all(process, parent):
    """(stdout, stderr) of a process to its end; parent: of the terminal that it writes to."""
    written = b""
    while parent is not None and select.select([parent], [], [], 60)[0]:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # a terminal's way to end
            break
        written += piece
    out, err = process.communicate(timeout=60)
    return (written if parent is not None else out).decode(), err.decode()


@pytest.fixture(scope="module")
def whole():
    """(the lines of the whole answer, how many seconds it takes, the load included)."""
    began = time.monotonic()
    out, _ = read_all(start("json", subprocess.PIPE), None)
    return json.loads(out)["text"].splitlines(), time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize("how", ["terminal", "pipe", "no-stream", "json"])
def test_at_random_moments_of_a_process(how, whole):
    """CTRL_C_MOMENTS of them in all: while it loads, in the prompt, trunk, outline, branches, join.
    Of one seed, the text is the beginning of what the whole answer says in each of its lanes."""
    rng, (lines, seconds) = random.Random(f"{how} {MOMENTS}"), whole
    for _ in range(max(1, MOMENTS // 4)):
        parent, child = pty.openpty() if how == "terminal" else (None, subprocess.PIPE)
        children = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        process = start(how, child)
        if parent is not None:
            os.close(child)
        time.sleep(seconds * rng.uniform(0.4, 1))
        before = 0.0 if process.poll() is not None else sum(cpu_seconds(process.pid))
        process.send_signal(signal.SIGINT)
        out, err = read_all(process, parent)
        took = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - children - before
        print(f"{how}: exit code {process.returncode} after {took:.1f} s, {len(out)} characters")
        assert "Traceback" not in err, err
        assert not before or took < 3, "seconds of CPU time, most of them of Python's own end"
        # Python kills itself by the signal where it came within `exec`; a shell calls that 130
        assert process.returncode in (0, 130, -signal.SIGINT), err
        if how == "json" and out:
            out = json.loads(out)["text"]
        if how == "terminal":
            shown = out[out.rfind("\x1b[2K") :].replace("\r\n", "\n")
            out = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
        for line in out.splitlines():
            assert any(full.startswith(line) for full in lines), (line, lines)
