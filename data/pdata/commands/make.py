"""The commands `pdata synth`, `convert` and `distill`. Thin, as cli.py."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pbranch import console


class Split(StrEnum):
    """Held-out problems share no names with training ones, nor numbers of an item (plain wording)
    or wordings (natural)."""

    train = "train"
    heldout = "heldout"


class Wording(StrEnum):
    """plain: few words, for a base trained on them. natural: English. easy: natural and short."""

    plain = "plain"
    natural = "natural"
    easy = "easy"


def synth(
    task: Annotated[
        str,
        typer.Argument(
            help="records, sums, cases, chain; plain: mix (all, for a base); natural: resume"
        ),
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
    wording: Annotated[
        Wording, typer.Option(help="natural: English of many wordings; easy: to begin with.")
    ] = Wording.plain,
) -> None:
    """Write linear traces of a synthetic TASK, with answers."""
    from pdata.synthetic.generator import synthesise

    synthesise(task, n, seed, out, level, split.value, workers, wording.value)


def convert(
    file: Annotated[str, typer.Argument(help="A file, a folder, hf:DATASET[:SPLIT], or -.")],
    dialect: Annotated[
        str, typer.Option("--from", help="multiverse, threadweaver, aspd or paper.")
    ],
    out: Annotated[Path, typer.Option(help="FILE.jsonl; FILE.rejected.jsonl goes next to it.")],
    fields: Annotated[list[str] | None, typer.Option("--map", help="role=key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Turn traces of another DIALECT into branch-tagged records."""
    from pdata.build.convert import convert as run_convert

    counts = run_convert(file, out, dialect, overrides=fields or ())
    show(counts, as_json)
    fail_if_empty(file, out, counts)


def distill(
    source: Annotated[
        Path, typer.Argument(help="Lines of `pinfer generate --json`; with --base-url, records.")
    ],
    out: Annotated[Path, typer.Option(help="FILE.jsonl; FILE.rejected.jsonl goes next to it.")],
    base_url: Annotated[str, typer.Option(help="An OpenAI-compatible server to ask.")] = "",
    model: Annotated[str, typer.Option(help="The server's model.")] = "",
    n: Annotated[int, typer.Option("-n", min=1, help="Generations a prompt.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 8,
    timeout: Annotated[float, typer.Option(help="Seconds for one reply of the server.")] = 600.0,
    linear_too: Annotated[bool, typer.Option("--linear-too", help="Keep unforked ones.")] = False,
    keep_unknown: Annotated[
        bool, typer.Option("--keep-unknown", help="Keep what cannot be graded.")
    ] = False,
    keep_wrong: Annotated[
        bool, typer.Option("--keep-wrong", help="Keep wrong answers: for `ptrain lookahead`.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run stopped.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Keep the right ones among your own model's generations as training data."""
    from pdata.build.distill import Criteria, ask
    from pdata.build.distill import distill as run_distill
    from pdata.build.outputs import check_out
    from pdata.llm.chat_client import Client

    if bool(base_url) != bool(model):
        raise typer.BadParameter("--base-url goes with --model")
    if base_url:
        asked, source = source, out.with_suffix(".generations.jsonl")
        replies = out.with_suffix(".replies")
        check_out(out, str(asked), source, replies)
        # servers drop the markers from the text unless they are told otherwise
        options = {"skip_special_tokens": False}
        with Client(base_url, model, cache=replies, options=options, timeout=timeout) as client:
            ask(asked, source, client, n=n, workers=workers, resume=resume)
    criteria = Criteria(forked=not linear_too, unknown=keep_unknown, wrong=keep_wrong)
    show(run_distill(source, out, criteria=criteria, resume=resume), as_json)


def show(counts: dict[str, Any], as_json: bool) -> None:
    """Counts for people, and for machines where asked for."""
    from pdata.report.console_tables import print_counts

    print_counts(counts)
    if as_json:
        typer.echo(json.dumps(counts))


def fail_if_empty(source: str, out: Path, counts: dict[str, Any]) -> None:
    """Exit with 1 where nothing was kept, and say why."""
    from pbranch.files.jsonl import read_objects
    from pdata.record import rejected_path

    if counts["out"]:
        return
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in counts["rejected_by_reason"].items())
    first = next(read_objects(rejected_path(out)))
    console.fail(f"{source}: no trace was kept: {reasons}; the first is {first['detail']}")


def send(file: Path, repo_id: str, private: bool) -> None:
    """Publish a data set."""
    from pdata.publish import push

    for name in push(file, repo_id, private=private):
        typer.echo(f"{repo_id}: {name}", err=True)
