"""Runs in processes of their own, killed or asked to stop, that go on to the same bits."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from ptrain.checkpoints.storage import find_damage, list_checkpoints, step_of
from tests.support.process_group import SIGNALS, heed_signals
from tests.support.repository import ROOT
from tests.support.run_command import run_command

pytestmark = pytest.mark.slow

SFT = ROOT / "recipes" / "sft.yaml"
LAUNCH = [
    Path(sys.executable).parent / "accelerate", "launch",
    "--config_file", ROOT / "recipes" / "accelerate" / "cpu2.yaml",
]  # fmt: skip
STEPS = 24
KILLS = int(os.environ.get("KILLS", "3"))  # by each signal; KILLS=20 takes a quarter of an hour


class Runs:
    """Runs of one recipe under `root`; dropout on, a checkpoint at each step."""

    def __init__(self, root, base, data, processes=1):
        self.root, self.base, self.data, self.processes = root, base, data, processes

    def start(self, name, **changes):
        """A process; its stderr goes to a file, as a pipe that nobody reads would block."""
        options = {
            "model": self.base, "data": self.data, "out": self.root / name, "eval_share": 0.2,
            "lora.r": 4, "lora.dropout": 0.1, "train.steps": STEPS, "train.batch_rows": 4,
            "train.lr": 1e-2, "train.logging_steps": 3, "train.eval_steps": 10,
            "train.save_steps": 1, "train.device": "cpu",
        } | changes  # fmt: skip
        python = [sys.executable] if self.processes == 1 else LAUNCH
        command = [*python, "-m", "ptrain", SFT, *(f"{k}={v}" for k, v in options.items())]
        with self.log(name).open("a") as log:
            return subprocess.Popen(
                list(map(str, command)), stdout=subprocess.DEVNULL, stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1"}, preexec_fn=heed_signals,
            )  # fmt: skip

    def log(self, name):
        return self.root / f"{name}.log"

    def finish(self, name):
        assert self.start(name).wait(300) == 0, self.log(name).read_text()

    def wait_for(self, name, process, words):
        """Until `words` are in the log."""
        start = time.monotonic()
        while words not in self.log(name).read_text():
            assert process.poll() is None and time.monotonic() - start < 200, words
            time.sleep(0.005)

    def result(self, name):
        """Adapter, and the lines of loss in the log of the last checkpoint."""
        out = self.root / name
        state = json.loads((out / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
        losses = [x for x in state["log_history"] if "loss" in x]
        return load_file(out / "adapter_model.safetensors"), losses

    def assert_same(self, one, other):
        (weights, losses), (expected, expected_losses) = self.result(one), self.result(other)
        assert weights.keys() == expected.keys() and losses == expected_losses
        assert all(torch.equal(weights[k], expected[k]) for k in expected)


def kill(process):
    """Kill -9 a process and all that it has started: a launcher's are in sessions of their own."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
    psutil.wait_procs(family)


def last_step(out):
    return max(map(step_of, list_checkpoints(out)), default=0)


def kill_at_random(runs, name, seed, times=3, number=signal.SIGKILL):
    """Stop runs by signal `number`, `times` in all, at random moments: while they load, while they
    train, while they save. Each goes on where the one before was stopped; a run that ends is
    compared with the undisturbed one, and the next starts anew. Returns what was found after each.
    """
    rng, found, current = random.Random(seed), [], f"{name}-0"
    while len(found) < times:
        out = runs.root / current
        process = runs.start(current)
        if rng.random() < 0.2:  # before its first step
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0, 5))
        else:  # counted in new checkpoints, so that runs get on, be they fast or slow
            goal = last_step(out) + rng.randint(1, 4)
            while last_step(out) < goal and process.poll() is None:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.1))
        if process.poll() is None:
            if number == signal.SIGKILL:
                kill(process)
            else:
                process.send_signal(number)
                process.wait(60)
        if process.returncode == 0:  # it was faster
            runs.assert_same(current, "whole")
            current = f"{name}-{int(current.rsplit('-', 1)[1]) + 1}"
            continue
        checkpoints = list_checkpoints(out)
        assert not any(map(find_damage, checkpoints)), runs.log(current).read_text()
        last = checkpoints[-1].name if checkpoints else "none"
        found.append((process.returncode, last, (out / ".partial").exists()))
    runs.finish(current)
    runs.assert_same(current, "whole")
    return found


