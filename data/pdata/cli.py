"""The command line `pdata`. Thin: every command calls one function, imported when it runs."""

import json
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


class Rewriter(StrEnum):
    """What finds the branches."""

    rules = "rules"


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


@app.command()
def build(
    source: Annotated[str, typer.Argument(help="JSON lines (.jsonl, .jsonl.gz), a folder, or -.")],
    out: Annotated[Path, typer.Option(help="FILE.jsonl; FILE.rejected.jsonl goes beside it.")],
    rewriter: Annotated[Rewriter, typer.Option(help="What finds the branches.")] = Rewriter.rules,
    fields: Annotated[
        list[str] | None,
        typer.Option("--map", help="role=key; roles: messages, prompt, completion, answer, id."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes; the result is the same.")] = 1,
    drop_wrong: Annotated[
        bool, typer.Option("--drop-wrong", help="Reject traces whose answer is wrong.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Turn linear traces into branch-tagged ones; what is not independent stays linear."""
    from pdata.build import build as run_build
    from pdata.report import print_counts

    counts = run_build(
        source,
        out,
        overrides=fields or (),
        rewriter=rewriter.value,
        resume=resume,
        workers=workers,
        drop_wrong=drop_wrong,
    ).as_dict()
    print_counts(counts)
    if as_json:
        typer.echo(json.dumps(counts))


@app.command()
def check(
    file: Annotated[str, typer.Argument(help="A trace file, or -.")],
) -> None:
    """Check every record strictly; prints FILE:line: reason and exits with 1 when any is wrong."""
    from pdata.check import find_problems

    problems = 0
    for problem in find_problems(file):
        problems += 1
        typer.echo(problem)
    if problems:
        console.fail(f"{file}: {problems} problem{'s' * (problems > 1)}")
    typer.echo(f"{file}: no problem found", err=True)


@app.command()
def stats(
    file: Annotated[str, typer.Argument(help="A trace file, or -.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Show how much is forked, how wide, and the ideal ratio of passes, in words."""
    from pdata.report import print_stats
    from pdata.stats import collect_stats

    figures = collect_stats(file)
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        print_stats(figures)


def main() -> None:
    """Entry point: 0 done, 1 a known error, 2 usage, 130 interrupted."""
    console.run(app)


if __name__ == "__main__":
    main()
