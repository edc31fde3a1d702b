"""The command line `pdata`. Thin: every command calls one function, imported when it runs."""

import typer

from pbranch import console
from pdata.commands.build import build
from pdata.commands.inspect import check, stats
from pdata.commands.make import convert, distill, synth

app = typer.Typer(
    help="Linear reasoning traces in, branch-tagged training data out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (build, check, stats, synth, convert, distill):
    app.command()(command)


def main() -> None:
    """Entry point: 0 done, 1 a known error, 2 usage, 130 interrupted."""
    console.run(app)


if __name__ == "__main__":
    main()
