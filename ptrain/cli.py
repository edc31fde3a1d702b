"""The command line `ptrain`. Thin: every command calls one function, imported when it runs."""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Literal

import typer

from pbranch import console

app = typer.Typer(
    help="Fine-tune a language model to fork, with LoRA, on branch-tagged traces.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
DType = Literal["auto", "float32", "bfloat16", "float16"]
RecipeFile = Annotated[str, typer.Argument(metavar="RECIPE", help="a YAML page, see recipes/")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]…", help="e.g. model=… train.lr=1e-4")
]


@app.command()
def sft(recipe: RecipeFile, overrides: Overrides = None) -> None:
    """Train an adapter by RECIPE; goes on where an interrupted run has left a checkpoint."""
    from ptrain.recipe import run

    run(recipe, overrides or [])


@app.command()
def lookahead(recipe: RecipeFile, overrides: Overrides = None) -> None:
    """Train a model's look-ahead rows by RECIPE, on its own answers: drafts for pinfer."""
    from ptrain.recipe import run_lookahead

    run_lookahead(recipe, overrides or [])


@app.command()
def check(recipe: RecipeFile, overrides: Overrides = None) -> None:
    """Validate RECIPE and its data; show one example with targets, positions and mask."""
    from pbranch.files.recipe import load_recipe
    from ptrain.config import Recipe
    from ptrain.recipe import home_of

    loaded = load_recipe(Recipe, recipe, overrides or [])  # before torch: a typo answers at once
    console.quiet_libraries()
    from ptrain import check as checker

    for part in checker.check(loaded, home_of(recipe)):
        print(part, flush=True)


@app.command()
def merge(
    adapter: Annotated[str, typer.Argument(help="an adapter's folder or Hub id")],
    out: Annotated[Path, typer.Option(help="folder for the merged model")],
    force: Annotated[bool, typer.Option("--force", help="replace a merged model there")] = False,
    dtype: Annotated[
        DType, typer.Option(help="of the weights; auto: the base's own, float32: exact")
    ] = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="run Python code that comes with the base")
    ] = False,
) -> None:
    """Merge ADAPTER into its base: a plain model folder."""
    console.quiet_libraries()
    with redirect_stdout(sys.stderr):  # deepspeed, where it is installed, logs to stdout
        from ptrain.artifacts import merge

        folder = merge.merge(adapter, out, force, dtype, trust_remote_code)
    print(folder)


@app.command()
def export(
    adapter: Annotated[str, typer.Argument(help="an adapter's folder or Hub id")],
    out: Annotated[Path, typer.Option(help="folder for base and adapter")],
    dtype: Annotated[DType, typer.Option(help="of the base; auto: its own")] = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="run Python code that comes with the base")
    ] = False,
) -> None:
    """Write ADAPTER for other libraries: a base with the markers, and a plain LoRA for it."""
    console.quiet_libraries()
    with redirect_stdout(sys.stderr):
        from ptrain.artifacts import export as exporter

        folder = exporter.export(adapter, out, dtype, trust_remote_code)
    print(folder)


@app.command()
def publish(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="an adapter or a model")],
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID", help="on the Hub, as me/name")],
    private: Annotated[bool, typer.Option("--private", help="create it private")] = False,
    force: Annotated[bool, typer.Option("--force", help="replace what differs there")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="list, and send nothing")] = False,
    base: Annotated[str | None, typer.Option(help="Hub id of a base that is a folder")] = None,
    license: Annotated[str | None, typer.Option(help="for the card, as apache-2.0")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Send an adapter or a model, with its card, to the Hugging Face Hub."""
    from ptrain.artifacts import publish as publisher

    done = publisher.publish(
        folder, repo_id, base=base, license=license, private=private, force=force, dry_run=dry_run
    )
    print(json.dumps(done.as_dict()) if as_json else done)


@app.command()
def pretrain(recipe: RecipeFile, overrides: Overrides = None) -> None:
    """Train a tiny base from scratch by RECIPE (recipes/tiny_base.yaml)."""
    from pbranch.files.recipe import load_recipe
    from ptrain.pretrain.config import PretrainRecipe

    loaded = load_recipe(PretrainRecipe, recipe, overrides or [])
    from ptrain.pretrain import run as trainer

    print(trainer.pretrain(loaded))


def main() -> None:
    """Entry point: 0 done, 1 a known error, 2 usage, 130 interrupted."""
    console.run(app)


if __name__ == "__main__":
    main()
