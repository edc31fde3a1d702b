"""A recipe in trl's words, and what of it this machine or this launch cannot do.

Knows neither model nor data.
"""

import math

import torch
from accelerate import PartialState
from transformers.integrations import (
    INTEGRATION_TO_CALLBACK,
    get_available_reporting_integrations,
)
from transformers.training_args import OptimizerNames
from trl import SFTConfig

from pbranch.errors import RecipeError, did_you_mean
from ptrain.config import TrainOptions
from ptrain.trainer.micro_batches import split_batch


def make_sft_config(
    train: TrainOptions, out: str, seed: int, steps: int, evaluates: bool
) -> SFTConfig:
    """trl's arguments of a run of `steps` optimiser steps; evaluates: something is held out.
    `train` is filled in, see `ptrain.model.defaults`."""
    assert train.lr is not None
    cpu = use_cpu(train.device)
    processes = PartialState(cpu=cpu).num_processes
    micro, accumulation = split_batch(train.batch_rows, train.micro_rows, processes)
    return SFTConfig(
        output_dir=out,
        max_steps=steps,
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        learning_rate=train.lr,
        optim=choose_optimizer(train.optimizer),
        lr_scheduler_type=train.schedule,
        warmup_steps=math.ceil(train.warmup * steps),
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        gradient_checkpointing=train.gradient_checkpointing,
        bf16=train.dtype == "bfloat16",
        use_cpu=cpu,
        seed=seed,
        logging_steps=train.logging_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # it hides what the guard looks for, and waits at each batch
        eval_strategy="steps" if train.eval_steps and evaluates else "no",
        eval_steps=train.eval_steps or None,
        save_steps=train.save_steps,
        save_total_limit=2,
        report_to=train.report_to,
        disable_tqdm=True,
        # sequences come laid out, packed and in order
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        train_sampling_strategy="sequential",
        dataloader_pin_memory=not cpu,
        ddp_find_unused_parameters=False,
        router_aux_loss_coef=0.0,  # its formula takes a 2-D mask only
    )


def choose_optimizer(name: str) -> str:
    """`name`, if it is one of transformers' optimisers."""
    names = [str(x.value) for x in OptimizerNames]
    if name not in names:
        hint = did_you_mean(name, names)
        raise RecipeError(
            f"train.optimizer: found {name!r}, expected one of transformers' optimizers{hint}"
        )
    return name


def use_cpu(device: str) -> bool:
    """Whether to train on the CPU; RecipeError where the device asked for is missing."""
    if device == "cuda" and not torch.cuda.is_available():
        raise RecipeError("train.device: found cuda, but this machine has no CUDA device; use cpu")
    return device == "cpu" or not torch.accelerator.is_available()


def check_reporter(name: str) -> None:
    """Raise RecipeError where `train.report_to` names what transformers does not know, or what is
    not installed."""
    installed = get_available_reporting_integrations()
    if name not in ("none", "all", *installed):
        what = "is not installed" if name in INTEGRATION_TO_CALLBACK else "is not known"
        raise RecipeError(
            f"train.report_to: {name} {what}; expected none, all, or one of {', '.join(installed)}"
        )
