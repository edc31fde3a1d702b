"""The commands `pdata check` and `pdata stats`. Thin: the work is in validate.py and report/."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pbranch import console


def check(
    file: Annotated[str, typer.Argument(help="A trace file, or -.")],
) -> None:
    """Check every record strictly; prints FILE:line: reason and exits with 1 when any is wrong."""
    from pdata.validate import find_problems

    problems = 0
    for problem in find_problems(file):
        problems += 1
        typer.echo(problem)
    if problems:
        console.fail(f"{file}: {problems} problem{'s' * (problems > 1)}")
    typer.echo(f"{file}: no problem found", err=True)


def stats(
    file: Annotated[str, typer.Argument(help="A trace file, or -.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a report to this page.")] = None,
) -> None:
    """Show how much is forked, how wide, and the ideal ratio of passes, in words."""
    if html is not None:
        from pdata.report.html import write_html

        write_html(file, html)
        typer.echo(f"report: {html}", err=True)
        return
    from pdata.report.console_tables import print_stats
    from pdata.report.statistics import collect_stats

    figures = collect_stats(file)
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        print_stats(figures)
