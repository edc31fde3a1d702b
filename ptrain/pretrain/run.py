"""Trains the tiny base from scratch on linear traces: tokenizer, corpus, model, folder with card.

`python -m ptrain.pretrain RECIPE key=value …`, or launched on several processes; a stopped run
goes on from its last checkpoint. Needs torch and transformers alone; knows nothing of branches.
"""

import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import distributed
from transformers import PreTrainedTokenizerFast

from pbranch import console
from pbranch.errors import RecipeError
from pbranch.files.lock import locked_folder
from pbranch.files.recipe import load_recipe
from ptrain.artifacts.artifact import matches
from ptrain.artifacts.target import refuse_foreign
from ptrain.pretrain.config import PretrainRecipe, TrainSection
from ptrain.pretrain.corpus import list_files, load_corpus, read_texts
from ptrain.pretrain.loop import processes, start_run, train_run
from ptrain.pretrain.model import save_base
from ptrain.pretrain.tokenizer import train_tokenizer


def pretrain(recipe: PretrainRecipe) -> Path:
    """Train, or go on training, and return the folder of the finished model."""
    device = _choose_device(recipe.train)
    rank, world = processes()
    with nullcontext() if rank else locked_folder(Path(recipe.out)):
        return _pretrain(recipe, device, rank, world)


def _pretrain(recipe: PretrainRecipe, device: str, rank: int, world: int) -> Path:
    out, train = Path(recipe.out), recipe.train
    if not rank:
        own = any((out / name).exists() for name in ("state", "training.json"))
        refuse_foreign(out, sorted(p for p in out.iterdir() if matches(p.name)), own)
        (out / "state").mkdir(exist_ok=True)
    else:  # the first process makes the tokenizer and the corpus, the others read them
        distributed.barrier()
    tokenizer = _load_tokenizer(recipe, out)
    corpora = [
        load_corpus(list_files(files), tokenizer, train.max_length, out / "state" / f"{name}.npz")
        for name, files in (("first_corpus", recipe.first_data), ("corpus", recipe.data))
        if files
    ]
    if world > 1 and not rank:
        distributed.barrier()
    run = start_run(recipe, tokenizer, device)
    if rank:
        train_run(run, recipe, corpora, device)
        return out
    traces = sum(map(len, corpora))
    console.say(
        f"{sum(p.numel() for p in run.model.parameters()):,} parameters on {device}; "
        f"{traces:,} traces, {sum(len(c.ids) for c in corpora):,} tokens "
        f"({sum(c.dropped for c in corpora)} traces of more than {train.max_length} left out); "
        f"from step {run.step}"
    )
    train_run(run, recipe, corpora, device)
    facts = {
        "start": recipe.start,
        "seconds": round(run.seconds, 1),
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "processes": world,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "traces": traces,
        "tokens": run.step * train.batch_tokens,
        "steps": run.step,
        "loss": round(run.loss, 4),
    }
    save_base(run.model, tokenizer, out, recipe, facts)
    console.say(f"saved {out}")
    return out


def _choose_device(train: TrainSection) -> str:
    found = "cuda" if torch.cuda.is_available() else "cpu"
    if train.device == "cuda" and found == "cpu":
        raise RecipeError("train.device: found cuda, but this machine has no CUDA device; use cpu")
    return found if train.device == "auto" else train.device


def _load_tokenizer(recipe: PretrainRecipe, out: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of an earlier part of this run, or of `start`, else a new one."""
    if (out / "tokenizer.json").exists():
        return PreTrainedTokenizerFast.from_pretrained(out)
    if recipe.start:
        if not (Path(recipe.start) / "tokenizer.json").exists():
            raise RecipeError(f"start {recipe.start}: no such folder with a tokenizer.json")
        tokenizer = PreTrainedTokenizerFast.from_pretrained(recipe.start)
        tokenizer.save_pretrained(out)
        return tokenizer
    files = list_files([*recipe.first_data, *recipe.data])
    texts = read_texts(files, recipe.tokenizer_traces)
    tokenizer = train_tokenizer(texts, recipe.model.vocab, recipe.model.context)
    tokenizer.save_pretrained(out)
    return PreTrainedTokenizerFast.from_pretrained(out)


def main(path: str | None = None) -> None:
    """`python -m ptrain.pretrain RECIPE key=value …`; a launched recipe passes its own `path`."""
    arguments = sys.argv[1:]
    if path is None:
        if not arguments or arguments[0].startswith("-"):
            print("usage: python -m ptrain.pretrain RECIPE [key=value …]", file=sys.stderr)
            sys.exit(2)
        path, *arguments = arguments
    console.run(lambda: pretrain(load_recipe(PretrainRecipe, path, arguments)))
