"""Text of strangers on a terminal: nothing in it steers, nothing of it is lost."""

import io
import os
import pty
import select
import sys

import pytest
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from pbranch import console
from pbranch.console import LONGEST_MESSAGE, PlainStream, printable
from pbranch.errors import BranchError

PAYLOAD = "\x1b]0;TITLE\x07\x1b[31mred\x9b31m\u202eabc"
STEERS = [ord(c) for c in "\r\x07\x1b\x9b\x7f\x00\u202e\u2066"]


def test_printable_keeps_what_people_write():
    kept = "Größe\u00a0— 你好\u3000世界\n\ta👩‍🚀 … \u200f"
    assert printable(kept) == kept


@pytest.mark.parametrize("code", STEERS)
def test_printable_replaces_what_steers(code):
    assert printable(f"a{chr(code)}b") == "a\N{REPLACEMENT CHARACTER}b"


def test_bars_may_rewrite_their_line_and_text_may_not():
    raw = io.StringIO()
    bars, text = PlainStream(raw, bars=True), PlainStream(raw)
    bars.write("\r 50%")
    bars.write("\n\n\x1b[A\x1b[A")
    bars.write("\x1b[Aover the line before")
    text.write("\r 50%")
    text.writelines(["\x1b[A"])
    assert raw.getvalue() == "\r 50%\n\n\x1b[A\x1b[A\ufffd[Aover the line before\ufffd 50%\ufffd[A"


def test_rich_keeps_its_colours_and_lets_no_title_through():
    raw = io.StringIO()
    Console(file=PlainStream(raw), force_terminal=True, color_system="standard").print(  # type: ignore[arg-type]
        f"[green]fine[/green] {PAYLOAD}"
    )
    assert "\x1b[32mfine" in raw.getvalue()
    assert "\x1b]" not in raw.getvalue() and "\x9b" not in raw.getvalue()


def under_a_terminal(write) -> str:
    """What comes out of a terminal that `write` is run under, in a process of its own."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
        try:
            console.run(write)
        except SystemExit:
            pass
        finally:
            sys.stdout.flush()
            os._exit(0)
    said = b""
    while select.select([fd], [], [], 20)[0]:
        try:
            data = os.read(fd, 65536)
        except OSError:
            break
        if not data:
            break
        said += data
    os.close(fd)
    os.waitpid(pid, 0)
    return said.decode()


def raise_it():
    raise BranchError(PAYLOAD)


def table():
    made = Table(printable(PAYLOAD))
    made.add_row(printable("[link=http://example.org]x[/link]"))
    Console(markup=False).print(made)


def bar():
    with console.progress(f"[red]x[/red]{PAYLOAD}", 1) as advance:
        print(PAYLOAD, file=sys.stderr)
        advance()


@pytest.mark.parametrize(
    "write",
    [
        raise_it,
        bar,
        table,
        lambda: print(PAYLOAD),
        lambda: print(PAYLOAD, file=sys.stderr),
        lambda: console.say(PAYLOAD),
        lambda: sys.stdout.writelines([PAYLOAD]),
        lambda: Progress(console=Console(stderr=True)).print(PAYLOAD),
    ],
)
def test_no_way_to_a_terminal_lets_an_escape_through(write):
    said = under_a_terminal(write)
    assert (
        "\x1b]" not in said and "\x07" not in said and "\x9b" not in said and "\u202e" not in said
    )
    assert "\x1b]8;" not in said


def test_a_bar_of_ours_keeps_its_colours():
    said = under_a_terminal(bar)
    assert "\x1b[2K" in said or "\x1b[38" in said
    assert "\N{REPLACEMENT CHARACTER}[2K" not in said and "[red]x[/red]" in said


def test_data_in_a_file_stays_as_it_is(capsys):
    console.run(lambda: print(PAYLOAD))
    assert capsys.readouterr().out == PAYLOAD + "\n"


def test_an_error_quotes_no_whole_file(capsys):
    def app():
        raise BranchError("x" * 100_000)

    with pytest.raises(SystemExit):
        console.run(app)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and len(said) < LONGEST_MESSAGE + 20


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "out of memory"),
        (
            RuntimeError("unable to mmap 9 bytes from file <m>: Cannot allocate memory (12)"),
            "out of memory (unable to mmap 9 bytes from file <m>: Cannot allocate memory (12))",
        ),
    ],
)
def test_out_of_memory_is_one_line(error, said, capsys):
    def app():
        raise error

    with pytest.raises(SystemExit) as caught:
        console.run(app)
    assert caught.value.code == 1 and capsys.readouterr().err == f"error: {said}\n"


def test_another_error_of_a_library_keeps_its_traceback():
    def app():
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes"):
        console.run(app)
