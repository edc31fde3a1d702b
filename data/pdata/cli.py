"""The command line `pdata`. Thin: every command calls one function, imported when it runs."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pbranch import console
from pdata import verbs

app = typer.Typer(
    help="Linear reasoning traces in, branch-tagged training data out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for verb in (verbs.synth, verbs.convert, verbs.distill):
    app.command()(verb)


class Rewriter(StrEnum):
    """What finds the branches."""

    rules = "rules"
    llm = "llm"


@app.command()
def build(
    source: Annotated[str, typer.Argument(help="A file, a folder, hf:DATASET[:SPLIT], or -.")],
    out: Annotated[Path, typer.Option(help="FILE.jsonl; FILE.rejected.jsonl goes beside it.")],
    rewriter: Annotated[Rewriter, typer.Option(help="What finds the branches.")] = Rewriter.rules,
    base_url: Annotated[str, typer.Option(help="For llm: an OpenAI-compatible server.")] = "",
    model: Annotated[str, typer.Option(help="For llm: the server's model.")] = "",
    votes: Annotated[int, typer.Option(min=1, help="For llm: votes on independence.")] = 3,
    cache: Annotated[Path | None, typer.Option(help="For llm: replies; else beside OUT.")] = None,
    prices: Annotated[
        tuple[float, float], typer.Option(help="For llm: of a million tokens in, and out.")
    ] = (0, 0),
    judge_model: Annotated[
        str, typer.Option(help="Folder or id of a causal LM that measures independence; tiny.")
    ] = "",
    judge_threshold: Annotated[
        float | None, typer.Option(help="Nats a token from which a branch needs its siblings.")
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option("--map", help="role=key, such as prompt=problem; roles: see the docs."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run stopped.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes, or threads for llm.")] = 1,
    drop_wrong: Annotated[bool, typer.Option("--drop-wrong", help="Reject wrong answers.")] = False,
    max_words: Annotated[int | None, typer.Option(min=1, help="Reject longer traces.")] = None,
    drop_near_duplicates: Annotated[
        bool, typer.Option("--drop-near-duplicates", help="Reject what is almost there already.")
    ] = False,
    push: Annotated[str, typer.Option(help="Publish OUT with a card as this REPO_ID.")] = "",
    private: Annotated[bool, typer.Option("--private", help="With --push.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Turn linear traces into branch-tagged ones; what is not independent stays linear."""
    from pdata.build import build as run_build
    from pdata.rewriters import open_judge, open_rewriter

    if (rewriter is Rewriter.llm) != bool(base_url and model):
        raise typer.BadParameter("--rewriter llm goes with --base-url and --model")
    judge = open_judge(judge_model, judge_threshold) if judge_model else None
    replies = cache or out.with_suffix(".replies")
    with open_rewriter(base_url, model, votes, replies, prices) as rewrite:
        counts = run_build(
            source, out, overrides=fields or (), rewriter=rewrite, judge=judge, resume=resume,
            workers=workers, drop_wrong=drop_wrong, max_words=max_words,
            drop_near_duplicates=drop_near_duplicates,
        ).as_dict()  # fmt: skip
    verbs.show(counts, as_json)
    if push:
        verbs.send(out, push, private)


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
    html: Annotated[Path | None, typer.Option(help="Write a report to this page.")] = None,
) -> None:
    """Show how much is forked, how wide, and the ideal ratio of passes, in words."""
    if html is not None:
        from pdata.html import write_html

        write_html(file, html)
        typer.echo(f"report: {html}", err=True)
        return
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
