"""`pinfer`: decode prompts with parallel branches. Parses and calls; heavy imports come later."""

import json
from typing import Annotated

import typer

from pbranch import console
from pinfer.commands.bench import bench
from pinfer.commands.generate import generate
from pinfer.commands.search import search

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.command()(generate)
app.command()(bench)
app.command()(search)


@app.callback()
def root() -> None:
    """Decode reasoning branches side by side, in one sequence."""


@app.command()
def env(as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False) -> None:
    """Versions and devices, for a bug report."""
    from pinfer.commands.env import describe

    facts = describe()
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    for name, value in facts.items():
        print(f"{name:<20} {value}")


def main() -> None:
    """Entry point of the `pinfer` command."""
    console.run(app)
