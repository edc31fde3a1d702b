"""The folder that a run writes: whether it is the run's own, and nothing that the run reads."""

from collections.abc import Iterable
from pathlib import Path

from pbranch.errors import BranchError, RecipeError
from pbranch.files.file_identity import refuse_overwriting
from pbranch.files.recipe import dump_recipe, load_recipe
from pbranch.format.branch_config import FILE_NAME as BRANCH_CONFIG
from ptrain.artifacts.artifact import RECIPE, matches
from ptrain.checkpoints.storage import MANIFEST, list_checkpoints, staging
from ptrain.config import LookaheadRecipe, Recipe


def check_out(out: Path, read: Iterable[str | Path]) -> None:
    """Raise RecipeError where `out` holds files that a run would write over and no run has left, or
    lies within a folder of `read`; DataError where one of those is in `read`; a folder there stands
    for its files."""
    read = list(read)
    for source in map(Path, read):
        if source.is_dir() and source.resolve() in out.resolve().parents:
            raise RecipeError(f"out: {out} lies in {source}, which the run reads; expected another")
    if not out.exists():
        return
    if not out.is_dir():
        raise RecipeError(f"out: {out} is a file; expected a folder")
    held = sorted(path for path in out.iterdir() if matches(path.name))
    held += list_checkpoints(out)
    refuse_overwriting(held, read)
    refuse_foreign(out, held, is_own(out))


def refuse_foreign(out: Path, held: Iterable[Path], own: bool) -> None:
    """Raise RecipeError where a folder that no run has written holds files of a run's names."""
    first = next(iter(held), None)
    if first is not None and not own:
        raise RecipeError(
            f"out: {out} holds {first.name}, which no run has written; expected a new folder, or "
            "that of a run"
        )


def is_own(out: Path) -> bool:
    """Whether a run has written into `out`, though it may have been killed after its first file."""
    own = [c for c in list_checkpoints(out) if (c / MANIFEST).is_file()]
    signs = [staging(out).exists(), (out / BRANCH_CONFIG).is_file(), own]
    return any(signs) or is_dump(out / RECIPE)


def is_dump(page: Path) -> bool:
    """Whether a recipe is there as a run writes it: with every key, and no comment."""
    for schema in (Recipe, LookaheadRecipe):
        try:
            if dump_recipe(load_recipe(schema, page)) == page.read_text(encoding="utf-8"):
                return True
        except (BranchError, OSError):
            continue
    return False


def check_page(out: Path, page: Path) -> None:
    """Raise DataError where a run of the recipe `page`, written by hand, would write over it."""
    if not is_dump(page):
        refuse_overwriting([out / RECIPE], [page])
