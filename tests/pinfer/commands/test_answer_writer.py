"""Batches that are cut short and go on, refused prompts, streams to a pipe and to a terminal."""

import io
import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from pbranch.console import printable
from pinfer import Engine, SamplingParams
from pinfer.commands.answer_writer import stream_answer
from pinfer.commands.jobs import Job

RUN = [sys.executable, "-m", "pinfer", "generate", "--device", "cpu"]
TIMES = ("prefill_seconds", "decode_seconds", "tokens_per_second")


@pytest.fixture
def named(base, adapter):
    return ["--model", str(base), "--adapter", str(adapter)]


def write_prompts(path, n):
    rng = random.Random(3)
    with open(path, "w") as file:
        for i in range(n):
            words = " ".join(rng.choice("check each record and go on".split()) for _ in range(5))
            file.write(json.dumps({"id": i, "prompt": words}) + "\n")


def untimed(path):
    """Answers of a file without what depends on the clock or on who else was decoded."""
    rows = [json.loads(line) for line in path.read_text().strip("\n").split("\n")]
    for row in rows:
        for key in (*TIMES, "prefix_rows", "passes"):
            row["stats"].pop(key)
    return rows


def wait_for_lines(path, n, process):
    end = time.monotonic() + 240
    while time.monotonic() < end and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= n:
            return
        time.sleep(0.02)


@pytest.mark.slow
def test_a_batch_killed_twice_goes_on(named, tmp_path):
    """500 prompts; once killed at once, once by Ctrl-C; the whole file is that of one run."""
    prompts = tmp_path / "prompts.jsonl"
    write_prompts(prompts, 500)
    options = ["--prompts", str(prompts), "--json", "--max-new-tokens", "60", "--temperature", "1"]
    options += ["--seed", "0"]
    cut, whole = tmp_path / "cut.jsonl", tmp_path / "whole.jsonl"
    for lines, sent in ((60, signal.SIGKILL), (250, signal.SIGINT)):
        process = subprocess.Popen(
            [*RUN, *named, *options, "--output", str(cut), "--resume"], stderr=subprocess.PIPE
        )
        wait_for_lines(cut, lines, process)
        process.send_signal(sent)
        _, err = process.communicate()
        done = cut.read_bytes().count(b"\n")
        assert lines <= done < 500
        if sent == signal.SIGINT:
            assert process.returncode == 130
            assert b"answers are written" in err and b"Traceback" not in err
        else:
            with open(cut, "ab") as file:
                file.write(b'{"id": 99, "prom')  # a torn line, as a kill may leave it
    again = [*RUN, *named, *options, "--output"]
    subprocess.run([*again, str(cut), "--resume"], check=True, stderr=subprocess.PIPE)
    subprocess.run([*again, str(whole)], check=True, stderr=subprocess.PIPE)
    assert untimed(cut) == untimed(whole)
    assert [row["id"] for row in untimed(cut)] == list(range(500))


def test_resume_refuses_other_settings_and_prompts(named, tmp_path):
    prompts, out = tmp_path / "prompts.jsonl", tmp_path / "out.jsonl"
    write_prompts(prompts, 3)
    options = [*RUN, *named, "--max-new-tokens", "5", "--json", "--output", str(out), "--resume"]

    def run(*more):
        return subprocess.run([*options, *more], capture_output=True, text=True)

    assert run("--prompts", str(prompts)).returncode == 0
    before = out.read_bytes()
    again = run("--prompts", str(prompts))
    assert (again.returncode, out.read_bytes()) == (0, before)
    other = run("--prompts", str(prompts), "--seed", "1")
    assert other.returncode == 1
    assert f"{out}:1: an answer to another settings" in other.stderr
    write_prompts(prompts, 2)
    fewer = run("--prompts", str(prompts))
    assert fewer.returncode == 1 and f"{out}:3: more answers than prompts" in fewer.stderr
    refused = tmp_path / "long.jsonl"
    refused.write_text(prompts.read_text() + json.dumps({"prompt": "word " * 3000}) + "\n")
    out.write_bytes(b"".join(before.splitlines(keepends=True)[:2]))
    longer = run("--prompts", str(refused))  # one job is left, of three: it gets its line
    assert longer.returncode == 1 and "1 of 3 prompts refused" in longer.stderr
    assert json.loads(out.read_text().strip("\n").split("\n")[2])["finish_reason"] == "error"
    out.write_bytes(before)
    prompts.write_text('{"id": 0, "prompt": "else"}\n')
    moved = run("--prompts", str(prompts))
    assert moved.returncode == 1 and f"{out}:1: an answer to another prompt" in moved.stderr
    assert out.read_bytes() == before


