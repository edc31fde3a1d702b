"""`python -m pbranch show FILE`: the tree, positions and mask of traces, drawn as characters."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from pbranch import console
from pbranch.errors import BranchError, DataError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def root() -> None:
    """The branch format: inspect traces."""


@app.command()
def show(
    file: Annotated[str, typer.Argument(help="a trace file (JSONL), tagged text, or - for stdin")],
    line: Annotated[int, typer.Option(help="which line of a trace file")] = 1,
    positions: Annotated[str, typer.Option(help="max or flat")] = "max",
    outline: Annotated[str, typer.Option(help="all or own")] = "all",
    join: Annotated[str, typer.Option(help="keep or reencode")] = "keep",
    dialect: Annotated[str, typer.Option(help="native, or the paper's")] = "native",
    by_pass: Annotated[bool, typer.Option("--by-pass", help="rows as they are decoded")] = False,
    tokenizer: Annotated[str | None, typer.Option(help="folder or Hub id; default: words")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="run Python code that comes with it")
    ] = False,
) -> None:
    """Draw the tree of a trace, then one line a row: position, token, and what it sees."""
    from pbranch.format.layout import LayoutOptions
    from pbranch.format.show import show_trace
    from pbranch.format.tagged_text import parse

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise DataError(f"{file}: not UTF-8 text ({e})") from e
    prompt, completion, separators = "", text, None
    if file.endswith(".jsonl") or text.startswith('{"'):
        lines = text.removesuffix("\n").split("\n")  # JSON may hold other line breaks as they are
        if not 1 <= line <= len(lines):
            raise DataError(f"{file}: line {line} asked for, the file has {len(lines)}")
        try:
            record = json.loads(lines[line - 1])
            completion = record["completion"] + ""  # a TypeError unless it is a string
            prompt = "".join(m["content"] for m in record.get("messages", ()))
            separators = (record.get("meta") or {}).get("separators")
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise DataError(f"{file}:{line}: not a trace record ({e})") from e
    loaded = None
    if tokenizer is not None:
        from pbranch.hf.load_model import load_tokenizer

        loaded = load_tokenizer(tokenizer, trust_remote_code)
    options = LayoutOptions(
        positions=_choice("positions", positions, ("max", "flat")),  # type: ignore[arg-type]
        outline=_choice("outline", outline, ("all", "own")),  # type: ignore[arg-type]
        join=_choice("join", join, ("keep", "reencode")),  # type: ignore[arg-type]
    )
    _choice("dialect", dialect, ("native", "paper"))
    trace = parse(completion, separators)
    print(show_trace(prompt, trace, options, loaded, dialect, by_pass))


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise BranchError(f"--{name} {value}: expected {' or '.join(allowed)}")
    return value


if __name__ == "__main__":
    console.run(app)
