"""The verb `pinfer search`: searches a tree of thoughts for an answer. Heavy imports come later."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from pbranch import console
from pbranch.errors import RequestError
from pbranch.files.jsonl import to_json
from pinfer.commands.generate import choose_seed
from pinfer.commands.prompt_files import read_text


def search(
    task: Annotated[str, typer.Argument(help="game24, arithmetic, blocksworld, or a .yaml page")],
    problem: Annotated[str, typer.Argument(help="what the task's prompt asks; - reads stdin")],
    model: Annotated[
        str | None, typer.Option(help="folder, Hub id, GGUF file, tiny or smollm2")
    ] = None,
    adapter: Annotated[str | None, typer.Option(help="folder, Hub id, or none")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="run Python code that comes with a model")
    ] = False,
    raw: Annotated[bool, typer.Option("--raw", help="feed the prompt without a template")] = False,
    system: Annotated[str | None, typer.Option(help="system text")] = None,
    strategy: Annotated[str, typer.Option(help="bfs (beam), dfs or best (first)")] = "bfs",
    width: Annotated[int, typer.Option(help="thoughts under a node")] = 5,
    keep: Annotated[int, typer.Option(help="nodes that go on after each round")] = 2,
    depth: Annotated[int, typer.Option(help="thoughts of a path, at most")] = 3,
    generate: Annotated[
        str, typer.Option(help="sample each thought, or propose a list")
    ] = "sample",
    evaluate: Annotated[str, typer.Option(help="value, vote or logprob")] = "value",
    select: Annotated[str, typer.Option(help="greedy, or sample by value")] = "greedy",
    evaluations: Annotated[int, typer.Option(help="ratings of a thought, or votes")] = 1,
    threshold: Annotated[float, typer.Option(help="dfs: values below it are cut off")] = 0.0,
    expansions: Annotated[int, typer.Option(help="dfs and best: of nodes, at most")] = 32,
    overlap: Annotated[
        bool, typer.Option(help="rate a thought while others are being written")
    ] = True,
    early: Annotated[
        int, typer.Option(help="thoughts expanded before they are rated, at most")
    ] = 0,
    schedule: Annotated[
        str, typer.Option(help="which branches a pass serves: serial, round or fcfs_batch")
    ] = "fcfs_batch",
    row_budget: Annotated[int, typer.Option(help="fcfs_batch: tokens of a pass")] = 256,
    draft: Annotated[
        str, typer.Option(help="guess tokens: none, ngram, model:NAME, lookahead:FOLDER, auto …")
    ] = "none",
    draft_tokens: Annotated[int, typer.Option(help="guesses a branch and pass; 0: none")] = 8,
    draft_rows: Annotated[int, typer.Option(help="guesses of all branches in one pass")] = 16,
    temperature: Annotated[float, typer.Option(help="0: all thoughts of a node alike")] = 0.7,
    top_k: Annotated[int | None, typer.Option(help="draw from the K best tokens")] = None,
    top_p: Annotated[float | None, typer.Option(help="draw from the best of this mass")] = None,
    seed: Annotated[
        int | None, typer.Option(help="of the random draws; default: a random one, told on stderr")
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="seconds for the search")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda")] = None,
    max_memory: Annotated[float | None, typer.Option(help="GiB for cached tokens")] = None,
    attention: Annotated[str, typer.Option(help="auto, flash, sdpa or dense")] = "auto",
    path: Annotated[str, typer.Option(help="auto, fast or general forward")] = "auto",
    page: Annotated[str | None, typer.Option(help="write the tree there, as HTML")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Search for the answer to a problem: thoughts, ratings and choices, in one sequence."""
    from pinfer.params import EngineLimits, SamplingParams
    from pinfer.scheduling.schedules import make_schedule
    from pinfer.search.tasks.catalogue import find_task
    from pinfer.search.tree.settings import SearchSettings
    from pinfer.search.tree.tree_search import check_task

    if page is not None and not Path(page).parent.is_dir():
        raise RequestError(f"--page {page}: no such folder")
    chosen, serves = find_task(task), make_schedule(schedule, row_budget)
    asked_for = read_text(problem)
    seed = choose_seed(None) if seed is None and temperature > 0 else seed
    settings = SearchSettings(
        strategy=strategy,  # type: ignore[arg-type]
        width=width,
        keep=keep,
        depth=depth,
        generate=generate,  # type: ignore[arg-type]
        evaluate=evaluate,  # type: ignore[arg-type]
        select=select,  # type: ignore[arg-type]
        evaluations=evaluations,
        threshold=threshold,
        expansions=expansions,
        overlap=overlap,
        early=early,
        seed=seed or 0,
    )
    check_task(chosen, settings)
    params = SamplingParams(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        timeout_s=timeout,
        draft_tokens=draft_tokens,
    )
    limits = EngineLimits(max_memory=max_memory, max_draft_rows=draft_rows)
    how: Any = {"dtype": dtype, "device": device, "attention": attention, "path": path}
    how |= {"limits": limits, "draft": draft, "stored_cost": draft.startswith("auto")}
    with console.interruptible() as asked, asked.at_once():
        console.quiet_libraries()
        from pinfer.drafting.sources import check_source
        from pinfer.engine import Engine
        from pinfer.search.page import write_page
        from pinfer.search.run import run_search

        check_source(draft)
        engine = Engine.from_pretrained(model, adapter, trust_remote_code=trust_remote_code, **how)
        with _watching() as on_step:
            result = run_search(
                engine,
                chosen,
                asked_for,
                settings,
                params,
                schedule=serves,
                on_step=on_step,
                raw=raw,
                system=system,
            )
    if page is not None:
        Path(page).write_text(write_page(result), encoding="utf-8")
    print(to_json(result.as_dict()) if as_json else console.printable(result.answer))
    if not as_json:
        _summarise(result)
    if result.error is not None:
        raise RequestError(result.error)


@contextmanager
def _watching() -> Iterator[Any]:
    """The tree while it grows, on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda search: None
        return
    from rich.live import Live
    from rich.text import Text

    from pinfer.search.drawing import tree_lines

    screen = console.rich_console(sys.stderr)
    with Live(console=screen, transient=True, redirect_stdout=False, redirect_stderr=False) as live:

        def show(search: Any) -> None:
            lines = [console.printable(x) for x in tree_lines(search.root, search.chosen)]
            shown = lines[-max(1, screen.size.height - 1) :]
            live.update(Text("\n".join(shown), no_wrap=True, overflow="ellipsis"))

        yield show


def _summarise(result: Any) -> None:
    """The tree and what it took, on stderr."""
    for line in result.drawing:
        console.say(console.printable(line))
    stats, right = result.stats, {None: "", True: ", right", False: ", wrong"}[result.solved]
    console.say(
        f"[{'stopped' if result.error else 'found'}{right}] {stats['nodes']} thoughts, "
        f"{stats['evaluations']} ratings ({stats['unreadable']} not readable), "
        f"{stats['passes']} passes, {stats['rows']} tokens fed, {stats['accepted']} of "
        f"{stats['drafted']} guesses right, {stats['seconds']:.2f} s"
    )
