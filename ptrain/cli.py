"""The command line `ptrain`. Thin: every command calls one function, imported when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from pbranch import console

app = typer.Typer(
    help="Fine-tune a language model to fork, with LoRA, on branch-tagged traces.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
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
def check(recipe: RecipeFile, overrides: Overrides = None) -> None:
    """Validate RECIPE and its data; show one example with targets, positions and mask."""
    from pbranch.recipe import load_recipe
    from ptrain.config import Recipe
    from ptrain.recipe import home_of

    loaded = load_recipe(Recipe, recipe, overrides or [])  # before torch: a typo answers at once
    from ptrain import check as checker

    print(checker.check(loaded, home_of(recipe)))


@app.command()
def merge(
    adapter: Annotated[Path, typer.Argument(help="an adapter's folder")],
    out: Annotated[Path, typer.Option(help="folder for the merged model")],
) -> None:
    """Merge ADAPTER into its base: a plain model folder."""
    from ptrain import export

    print(export.merge(adapter, out))


@app.command()
def pretrain(recipe: RecipeFile, overrides: Overrides = None) -> None:
    """Train a tiny base from scratch by RECIPE (recipes/tiny_base.yaml)."""
    from pbranch.recipe import load_recipe
    from ptrain.base_recipe import PretrainRecipe

    loaded = load_recipe(PretrainRecipe, recipe, overrides or [])
    from ptrain import pretrain as trainer

    print(trainer.pretrain(loaded))


def main() -> None:
    """Entry point: 0 done, 1 a known error, 2 usage, 130 interrupted."""
    console.run(app)


if __name__ == "__main__":
    main()
