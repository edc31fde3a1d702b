"""A run writes into a new folder or its own, alone, and never over what it reads."""

import os
import signal
from pathlib import Path

import pytest

from pbranch.console import interruptible
from pbranch.errors import DataError, RecipeError
from pbranch.files.lock import locked_folder
from pbranch.files.recipe import dump_recipe
from ptrain.artifacts.target import check_out, check_page, is_own
from ptrain.config import Recipe
from ptrain.trainer.guard import stop_signals

PAGE = "# mine\ndata: d.jsonl\nout: .\n"


@pytest.mark.parametrize("name", ["README.md", "recipe.yaml", "model.safetensors", "config.json"])
def test_a_folder_of_others_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(PAGE)
    with pytest.raises(RecipeError, match=rf"holds {name}, which no run has written"):
        check_out(tmp_path, [])
    assert (tmp_path / name).read_text() == PAGE


def test_checkpoints_of_another_trainer_are_refused(tmp_path: Path) -> None:
    """`resume: never` would remove them."""
    (tmp_path / "checkpoint-500").mkdir()
    (tmp_path / "checkpoint-500" / "model.safetensors").write_text("weights")
    with pytest.raises(RecipeError, match=r"holds checkpoint-500, which no run has written"):
        check_out(tmp_path, [])


def test_a_folder_within_what_is_read_is_refused(tmp_path: Path) -> None:
    """Its files would be the source's, so that the run could not go on."""
    (tmp_path / "model").mkdir()
    with pytest.raises(RecipeError, match=r"out: .*run lies in .*model, which the run reads"):
        check_out(tmp_path / "model" / "run", [tmp_path / "model"])
    check_out(tmp_path / "run", [tmp_path / "model"])


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(RecipeError, match="is a file; expected a folder"):
        check_out(tmp_path / "a", [])


@pytest.mark.parametrize("sign", ["checkpoint-2", ".partial", "branch_config.json", "recipe.yaml"])
def test_a_folder_of_an_earlier_run_is_its_own(tmp_path: Path, sign: str) -> None:
    check_out(tmp_path / "new", [])
    (tmp_path / "notes.txt").write_text("whatever a run does not write")
    check_out(tmp_path, [])
    if sign == "recipe.yaml":
        (tmp_path / sign).write_text(dump_recipe(Recipe(data="d.jsonl")))
    elif sign == "branch_config.json":
        (tmp_path / sign).write_text("{}")
    else:
        (tmp_path / sign).mkdir()
    if sign == "checkpoint-2":
        (tmp_path / sign / "files.json").write_text("{}")
    (tmp_path / "README.md").write_text("a card")
    assert is_own(tmp_path)
    check_out(tmp_path, [])


def test_what_a_run_reads_is_not_written_over(tmp_path: Path) -> None:
    """A model to tune in full, an adapter of a checkpoint that would go, a file of data."""
    checkpoint = tmp_path / "checkpoint-2"
    checkpoint.mkdir()
    (checkpoint / "files.json").write_text("{}")
    for folder in (tmp_path, checkpoint):
        (folder / "model.safetensors").write_text("weights")
    data = tmp_path.parent / f"{tmp_path.name}.jsonl"
    os.link(tmp_path / "model.safetensors", data)
    for read in (tmp_path, checkpoint, tmp_path / "model.safetensors", data):
        with pytest.raises(DataError, match="is the source itself"):
            check_out(tmp_path, [read])
    check_out(tmp_path, [tmp_path / "other.jsonl"])


def test_a_recipe_written_by_hand_is_not_written_over(tmp_path: Path) -> None:
    page = tmp_path / "recipe.yaml"
    page.write_text(PAGE)
    with pytest.raises(DataError, match="is the source itself"):
        check_page(tmp_path, page)
    check_page(tmp_path / "out", page)
    page.write_text(dump_recipe(Recipe(data="d.jsonl", out=str(tmp_path))))
    check_page(tmp_path, page)  # `ptrain sft runs/x/recipe.yaml` goes on


def test_two_runs_of_one_folder(tmp_path: Path) -> None:
    from ptrain.train import train

    with locked_folder(tmp_path / "out"):
        with pytest.raises(DataError, match="out: another process is writing it"):
            train(Recipe(data="none.jsonl", out=str(tmp_path / "out")))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_ask_a_run_to_stop(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_DFL)  # under nohup, SIGHUP is ignored
    try:
        with stop_signals() as asked:
            os.kill(os.getpid(), number)
            assert asked()
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible(signal.SIGHUP) as asked:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not asked()
    finally:
        signal.signal(signal.SIGHUP, before)