def test_a_refused_prompt_is_named_and_the_run_goes_on(named, tmp_path):
    jobs = [
        {"prompt": "Go on."},
        {"prompt": "word " * 3000},
        {"messages": [{"role": "user"}]},
        {"prompt": "Stop."},
    ]
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(job) + "\n" for job in jobs))
    done = subprocess.run(
        [*RUN, *named, "--prompts", str(file), "--max-new-tokens", "5", "--json"],
        capture_output=True,
        text=True,
    )
    rows = [json.loads(line) for line in done.stdout.strip("\n").split("\n")]
    assert done.returncode == 1
    assert [row["finish_reason"] == "error" for row in rows] == [False, True, True, False]
    assert rows[1]["error"].startswith(f"{file}:2: the prompt has")
    assert rows[2]["error"].startswith(f"{file}:3: message 1")
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    assert "2 of 4 prompts refused" in line and ":2: the prompt has" in line


SAMPLED = ["Check each record.", "--temperature", "1", "--max-new-tokens", "150", "--seed", "3"]


def on_terminal(command, columns=60, rows=20, interrupt_after=None):
    """Run in a pseudo-terminal of that size; returns (exit code, everything it wrote)."""
    environment = {**os.environ, "COLUMNS": str(columns), "LINES": str(rows), "TERM": "xterm"}
    parent, child = pty.openpty()
    process = subprocess.Popen(
        command, stdin=child, stdout=child, stderr=subprocess.PIPE, env=environment
    )
    os.close(child)
    written = b""
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # Linux says so at the end
            break
        if not piece:
            break
        written += piece
        if interrupt_after and interrupt_after in written:
            process.send_signal(signal.SIGINT)
            interrupt_after = None
    err = process.communicate()[1]
    os.close(parent)
    assert b"Traceback" not in err, err
    return process.returncode, written.decode()


def test_a_pipe_gets_the_text_as_it_is(named):
    command = [*RUN, *named, *SAMPLED]
    streamed = subprocess.run(command, capture_output=True)
    whole = subprocess.run([*command, "--no-stream"], capture_output=True)
    assert streamed.returncode == whole.returncode == 0
    assert streamed.stdout == whole.stdout != b""


def test_a_terminal_shows_branches_and_then_the_answer(named):
    command = [*RUN, *named, *SAMPLED]
    code, written = on_terminal(command)
    assert code == 0
    assert "│ " in written and "✓ " in written
    wanted = subprocess.run(command, capture_output=True).stdout.decode()
    answer = written.replace("\r\n", "\n")
    printed = re.sub(r"[^\n\x20-\x7e]", "", wanted)
    assert re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[^\n\x20-\x7e]", "", answer).endswith(printed)


class Screen(io.StringIO):
    """What says that it is a terminal."""

    def isatty(self):
        return True


def test_a_terminal_that_cannot_redraw_gets_the_text_as_it_grows(base, adapter, monkeypatch):
    """And one without colours gets none."""
    engine = Engine.from_pretrained(str(base), str(adapter), device="cpu")
    params = SamplingParams(max_new_tokens=150, temperature=1, seed=3)
    job = Job({"prompt": "Check each record."}, params, "x")
    wanted = printable(engine.generate(job.prompt, params)[0].text) + "\n"
    for term in ("dumb", "unknown"):
        monkeypatch.setenv("TERM", term)
        stream_answer(engine, job, screen := Screen())
        assert screen.getvalue() == wanted
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    stream_answer(engine, job, screen := Screen())
    shown = screen.getvalue()
    assert shown.endswith(wanted) and "\x1b[" in shown.removesuffix(wanted)
    codes = re.findall(r"\x1b\[([0-9;]*)m", shown)
    assert not [c for c in codes if re.search(r"(^|;)[349]\d", c)]


def test_ctrl_c_prints_what_is_there(named):
    long = [*RUN, *named, "Go.", "--temperature", "1", "--max-new-tokens", "1500", "--seed", "5"]
    code, written = on_terminal(long, interrupt_after=b"\x1b[2K")
    assert code == 130
    assert written.rstrip().splitlines()[-1].strip()


def test_a_reader_that_leaves_is_no_error(named):
    command = [*RUN, *named, "Go.", "--temperature", "1", "--max-new-tokens", "300"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(1)
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait() == 0 and b"Traceback" not in err and b"rror" not in err
