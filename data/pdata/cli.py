"""The command line `pdata`. Thin: every command calls one function, imported when it runs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pbranch import console

app = typer.Typer(
    help="Linear reasoning traces in, branch-tagged training data out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


class Split(StrEnum):
    """Held-out problems share no name and no numbers of an item with training ones."""

    train = "train"
    heldout = "heldout"


@app.callback()
def _commands() -> None:
    """Keeps `synth` a command of its own even while it is the only one."""


@app.command()
def synth(
    task: Annotated[
        str, typer.Argument(help="records, sums, cases, chain, or mix (all, for a base)")
    ],
    n: Annotated[int, typer.Option("--n", min=0, help="Number of records.")],
    seed: Annotated[int, typer.Option(help="Same seed, same file.")],
    out: Annotated[Path, typer.Option(help="JSON lines; gzip if it ends in .gz; - is stdout.")],
    level: Annotated[
        int | None, typer.Option(min=2, max=12, help="Steps; drawn from 2 to 12 if not given.")
    ] = None,
    split: Annotated[
        Split, typer.Option(help="Which names and numbers to draw from.")
    ] = Split.train,
    workers: Annotated[int, typer.Option(min=1, help="Processes; the result is the same.")] = 1,
) -> None:
    """Write linear traces of a synthetic TASK, with answers."""
    from pdata.synth import synthesise

    synthesise(task, n, seed, out, level=level, split=split.value, workers=workers)


def main() -> None:
    """Entry point: 0 done, 1 a known error, 2 usage, 130 interrupted."""
    console.run(app)


if __name__ == "__main__":
    main()
