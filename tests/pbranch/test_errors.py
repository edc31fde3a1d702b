"""The error tree, and how the command lines print it."""

import inspect
import os
import subprocess
import sys

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from pbranch import console, errors
from pbranch.errors import BranchError, DataError, FormatError, did_you_mean


def test_the_tree_is_the_one_that_is_drawn():
    found = [c for _, c in inspect.getmembers(errors, inspect.isclass)]
    classes = [c for c in found if c.__module__ == errors.__name__]
    assert all(issubclass(c, BranchError) for c in classes) and issubclass(BranchError, ValueError)
    drawn = {line.split()[1] for line in errors.__doc__.splitlines() if line[:1] in "├└" and line}
    assert drawn == {c.__name__ for c in classes} - {"BranchError"}


def test_a_format_error_carries_its_offset():
    assert str(FormatError("bad", 3)) == "bad (at character 3)"
    assert FormatError("bad", 3).offset == 3
    assert str(FormatError("bad")) == "bad" and FormatError("bad").offset is None
    assert str(FormatError("bad", 0)) == "bad (at character 0)"


def test_the_nearest_word_is_named():
    assert (
        did_you_mean("lerning_rate", ["learning_rate", "steps"]) == "; did you mean learning_rate?"
    )
    assert did_you_mean("step", ["lr", "steps"], "train.") == "; did you mean train.steps?"
    assert did_you_mean("xyz", ["lr", "steps"]) == ""


def raising(error):
    def app():
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("a.jsonl:3: broken\n  line"), "error: a.jsonl:3: broken line"),
        (FileNotFoundError(2, "No such file or directory", "x"), "error: x: No such file or"),
        (OSError(27, "File too large"), "error: File too large"),
        (OSError("odd"), "error: odd"),
    ],
)
def test_known_errors_are_one_line(capsys, error, line):
    with pytest.raises(SystemExit) as caught:
        console.run(raising(error))
    out, err = capsys.readouterr()
    assert caught.value.code == 1 and out == ""
    assert err.startswith(line) and err.count("\n") == 1


def test_a_tokenizer_whose_pattern_takes_for_ever_is_one_line(capsys, monkeypatch):
    """It panics; the lines before the error are those of Rust."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(a+)+$"), "isolated")
    with pytest.raises(SystemExit) as caught:
        console.run(lambda: tokenizer.encode("a" * 30 + "b"))
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith("error: a library cannot go on (Onig: ")


def test_interrupts_and_bugs(capsys):
    with pytest.raises(SystemExit) as caught:
        console.run(raising(KeyboardInterrupt()))
    assert caught.value.code == 130 and capsys.readouterr().err == "interrupted\n"
    with pytest.raises(ZeroDivisionError):  # not a user's error: the traceback stays
        console.run(raising(ZeroDivisionError()))
    assert console.run(lambda: None) is None


PRINTER = """
import typer
from pbranch import console
app = typer.Typer(pretty_exceptions_enable=False)
@app.command()
def main(n: int):
    if n == 0: raise KeyboardInterrupt
    for i in range(n): print(i)
console.run({app})
"""


def run(app, n, **options):
    code = PRINTER.format(app=app)
    return subprocess.run([sys.executable, "-c", code, str(n)], text=True, **options)


@pytest.mark.parametrize("app", ["app", "lambda: main(100000)"])
@pytest.mark.parametrize("n", [10, 100000])
def test_a_reader_that_goes_away_is_no_error(app, n):
    read, write = os.pipe()
    os.close(read)
    done = run(app, n, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_typer_command_that_is_interrupted():
    assert run("app", 0, capture_output=True).returncode == 130
