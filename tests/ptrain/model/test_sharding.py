"""The same run over several processes: plain, ZeRO-2, ZeRO-3, FSDP2, and two machines."""

import json
import os
import shutil
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.ptrain.conftest import make_base, make_records, write_records
from tests.support.repository import ROOT

pytestmark = pytest.mark.slow

LAUNCHES = ROOT / "recipes" / "accelerate"
ACCELERATE = Path(sys.executable).parent / "accelerate"
STEPS = 20
needs_deepspeed = pytest.mark.skipif(
    find_spec("deepspeed") is None, reason="deepspeed is not installed"
)
WAYS = [
    "cpu2",
    "fsdp2",
    pytest.param("zero2", marks=needs_deepspeed),
    pytest.param("zero3", marks=needs_deepspeed),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with an untied base whose vocabulary must grow, and traces."""
    folder = tmp_path_factory.mktemp("distributed")
    make_base(folder / "base", "llama", spare=0)
    write_records(folder / "traces.jsonl", make_records(40))
    return folder


def overrides(place: Path, name: str, *more: str) -> list[str]:
    return [
        "recipes/sft.yaml", f"model={place / 'base'}", f"data={place / 'traces.jsonl'}",
        f"out={place / name}", f"train.steps={STEPS}", "train.batch_rows=4", "train.save_steps=10",
        "train.logging_steps=1", "train.device=cpu", "lora.r=4", *more,
    ]  # fmt: skip


def free_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def start(config: str, *arguments: str) -> subprocess.Popen:
    """`accelerate launch` by one of the shipped launch configs, from the checkout's folder."""
    path = f"{ACCELERATE.parent}{os.pathsep}{os.environ['PATH']}"  # DeepSpeed calls ninja
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PATH": path}
    command = [ACCELERATE, "launch", "--config_file", LAUNCHES / f"{config}.yaml", *arguments]
    return subprocess.Popen(
        list(map(str, command)), cwd=ROOT, env=env, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> None:
    try:
        error = process.communicate(timeout=500)[1]
    finally:
        process.kill()
    assert process.returncode == 0, error[-3000:]


def launch(config: str, *arguments: str) -> None:
    port = () if config == "cpu1" else ("--main_process_port", free_port())
    finish(start(config, *port, *arguments))


def losses(folder: Path) -> list[float]:
    """The loss of each step of a run, across its resumes."""
    state = json.loads((folder / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


def adapter(folder: Path) -> dict:
    return load_file(folder / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def alone(place) -> Path:
    """The run of one process."""
    launch("cpu1", *overrides(place, "alone"))
    return place / "alone"


def agree(folder: Path, alone: Path) -> None:
    """Losses of 20 steps to 1e-3, and adapters near to one another."""
    one, many = losses(alone), losses(folder)
    assert len(one) == len(many) == STEPS and one[-1] < one[0] - 0.5
    worst = max(abs(a - b) for a, b in zip(one, many, strict=True))
    a, b = adapter(alone), adapter(folder)
    assert a.keys() == b.keys() and all(a[k].shape == b[k].shape for k in a)
    apart = max((a[k] - b[k]).abs().mean().item() for k in a)
    print(f"{folder.name}: losses at most {worst:.1e} apart, adapters {apart:.1e} in the mean")
    assert worst < 1e-3
    assert apart < 1e-3  # a third of one step of Adam at the peak


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_train_what_one_trains(place, alone, way):
    launch(way, "-m", "ptrain", *overrides(place, way))
    report = json.loads((place / way / "train_report.json").read_text())
    assert report["processes"] == 2
    assert report["trainable_params"] == sum(x.numel() for x in adapter(alone).values())
    agree(place / way, alone)


@pytest.mark.parametrize("way", WAYS[1:])
def test_split_runs_go_on_where_they_were_stopped(place, alone, way):
    folder = place / f"{way}-resumed"
    launch(way, "-m", "ptrain", *overrides(place, folder.name))
    before = adapter(folder)
    shutil.rmtree(folder / f"checkpoint-{STEPS}")
    (folder / "adapter_model.safetensors").unlink()
    launch(way, "-m", "ptrain", *overrides(place, folder.name))
    after = adapter(folder)
    assert max((before[k] - after[k]).abs().max().item() for k in before) < 1e-6
    agree(folder, alone)


LOAD = """
import sys, torch
from ptrain.config import Recipe
from ptrain.model.sharding import find_sharding
from ptrain.train import load_model

sharding = find_sharding(cpu=True)
base, model = load_model(Recipe(data="-", model=sys.argv[1]), sharding, torch.float32)
# all but embedding and head, which had to grow: transformers makes those anew, and whole
frozen = [p for n, p in model.named_parameters() if ".layers." in n and not p.requires_grad]
assert sharding == "zero3" and frozen
assert all(p.numel() == 0 and p.ds_numel > 0 for p in frozen)  # each process holds a part
"""


@needs_deepspeed
def test_zero3_loads_in_parts(place, tmp_path):
    (tmp_path / "load.py").write_text(LOAD)
    launch("zero3", str(tmp_path / "load.py"), str(place / "base"))


@pytest.mark.parametrize("way", WAYS[1:])
def test_full_tuning_is_saved_whole(place, way):
    more = ["tuning=full", "train.steps=2", "train.lr=1e-3"]
    launch("cpu1", *overrides(place, "full", *more, "resume=never"))
    launch(way, "-m", "ptrain", *overrides(place, f"{way}-full", *more))
    one, many = (load_file(place / n / "model.safetensors") for n in ("full", f"{way}-full"))
    assert one.keys() == many.keys()
    assert max((one[k].float() - many[k].float()).abs().mean().item() for k in one) < 1e-4


def test_two_machines_train_what_one_trains(place, alone):
    """Two launchers of a process each, that meet on loopback as machines do."""
    port = free_port()
    machines = [
        start(
            "multi_node", "--num_machines", "2", "--num_processes", "2", "--machine_rank", rank,
            "--main_process_ip", "127.0.0.1", "--main_process_port", port,
            "-m", "ptrain", *overrides(place, "machines"),
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    for machine in machines:
        finish(machine)
    agree(place / "machines", alone)
