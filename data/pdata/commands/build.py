"""The command `pdata build`: linear traces to branch-tagged ones. Thin: the work is in build/."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pdata.commands import make


class Rewriter(StrEnum):
    """What finds the branches."""

    rules = "rules"
    llm = "llm"


def build(
    source: Annotated[str, typer.Argument(help="A file, a folder, hf:DATASET[:SPLIT], or -.")],
    out: Annotated[Path, typer.Option(help="FILE.jsonl; FILE.rejected.jsonl goes next to it.")],
    rewriter: Annotated[Rewriter, typer.Option(help="What finds the branches.")] = Rewriter.rules,
    base_url: Annotated[str, typer.Option(help="For llm: an OpenAI-compatible server.")] = "",
    model: Annotated[str, typer.Option(help="For llm: the server's model.")] = "",
    votes: Annotated[int, typer.Option(min=1, help="For llm: votes on independence.")] = 3,
    cache: Annotated[Path | None, typer.Option(help="For llm: replies; else next to OUT.")] = None,
    prices: Annotated[
        tuple[float, float], typer.Option(help="For llm: of a million tokens in, and out.")
    ] = (0, 0),
    timeout: Annotated[float, typer.Option(help="For llm: seconds for one reply.")] = 600.0,
    judge_model: Annotated[
        str,
        typer.Option(
            help="Folder or id of a causal LM that measures independence; tiny. It sees dependence "
            "in text of the kind it was trained on; in free prose no more than chance does."
        ),
    ] = "",
    judge_threshold: Annotated[
        float | None, typer.Option(help="Nats a token from which a branch needs its siblings.")
    ] = None,
    trust_remote_code: Annotated[
        bool,
        typer.Option("--trust-remote-code", help="Run Python code that comes with JUDGE_MODEL."),
    ] = False,
    fields: Annotated[
        list[str] | None,
        typer.Option("--map", help="role=key, such as prompt=problem; see data/README."),
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
    from pdata.build.outputs import check_out
    from pdata.build.pipeline import build as run_build
    from pdata.build.rewriters import open_judge, open_rewriter

    if (rewriter is Rewriter.llm) != bool(base_url and model):
        raise typer.BadParameter("--rewriter llm goes with --base-url and --model")
    judge = open_judge(judge_model, judge_threshold, trust_remote_code) if judge_model else None
    replies = cache or out.with_suffix(".replies")
    settings: dict[str, Any] = {}
    if judge_model:
        settings |= {"--judge-model": judge_model, "--judge-threshold": judge_threshold}
    if rewriter is Rewriter.llm:
        settings |= {"--rewriter": "llm", "--model": model, "--votes": votes}
        check_out(out, source, replies)  # before the cache is opened
    with open_rewriter(base_url, model, votes, replies, prices, timeout) as rewrite:
        counts = run_build(
            source, out, overrides=fields or (), rewriter=rewrite, judge=judge, resume=resume,
            workers=workers, drop_wrong=drop_wrong, max_words=max_words,
            drop_near_duplicates=drop_near_duplicates, settings=settings,
        ).as_dict()  # fmt: skip
    make.show(counts, as_json)
    make.fail_if_empty(source, out, counts)
    if push:
        make.send(out, push, private)