@pytest.fixture(scope="module")
def alone(bases, data, tmp_path_factory):
    """One process, and its undisturbed run `whole`."""
    runs = Runs(tmp_path_factory.mktemp("alone"), bases["qwen3"], data)
    runs.finish("whole")
    return runs


@pytest.fixture(scope="module")
def pair(bases, data, tmp_path_factory):
    """Two processes over gloo, and their undisturbed run `whole`."""
    runs = Runs(tmp_path_factory.mktemp("pair"), bases["llama"], data, processes=2)
    runs.finish("whole")
    return runs


@pytest.mark.parametrize("number", SIGNALS, ids=lambda n: n.name)
def test_runs_stopped_at_random_end_with_the_same_bits(alone, number):
    seed = int(os.environ.get("KILL_SEED", "0"))
    found = kill_at_random(alone, f"killed-{number.name}", seed, KILLS, number)
    print(f"{number.name}: exit status, last checkpoint and whether one was half-written:", found)
    assert len(found) == KILLS


def test_two_processes_killed_end_with_the_same_bits(pair):
    found = kill_at_random(pair, "killed", seed=1, times=2)
    print("after each kill, last checkpoint and whether one was half-written:", found)
    folder = list_checkpoints(pair.root / "killed-0")[-1]
    assert len(list(folder.glob("rng_state_*.pth"))) == len(list(folder.glob("loss_*.pt"))) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_ends_with_130_and_one_line(alone, number):
    name = number.name
    process = alone.start(name)
    alone.wait_for(name, process, "step 3/")
    process.send_signal(number)
    assert process.wait(60) == 130
    line = alone.log(name).read_text().splitlines()[-1]
    step = re.fullmatch(
        rf"interrupted: step (\d+) of {STEPS} is saved in .*; the same command goes on from there",
        line,
    )
    assert step, line
    last = list_checkpoints(alone.root / name)[-1]
    assert last.name == f"checkpoint-{step[1]}" and int(step[1]) < STEPS
    alone.finish(name)
    alone.assert_same(name, "whole")


def test_a_signal_to_one_of_two_processes_stops_both_at_one_step(pair):
    process = pair.start("asked")
    pair.wait_for("asked", process, "step 3/")
    workers = [
        p for p in psutil.Process(process.pid).children(recursive=True) if "-m" in p.cmdline()
    ]
    assert len(workers) == 2
    workers[1].send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    log = pair.log("asked").read_text()
    lines = [x for x in log.splitlines() if x.startswith("interrupted: step")]
    assert len(lines) == 1, log
    last = list_checkpoints(pair.root / "asked")[-1]
    assert last.name == f"checkpoint-{lines[0].split()[2]}" != f"checkpoint-{STEPS}"
    pair.finish("asked")
    pair.assert_same("asked", "whole")


def test_ctrl_c_to_a_launcher_saves(pair):
    process = pair.start("group")
    pair.wait_for("group", process, "step 3/")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    assert pair.log("group").read_text().count("interrupted: step") == 1
    pair.finish("group")
    pair.assert_same("group", "whole")


POISON = """
import os, sys
from ptrain.recipe import main
from ptrain.trainer.branch_trainer import BranchSFTTrainer as Trainer

compute = Trainer.compute_loss

def poisoned(self, *args, **kwargs):
    bad = os.environ["RANK"] == "1" and self.state.global_step == 2
    return compute(self, *args, **kwargs) * (float("nan") if bad else 1.0)

Trainer.compute_loss = poisoned
main(sys.argv[1], sys.argv[2:])
"""


def test_a_bad_loss_of_one_process_stops_both_and_is_said_once(bases, data, tmp_path):
    script, out = tmp_path / "poison.py", tmp_path / "out"
    script.write_text(POISON)
    options = {
        "model": bases["qwen3"], "data": data, "out": out, "train.steps": 4, "lora.r": 2,
        "train.batch_rows": 4, "train.save_steps": 1, "train.device": "cpu",
    }  # fmt: skip
    done = run_command(*LAUNCH, script, SFT, *(f"{k}={v}" for k, v in options.items()))
    assert done.returncode == 1
    errors = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    path = out / "nan_batch_step_3_rank_1.pt"
    assert len(errors) == 1 and "step 3, rank 1: the loss is [nan]" in errors[0], done.stderr
    assert str(path) in errors[0] and torch.load(path, weights_only=True)["rank"] == 1
    last = list_checkpoints(out)[-1]
    weights = load_file(last / "adapter_model.safetensors")
    assert last.name == "checkpoint-2" and all(w.isfinite().all() for w in weights.values())
