"""What a decoding step costs on one GPU, by branches, prefix and path, and what branches gain.
Random weights of real shapes in bfloat16; forced tokens. Not yet run on a GPU.

    python benchmarks/gpu.py [--out FILE.json] [--shapes qwen3-8b,…] [--prefixes 2048,16384]
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from gpu_report import SHAPES, Gain, Shape, Step, targets

OWN = 512  # tokens that a branch has written when its step is timed
LENGTH = 64  # tokens of a branch, where whole branches are timed
CANARY = 2**30  # bytes


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON; default: standard output")
    parser.add_argument("--shapes", type=names, default=list(SHAPES), help=",".join(SHAPES))
    parser.add_argument("--prefixes", type=counts, default=[2048, 16384], help="tokens")
    parser.add_argument("--branches", type=counts, default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--gains", type=counts, default=[8, 16], help="branches, for parallel_gain")
    parser.add_argument("--chunk", type=int, help="slots of one sequence of the kernel")
    parser.add_argument("--rounds", type=int, default=20, help="of each measurement; medians")
    args = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        sys.exit("gpu.py: no CUDA device here; nothing is measured")
    report = measure(args)
    text = json.dumps(report, indent=2) + "\n"
    args.out.write_text(text, encoding="utf-8") if args.out else print(text, end="")


def names(text: str) -> list[str]:
    """Shapes by name."""
    if wrong := [name for name in text.split(",") if name not in SHAPES]:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r}: expected {', '.join(SHAPES)}")
    return text.split(",")


def counts(text: str) -> list[int]:
    """Numbers above 0, by commas."""
    if not all(n.isdigit() and int(n) for n in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r}: expected numbers above 0, by commas")
    return [int(n) for n in text.split(",")]


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for, as the report says it."""
    import torch

    from pinfer.attention.flash import Flash
    from pinfer.attention.varlen_kernels import find_kernel

    flash = Flash(find_kernel(torch.device("cuda"), torch.bfloat16))
    flash = replace(flash, chunk=args.chunk) if args.chunk else flash
    bandwidth = copy_bandwidth(args.rounds)
    canary = {"copy_gb_s": bandwidth / 1e9, "gemm_tflop_s": gemm_rate(args.rounds) / 1e12}
    steps: list[Step] = []
    gains: list[Gain] = []
    with torch.inference_mode():
        for name in args.shapes:
            decoder = Decoder(name, flash, context=max(args.prefixes) + 64 * LENGTH)
            for prefix in args.prefixes:
                for n in args.branches:
                    steps.append(decoder.step(prefix, n, args.rounds, bandwidth))
                    print(steps[-1], file=sys.stderr)
                for n in args.gains:
                    gains.append(decoder.gain(prefix, n))
                    print(gains[-1], gains[-1].parallel_gain, file=sys.stderr)
            del decoder
            torch.cuda.empty_cache()
    canary["copy_gb_s_after"] = copy_bandwidth(args.rounds) / 1e9
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **machine(),
        "kernel": flash.kernel.name,
        "chunk": flash.chunk,
        "canary": canary,
        "steps": [asdict(s) for s in steps],
        "gains": [{**asdict(g), "parallel_gain": g.parallel_gain} for g in gains],
        "targets": targets(steps, gains),
    }


def machine() -> dict[str, Any]:
    """The device and the versions."""
    import torch

    from pinfer.commands.env import describe

    wanted = ("torch", "transformers", "flash-attn", "parallel-branches", "python", "cuda")
    return {
        "device": torch.cuda.get_device_name(),
        "capability": list(torch.cuda.get_device_capability()),
        "versions": {name: fact for name, fact in describe().items() if name in wanted},
    }


