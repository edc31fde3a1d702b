"""trl's SFTTrainer made to resume bit for bit, to write whole checkpoints, and to stop cleanly.

Knows no branches and no loss. What transformers already restores (weights, optimiser, schedule,
random numbers of each process, place in the data) is left to it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from trl import SFTTrainer

from ptrain.checkpoints import storage
from ptrain.checkpoints.resume import checkpoint_errors, describe_processes
from ptrain.model.lora import convert_for_original_base, load_converted
from ptrain.trainer.guard import Guard, oom_as_training_error


class ResumableSFTTrainer(SFTTrainer):
    """Writes checkpoints into the run's folder `out`, and does what its Guard says.

    A checkpoint is an adapter, or a model, that can be used as it lies. facts: stored with it.
    initial: see `copy_initial_weights`. write_metadata: given its folder and the trainer's state,
    puts there what lies next to the weights.
    """

    facts: dict[str, Any]
    initial: dict[str, Tensor]
    write_metadata: Callable[[Path, Any], None]

    def __init__(self, *args: Any, guard: Guard, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.guard, self.out = guard, Path(str(self.args.output_dir))
        self.add_callback(guard)
        self.facts, self.initial, self.write_metadata = {}, {}, lambda folder, state: None

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward, watched by the guard."""
        where = f"step {self.state.global_step + 1}"
        with oom_as_training_error(self.guard.memory_hint, where, inputs):
            loss = super().training_step(model, inputs, num_items_in_batch)
        self.guard.note_batch(inputs, loss)
        return loss

    def prediction_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """As trl's, watched for memory."""
        where = f"evaluation after step {self.state.global_step}"
        with oom_as_training_error(self.guard.memory_hint, where, inputs):
            return super().prediction_step(model, inputs, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Draws no random number of the run's: when it happens changes no weight."""
        device = self.args.device
        devices = [] if device.type == "cpu" else [device]
        with torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"):
            return super().evaluate(*args, **kwargs)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The guard reads it before the optimiser changes a weight."""
        self.guard.gradient = super()._get_grad_norm(model, grad_norm)
        return self.guard.gradient

    def _get_output_dir(self, trial: Any) -> str:
        """Where checkpoints are written, before `_save_checkpoint` gives them their names."""
        return str(storage.staging(self.out))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Without trl's model card, which would describe a checkpoint as a finished model."""
        with storage.unstaging(self.out):
            super(SFTTrainer, self)._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # each process writes files of its own
            if self.args.should_save:
                step, keep = self.state.global_step, self.args.save_total_limit or 0
                folder = storage.staging(self.out) / f"checkpoint-{step}"
                convert_for_original_base(folder, self.initial)
                self.write_metadata(folder, self.state)
                facts = describe_processes(self.accelerator) | self.facts
                storage.settle(self.out, step, keep, facts)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """And one whose adapter was converted for the whole base, back onto the base without its
        initial weights."""
        with checkpoint_errors(resume_from_checkpoint):
            if self.initial and not self.is_fsdp_enabled:
                load_converted(model or self.model, Path(resume_from_checkpoint), self.initial)
            else:
                super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """And the rates of this run's schedule: it may be longer than that of the checkpoint."""
        with checkpoint_errors(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)
        schedule = self.lr_scheduler
        if checkpoint is not None and isinstance(schedule, LambdaLR):
            shares = [share(schedule.last_epoch) for share in schedule.lr_lambdas]
            rates = [lr * share for lr, share in zip(schedule.base_lrs, shares, strict=True)]
            for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
            schedule._last_lr = rates  # what is logged

    def _save_rng_state(self, output_dir: str) -> None:
        """And the losses since the last line of the log, which transformers would forget."""
        super()._save_rng_state(output_dir)
        torch.save(
            {"loss": self._tr_loss, "logged": self._globalstep_last_logged},
            self._loss_file(output_dir),
        )

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with checkpoint_errors(checkpoint):
            super()._load_rng_state(checkpoint)
            file = self._loss_file(checkpoint or "")
            if file.is_file():
                stored = torch.load(file, "cpu", weights_only=True)
                self._tr_loss = stored["loss"].to(self.args.device)
                self._globalstep_last_logged = stored["logged"]

    def _loss_file(self, folder: str) -> Path:
        return Path(folder) / f"loss_{self.args.process_index}_of_{self.args.world_size}.pt"
