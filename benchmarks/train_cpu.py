"""How fast one CPU thread trains a real base with LoRA, next to plain trl.

    python benchmarks/train_cpu.py --model FOLDER [--dtype bfloat16] [--rounds 5]

Three arms take one optimiser step each on the same tokens and targets, in turn within a round:
  ours     a tree of four branches, marker rows trained, as `ptrain sft` runs it
  markers  the same through trl's fused head and peft's layers, as this project ran it before
  plain    LoRA by trl and peft alone: causal text, stock SDPA, no marker row trained
A figure is the median over rounds; a ratio is the median of the ratios within a round. Times are
CPU time of the process. Peaks are of the resident memory, each arm in a process of its own.
"""

import argparse
import json
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from train import make_layout
from transformers import AutoModelForCausalLM
from trl.trainer.utils import add_fused_lm_head

from ptrain.config import LoraOptions
from ptrain.data.collator import collate
from ptrain.model import attention
from ptrain.model.base import add_lora, load_base
from ptrain.model.fast_layers import use_fast_layers
from ptrain.model.vocabulary import use_frozen_vocabulary

ARMS = ("ours", "markers", "plain")
OUTPUTS = ("log_probs", "entropy", "is_top1")  # what trl's SFTTrainer asks its head for
LORA = LoraOptions()
TREE = (4, 64)  # branches, and tokens of each


def make_model(arm: str, folder: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """The model of an arm, and the markers of the base."""
    base = load_base(folder, dtype)
    if arm == "plain":
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=False)
        add_fused_lm_head(plain, outputs=OUTPUTS)
        config = LoraConfig(
            task_type="CAUSAL_LM", r=LORA.r, lora_alpha=LORA.alpha, target_modules="all-linear"
        )
        return get_peft_model(plain, config), base.markers
    add_fused_lm_head(base.model, outputs=OUTPUTS)
    model = add_lora(base, LORA)
    model.set_attn_implementation(attention.choose_attention("auto", "cpu", 0, model.config))
    if arm == "ours":
        use_frozen_vocabulary(model)
        use_fast_layers(model)
    return model, base.markers


def make_step(arm: str, folder: str, dtype: torch.dtype) -> Callable[[], float]:
    """A function that takes one optimiser step and returns its CPU seconds."""
    model, markers = make_model(arm, folder, dtype)
    model.train()
    batch = collate([make_layout(*TREE, random.Random(0), markers)])
    kept = ("input_ids", "shift_labels")
    if arm != "plain":
        kept += ("position_ids", "attention_mask")  # type: ignore[assignment]
    batch = {key: batch[key] for key in kept}
    if arm == "plain":  # whose vocabulary has no markers
        words = model.get_input_embeddings().num_embeddings
        batch = {key: ids.clamp(max=words - 1) for key, ids in batch.items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    count = int((batch["shift_labels"] != -100).sum())

    def step() -> float:
        began = time.process_time()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            output = model(**batch, use_cache=False, fused_lm_head=True)
            loss = -output.log_probs.sum() / count
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return time.process_time() - began

    step.tokens = batch["input_ids"].numel()  # type: ignore[attr-defined]
    return step


def measure_peak(arm: str, args: argparse.Namespace) -> int:
    """Bytes that a process which takes two steps of an arm has resident at its peak."""
    command = [sys.executable, __file__, "--model", args.model, "--dtype", args.dtype]
    done = subprocess.run([*command, "--peak", arm], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def print_peak(arm: str, args: argparse.Namespace) -> None:
    """Take two steps; print this process's peak."""
    step = make_step(arm, args.model, getattr(torch, args.dtype))
    step(), step()
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    print(int(found[1]) * 1024 if found else 0)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Tokens a second, ratios and peaks."""
    dtype = getattr(torch, args.dtype)
    steps = {arm: make_step(arm, args.model, dtype) for arm in ARMS}
    times: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for turn in range(args.rounds + 1):
        for arm in ARMS[turn % 3 :] + ARMS[: turn % 3]:
            taken = steps[arm]()
            times[arm] += [taken] if turn else []
        shown = ", ".join(f"{arm} {t[-1]:.2f} s" for arm, t in times.items() if t) or "warm-up"
        print(shown, file=sys.stderr, flush=True)
    tokens = steps["ours"].tokens  # type: ignore[attr-defined]
    peaks = {arm: measure_peak(arm, args) for arm in ARMS}
    return {
        "model": args.model,
        "dtype": args.dtype,
        "tokens": tokens,
        "rounds": args.rounds,
        "torch": torch.__version__,
        "tokens_per_second": {a: tokens / statistics.median(t) for a, t in times.items()},
        "against": {
            arm: statistics.median(a / b for a, b in zip(times[arm], times["ours"], strict=True))
            for arm in ARMS[1:]
        },
        "peak_bytes": peaks,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="a folder or a Hub id")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peak", choices=ARMS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.peak:
        print_peak(args.peak, args)
        return
    result = run(args)
    if args.json:
        print(json.dumps(result))
        return
    print(f"{args.model}, {args.dtype}, a row of {result['tokens']} tokens, one thread")
    for arm in ARMS:
        ratio = result["against"].get(arm)
        print(
            f"{arm:8} {result['tokens_per_second'][arm]:6.1f} tokens/s, peak "
            f"{result['peak_bytes'][arm] / 1e9:.2f} GB"
            + (f"; its time / ours: {ratio:.2f}" if ratio else "")
        )


if __name__ == "__main__":
    main()
