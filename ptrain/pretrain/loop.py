"""The training loop of the tiny base: batches, schedule, checkpoints. Knows no files of text.

Everything that decides a weight hangs on the recipe and the step, so a resumed run equals an
undisturbed one. Several processes (accelerate launch) share each batch and average gradients.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import distributed
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from pbranch.console import say
from pbranch.errors import RecipeError
from pbranch.files.atomic import atomic_write
from ptrain.pretrain.config import PretrainRecipe, TrainSection
from ptrain.pretrain.corpus import Corpus
from ptrain.pretrain.model import build_config
from ptrain.pretrain.muon import Muon

# Masks already made, namely none: attention is causal, and transformers does not look for packed
# documents, which waits for the GPU.
PLAIN_CAUSAL = {"full_attention": None}


@dataclass(slots=True)
class Run:
    """The state of one training run: what a checkpoint holds."""

    model: Qwen3ForCausalLM
    optimizers: tuple[torch.optim.Optimizer, ...]
    step: int = 0
    seconds: float = 0.0
    loss: float = math.nan  # mean over the last log interval


def start_run(recipe: PretrainRecipe, tokenizer: PreTrainedTokenizerFast, device: str) -> Run:
    """A new model and optimizer, or those of the last checkpoint; new ones may have the weights of
    `recipe.start`. Raises RecipeError where those are of another shape."""
    train = recipe.train
    torch.manual_seed(train.seed)
    model = Qwen3ForCausalLM(build_config(recipe.model, tokenizer))
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=recipe.model.embedding_init_std)
    for layer in model.model.layers:
        for norm in (layer.self_attn.q_norm, layer.self_attn.k_norm):
            torch.nn.init.constant_(norm.weight, recipe.model.qk_norm_init)
    if recipe.start:
        _load_start(model, recipe.start)
    model.to(torch.device(device))  # type: ignore[arg-type]
    run = Run(model, _optimizers(model, train, device))
    _load_checkpoint(run, recipe, device)
    return run


def train_run(run: Run, recipe: PretrainRecipe, corpora: Sequence[Corpus], device: str) -> None:
    """Train to the last step, with a checkpoint every `save_every` steps and at the end; on the
    first of `corpora` for `first_steps`, then on the last."""
    train = recipe.train
    bf16 = train.dtype == "bfloat16" or (train.dtype == "auto" and device == "cuda")
    autocast = torch.autocast(device, torch.bfloat16) if bf16 else contextlib.nullcontext()
    body: Any = torch.compile(run.model.model) if train.compile else run.model.model
    rank, world = processes()
    total = torch.zeros((), device=device)  # summed on the device: reading it waits for the GPU
    began, marked, counted, tokens = time.monotonic() - run.seconds, time.monotonic(), 0, 0
    run.model.train()
    while run.step < train.steps:
        for param_group in (g for o in run.optimizers for g in o.param_groups):
            param_group["lr"] = param_group["initial_lr"] * schedule(run.step, train)
        corpus = corpora[0 if run.step < train.first_steps else -1]
        for ids, labels in _micro_batches(corpus, train, run.step, rank, world):
            ids, labels = ids.to(device), labels.to(device)
            with autocast:
                logits, targets = _predict(body, run.model.lm_head, ids, labels)
            loss = cross_entropy(logits.float(), targets) * world / train.micro_batches
            loss.backward()
            total += loss.detach()
            tokens += world * ids.numel()
        if world > 1:
            _average_gradients(run.model, world)
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), train.max_grad_norm)
        for optimizer in run.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        run.step += 1
        run.seconds = time.monotonic() - began
        counted += 1
        if run.step % train.log_every == 0 or run.step == train.steps:
            run.loss = total.item() / counted
            rate = tokens / (time.monotonic() - marked)
            if not math.isfinite(run.loss):
                raise RecipeError(f"step {run.step}: the loss is {run.loss}; lower train.lr")
            if rank == 0:
                say(f"step {run.step}/{train.steps}  loss {run.loss:.4f}  {rate:,.0f} tokens/s")
            total.zero_()
            marked, counted, tokens = time.monotonic(), 0, 0
        if rank == 0 and (run.step % train.save_every == 0 or run.step == train.steps):
            _save_checkpoint(run, recipe)


def _predict(
    body: Any, head: Any, ids: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (targets, vocabulary) of a micro-batch where it has targets, and those (targets,)."""
    # right padding under plain causal attention: no token sees it, so no mask is needed
    out = body(input_ids=ids, use_cache=False, attention_mask=PLAIN_CAUSAL)
    wanted = labels[:, 1:] != -100
    return head(out.last_hidden_state[:, :-1][wanted]), labels[:, 1:][wanted]


