"""Folders of a run: whole or not there, damaged ones passed over by name."""

import json
import os

import pytest

from pbranch.errors import RecipeError
from pbranch.files.recipe import dump_recipe
from ptrain.checkpoints import storage
from ptrain.checkpoints.resume import check_processes, find_checkpoint
from ptrain.config import Recipe

ONE = {"processes": 1, "sharding": "no"}


def write(out, step, keep=2, facts=ONE):
    """A checkpoint as the processes leave it in the staging folder, and its name."""
    folder = storage.staging(out) / f"checkpoint-{step}"
    (folder / "global_step").mkdir(parents=True)
    (folder / "optimizer.pt").write_bytes(b"x" * 100)
    (folder / "global_step" / "shard_0.pt").write_bytes(b"y" * 50)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    storage.settle(out, step, keep, facts)
    return out / f"checkpoint-{step}"


@pytest.fixture
def run(tmp_path):
    """A recipe whose folder holds checkpoints 2 and 4."""
    recipe = Recipe(data="none.jsonl", out=str(tmp_path))
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
    write(tmp_path, 2), write(tmp_path, 4)
    return recipe, tmp_path


def test_a_whole_checkpoint_is_found_and_old_ones_go_last(run):
    recipe, out = run
    assert find_checkpoint(recipe) == out / "checkpoint-4"
    write(out, 6)
    names = ["checkpoint-4", "checkpoint-6"]
    assert [p.name for p in storage.list_checkpoints(out)] == names
    assert not storage.staging(out).exists()


@pytest.mark.parametrize("at", ["rename", "fsync", "unlink"])
def test_a_stop_at_any_moment_leaves_the_one_before(run, monkeypatch, at):
    """An error at each system call in turn: a folder that has its name is whole."""
    recipe, out = run
    original, calls = getattr(os, at), 0
    for allowed in range(40):

        def stop(*args, allowed=allowed, **kwargs):
            nonlocal calls
            calls += 1
            if calls > allowed:
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        calls = 0
        monkeypatch.setattr(os, at, stop)
        step = 6 + allowed
        try:
            write(out, step)
            done = True
        except KeyboardInterrupt:
            done = False
        monkeypatch.setattr(os, at, original)
        found = storage.list_checkpoints(out)
        assert len(found) >= 2 and not any(map(storage.find_damage, found))
        assert find_checkpoint(recipe) == found[-1] and not storage.staging(out).exists()
        if done:
            break
    assert done and allowed


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("optimizer.pt", cut, "optimizer.pt: 99 bytes long, expected 100 bytes"),
        ("optimizer.pt", os.unlink, "optimizer.pt: missing, expected 100 bytes"),
        ("global_step/shard_0.pt", cut, "shard_0.pt: 49 bytes long, expected 50 bytes"),
        ("trainer_state.json", cut, "trainer_state.json: not JSON"),
        ("trainer_state.json", os.unlink, "trainer_state.json: cannot read"),
        ("files.json", os.unlink, "files.json: cannot read"),
        ("files.json", lambda p: p.write_text("[]"), "files.json: no sizes of files"),
        ("files.json", lambda p: p.write_bytes(b"\xff\x00"), "files.json: not JSON"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_by_name(run, capsys, name, damage, words):
    recipe, out = run
    damage(out / "checkpoint-4" / name)
    assert find_checkpoint(recipe) == out / "checkpoint-2"
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and words in lines[0] and "checkpoint-4 is damaged" in lines[0]
    damage(out / "checkpoint-2" / name)
    with pytest.raises(RecipeError, match="none of its 2 checkpoints is whole") as caught:
        find_checkpoint(recipe)
    assert words in str(caught.value) and "resume=never" in str(caught.value)
    write(out, 4)  # the run that went on from 2 has come to 4 again
    assert find_checkpoint(recipe) == out / "checkpoint-4"


def test_old_ones_are_counted_up_to_the_new_one(run):
    """Damaged checkpoints of later steps do not push whole ones out."""
    recipe, out = run
    for step in (6, 8):
        write(out, step, keep=9)
        cut(out / f"checkpoint-{step}" / "optimizer.pt")
    write(out, 5)
    assert find_checkpoint(recipe) == out / "checkpoint-5"
    assert (out / "checkpoint-4").exists() and not (out / "checkpoint-2").exists()


def test_leftovers_are_removed_by_the_main_process_alone(run, capsys):
    recipe, out = run
    (storage.staging(out) / "checkpoint-6").mkdir(parents=True)
    (out / "checkpoint-old").mkdir()  # not ours
    find_checkpoint(recipe, main=False)
    assert storage.staging(out).exists() and capsys.readouterr().err == ""
    assert find_checkpoint(recipe) == out / "checkpoint-4"
    assert not storage.staging(out).exists()
    assert capsys.readouterr().err.startswith(f"removing {storage.staging(out)}")


def test_files_are_replaced_together_or_not_at_all(tmp_path):
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(OSError), storage.replacing(tmp_path) as folder:
        (folder / "a.json").write_text("new")
        raise OSError
    assert (tmp_path / "a.json").read_text() == "old"
    with storage.replacing(tmp_path) as folder:
        (folder / "a.json").write_text("new")
        (folder / "more").mkdir()
        (folder / "more" / "b").write_text("b")
        assert (tmp_path / "a.json").read_text() == "old"
    assert (tmp_path / "a.json").read_text() == "new"
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.json", "more"]


class Processes:
    def __init__(self, number, kind="MULTI_GPU"):
        self.num_processes, self.distributed_type, self.is_main_process = number, kind, True


def test_other_processes_are_said_or_refused(run, capsys):
    _, out = run
    check_processes(out / "checkpoint-4", Processes(1))
    assert capsys.readouterr().err == ""
    check_processes(out / "checkpoint-4", Processes(2))
    assert "written by 1 processes, there are 2" in capsys.readouterr().err
    with pytest.raises(RecipeError, match="sharding no, found 1 with deepspeed"):
        check_processes(out / "checkpoint-4", Processes(1, "DEEPSPEED"))
    write(out, 6, facts={"processes": 2, "sharding": "fsdp"})
    check_processes(out / "checkpoint-6", Processes(2, "FSDP"))
    with pytest.raises(RecipeError, match="written by 2 processes with sharding fsdp"):
        check_processes(out / "checkpoint-6", Processes(4, "FSDP"))
    assert json.loads((out / "checkpoint-6" / "files.json").read_text())["processes"] == 2