class Decoder:
    """A model of random weights on the device, eager and recorded."""

    def __init__(self, name: str, flash: Any, context: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        from pinfer.models.cuda_graphs import CudaGraphModel
        from pinfer.models.fast import FastModel

        self.name, self.shape, self.flash = name, SHAPES[name], flash
        with torch.device("cuda"):
            config = self.shape.config(context)
            model = AutoModelForCausalLM.from_config(
                config, dtype=torch.bfloat16, trust_remote_code=False
            ).eval()
        self.fast, self.device = FastModel(model), torch.device("cuda")
        self.captured = CudaGraphModel(self.fast)

    def step(self, prefix: int, branches: int, rounds: int, bandwidth: float) -> Step:
        """One step behind a shared prefix, each branch `OWN` tokens on."""
        import torch

        from pinfer.execution.forward import PassInput

        shape, dtype = self.shape, torch.bfloat16
        view = step_view(shape, prefix, branches, OWN, self.device, dtype, self.flash)
        drawn = torch.arange(branches, device=self.device)
        positions = view.positions.to(self.device)

        def call(model: Any) -> None:
            again = replace(view, _derived={})  # planned again
            model(PassInput(drawn, positions, again, drawn))

        eager, eager_host = timed(lambda: call(self.fast), rounds)
        graph, graph_host = timed(lambda: call(self.captured), rounds)
        share = self.shape.step_bytes(branches, prefix, OWN + 1) / bandwidth / (graph / 1e3)
        return Step(self.name, prefix, branches, eager, graph, eager_host, graph_host, share)

    def gain(self, prefix: int, branches: int) -> Gain:
        """A fork of `LENGTH` tokens a branch; the first run of each mode records its steps."""
        from pinfer.kv_cache.arena import Arena

        rows = prefix + (branches + 2) * (LENGTH + 16)
        arena = Arena(self.shape.layers, self.device, slots=2 * rows)
        seconds = {}
        for mode in ("serial", "parallel"):
            times = [branch_seconds(self, arena, mode, prefix, branches) for _ in range(3)]
            seconds[mode] = statistics.median(times[1:])
        return Gain(self.name, prefix, branches, seconds["serial"], seconds["parallel"])

    def wait(self) -> None:
        """Until the device has done all that was launched."""
        import torch

        torch.cuda.synchronize()


def step_view(
    shape: Shape, prefix: int, branches: int, own: int, device: Any, dtype: Any, backend: Any
) -> Any:
    """The view of a step of `branches` rows that share `prefix` slots and see `own` and themselves,
    over random keys and values."""
    import torch

    from pinfer.attention.view import Part, View
    from pinfer.kv_cache.arena import Arena

    arena = Arena(shape.layers, device, slots=prefix + branches * (own + 1))
    shared = arena.append(arena.open(prefix), list(range(prefix)))
    parts = [Part(torch.arange(branches, device=device), shared.start, prefix)]
    slots = []
    for i in range(branches):
        run = arena.append(arena.open(own + 1), list(range(prefix, prefix + own + 1)))
        parts.append(Part(torch.tensor([i], device=device), run.start, own + 1))
        slots.append(run[-1])
    for pools in (arena.keys, arena.values):
        for layer in range(shape.layers):
            size = (arena.slots, shape.kv_heads, shape.dim)
            pools[layer] = torch.randn(size, device=device, dtype=dtype)
    positions = torch.full((branches,), prefix + own)
    return View(arena, torch.tensor(slots, device=device), positions, parts, [], backend)


def branch_seconds(decoder: Any, arena: Any, mode: str, prefix: int, branches: int) -> float:
    """Seconds of the passes that feed a word to each live branch and nothing else, scheduling and
    sampling included: `LENGTH` of them in parallel, and as many for each branch one by one."""
    import torch

    from pinfer.core import Core
    from pinfer.execution.runner import Runner
    from pinfer.kv_cache.lanes import LaneCache
    from pinfer.params import EngineLimits
    from pinfer.sampling.sampler import Sampler
    from pinfer.sampling.scripted import ScriptedSampler
    from pinfer.scheduling.scheduler import Scheduler

    spec, legal, script = forced(decoder.shape.vocabulary, branches, LENGTH)
    runner = Runner(decoder.captured, decoder.flash)
    runner.cache = LaneCache(arena)
    scheduler = Scheduler(spec, EngineLimits(max_prefix_rows=0), runner.cache)
    sampler = ScriptedSampler(before=Sampler(torch.from_numpy(legal).to(decoder.device)))
    core, fed = Core(scheduler, runner, sampler), []
    schedule = scheduler.schedule

    def watched() -> Any:
        fed.append(schedule())
        return fed[-1]

    scheduler.schedule = watched  # type: ignore[method-assign]
    request = scheduler.add([7] * prefix, request_params(mode, branches))
    sampler.add(request.number, script)
    seconds = 0.0
    while core.busy:
        decoder.wait()
        start = time.perf_counter()
        core.step()
        decoder.wait()
        sampled = fed[-1].sampled
        if len(sampled) == len(fed[-1].tokens) and all(x.lane.in_branch for x in sampled):
            seconds += time.perf_counter() - start
    return seconds


def request_params(mode: str, branches: int) -> Any:
    """Enough of everything for `forced`."""
    from pinfer.params import SamplingParams

    tokens = branches * (LENGTH + 4) + 16
    return SamplingParams(max_new_tokens=tokens, mode=mode, max_topics=branches, fork="always")


def forced(
    vocabulary: int, branches: int, length: int
) -> tuple[Any, Any, dict[Any, Iterator[int]]]:
    """Spec, the grammar's table, and what each lane is made to draw: one fork, `length` tokens a
    branch, a word after the join, the end."""
    from pbranch.format.grammar import legal_table
    from pbranch.format.markers import MarkerIds
    from pinfer.model_spec import ModelSpec

    markers = MarkerIds(fork=0, topic=1, spawn=2, branch=3, end=4, join=5)
    end_of_text, word = 6, 7
    spec = ModelSpec(markers, frozenset({end_of_text}), 2**20)
    table = legal_table(markers, [end_of_text], vocabulary, range(vocabulary))
    outline = [markers.fork, *[markers.topic, word] * branches, markers.spawn]
    script: dict[Any, Iterator[int]] = {(): iter([*outline, word, end_of_text])}
    for i in range(branches):
        script[((0, i),)] = iter([*[word] * length, markers.end])
    return spec, table, script


def timed(call: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Median milliseconds of a call, on the device, and of the host until it is launched."""
    import torch

    device, host = [], []
    for i in range(rounds + 3):
        torch.cuda.synchronize()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start = time.perf_counter()
        begin.record()
        call()
        end.record()
        launched = time.perf_counter() - start
        torch.cuda.synchronize()
        if i >= 3:  # the first ones record graphs and choose kernels
            device.append(begin.elapsed_time(end))
            host.append(1e3 * launched)
    return statistics.median(device), statistics.median(host)


def copy_bandwidth(rounds: int) -> float:
    """Bytes a second that a copy reads and writes."""
    import torch

    source = torch.zeros(CANARY, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * CANARY / (timed(lambda: target.copy_(source), rounds)[0] / 1e3)


def gemm_rate(rounds: int, n: int = 8192) -> float:
    """Operations a second of a product of bfloat16 matrices."""
    import torch

    a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * n**3 / (timed(lambda: a @ b, rounds)[0] / 1e3)


if __name__ == "__main__":
    main()