def _optimizers(
    model: Qwen3ForCausalLM, train: TrainSection, device: str
) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the matrices of the layers, AdamW for the embedding and the norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    writing = {
        id(m.weight) for x in model.model.layers for m in (x.self_attn.o_proj, x.mlp.down_proj)
    }
    groups = [
        {"params": [p for p in matrices if id(p) not in writing]},
        {
            "params": [p for p in matrices if id(p) in writing],
            "lr": train.lr * train.residual_lr_scale,
        },
    ]
    muon = Muon(groups, lr=train.lr, weight_decay=train.weight_decay)
    betas = (train.betas[0], train.betas[1])
    adamw = torch.optim.AdamW(
        others, lr=train.embedding_lr, betas=betas, weight_decay=0.0, fused=device == "cuda"
    )
    for group in (*muon.param_groups, *adamw.param_groups):
        group["initial_lr"] = group["lr"]
    return muon, adamw


def processes() -> tuple[int, int]:
    """Rank and number of the launched processes; (0, 1) when run alone."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return (distributed.get_rank(), world) if world > 1 else (0, 1)


def _average_gradients(model: Qwen3ForCausalLM, world: int) -> None:
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(flat)
    flat /= world
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def schedule(step: int, train: TrainSection) -> float:
    """Share of the learning rate: linear warm-up, constant, linear decay over the last steps.

    The constant part leaves the end open: a stopped run may go on with more or fewer `steps`.
    """
    if step < train.warmup:
        return (step + 1) / train.warmup
    return min(1.0, (train.steps - step) / max(1, train.lr_decay_steps))


def _micro_batches(
    corpus: Corpus, train: TrainSection, step: int, rank: int, world: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """This process's micro-batches of `step`: (ids, labels), each (documents, length). Short
    documents come first: looking up is learned sooner where there is little to look through."""
    share = min(1.0, 0.1 + 0.9 * step / max(1, train.length_warmup_steps))
    for number in range(rank, train.micro_batches, world):
        generator = np.random.default_rng([train.seed, step, number])
        ids, labels = corpus.micro_batch(
            share, train.batch_tokens // train.micro_batches, generator
        )
        yield torch.from_numpy(ids), torch.from_numpy(labels)


def _load_start(model: Qwen3ForCausalLM, folder: str) -> None:
    weights = load_file(Path(folder) / "model.safetensors")
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)  # casts to float32
    except RuntimeError as e:
        raise RecipeError(f"start {folder}: {str(e).splitlines()[-1].strip()}") from e
    if unexpected or missing != ["lm_head.weight"]:  # which is the embedding
        raise RecipeError(f"start {folder}: {(unexpected + missing)[0]} is not in both models")


def _checkpoint_path(recipe: PretrainRecipe) -> Path:
    return Path(recipe.out) / "state" / "checkpoint.pt"


def _identity(recipe: PretrainRecipe) -> str:
    """What a checkpoint must agree on: all of the recipe that changes the weights."""
    train = {
        k: v
        for k, v in asdict(recipe.train).items()
        if k not in ("save_every", "log_every", "steps")
    }
    data = [recipe.first_data, recipe.data, recipe.start]
    return json.dumps({"data": data, "model": asdict(recipe.model), "train": train})


def _save_checkpoint(run: Run, recipe: PretrainRecipe) -> None:
    state = {
        "recipe": _identity(recipe),
        "model": run.model.state_dict(),
        "optimizers": [o.state_dict() for o in run.optimizers],
        "step": run.step,
        "seconds": run.seconds,
        "loss": run.loss,
    }
    with atomic_write(_checkpoint_path(recipe)) as file:
        torch.save(state, file)


def _load_checkpoint(run: Run, recipe: PretrainRecipe, device: str) -> None:
    path = _checkpoint_path(recipe)
    if not path.exists():
        return
    state = torch.load(path, map_location=device, weights_only=True)
    if state["recipe"] != _identity(recipe):
        raise RecipeError(f"{path}: of another recipe; remove it or choose another out=")
    run.model.load_state_dict(state["model"])
    for optimizer, saved in zip(run.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    run.step, run.seconds, run.loss = state["step"], state["seconds"], state["loss"]
