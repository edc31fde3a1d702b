"""Tasks by name: those that are shipped, and a user's page."""

from pathlib import Path

from pbranch.errors import RequestError, did_you_mean
from pinfer.search.tasks import arithmetic, blocksworld, game24
from pinfer.search.tasks.task import Task, load_page

TASKS = {task.name: task for task in (game24.TASK, arithmetic.TASK, blocksworld.TASK)}


def find_task(name: str) -> Task:
    """A shipped task by its name, or the page at a path that ends with .yaml. RequestError where
    there is none, RecipeError where the page is wrong."""
    if name in TASKS:
        return TASKS[name]
    if name.endswith((".yaml", ".yml")):
        return load_page(Path(name))
    hint = did_you_mean(name, list(TASKS))
    raise RequestError(f"task {name!r}: expected {', '.join(TASKS)} or a .yaml page{hint}")
