"""What stops a run early, and cleanly: a signal, a loss that is not finite, no memory left.

All processes stop after the same step. Knows neither files of checkpoints nor the loss itself.
"""

import math
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from pbranch.console import interruptible
from pbranch.errors import TrainingError, is_out_of_memory
from ptrain.config import Recipe


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Whether a stop was asked for: by Ctrl-C, SIGTERM, SIGHUP as a closed terminal sends it, or
    SIGUSR1 as SLURM sends in advance."""
    wanted = ("SIGTERM", "SIGHUP", "SIGUSR1")
    names = [name for name in wanted if hasattr(signal, name)]  # not all on Windows
    with interruptible(*(signal.Signals[name] for name in names)) as asked:
        yield asked


class Guard(TrainerCallback):
    """Decides once an optimiser step, with the other processes, whether the run goes on.

    The one place where a step waits for the device; `note_batch` only keeps what is there already.
    """

    def __init__(self, recipe: Recipe, decode: Callable[[list[int]], str]) -> None:
        self.out, self.lr, self.decode = Path(recipe.out), recipe.train.lr, decode
        self.memory_hint = what_to_lower(recipe)
        self.asked: Callable[[], bool] = lambda: False  # see `stop_signals`
        self.stopped = False  # whether the run was stopped by a signal
        self.gradient: Any = None  # norm of the gradients, of all processes
        self._batches: list[tuple[Mapping[str, Tensor], Tensor]] = []

    def note_batch(self, batch: Mapping[str, Tensor], loss: Tensor) -> None:
        """Keep a micro-batch of this step with its loss."""
        self._batches.append((batch, loss))

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Intervals are those of the recipe; transformers would take the checkpoint's."""
        state.compute_steps(args, state.max_steps)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop before a loss or gradient that is not finite gets into the weights.

        Both are looked at: a loss can be infinite with finite gradients, and gradients can
        overflow under a finite loss. DeepSpeed has changed its weights by now, in `backward`; as
        the run ends here, they are never saved.
        """
        bad = [(batch, loss) for batch, loss in self._batches if not loss.isfinite()]
        flags = [float(self.asked()), float(len(bad) > 0)]
        asked, lost = reduce(torch.tensor(flags, device=args.device), "sum").tolist()
        self.stopped = asked > 0
        if not lost and self.gradient is not None and not math.isfinite(float(self.gradient)):
            self._report("the gradient", self._batches, args, state.global_step + 1)
        if lost:
            self._report("the loss", bad, args, state.global_step + 1)
        self._batches.clear()

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """After a signal save, and end the run; never save weights that are not finite."""
        if self.stopped and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True
            control.should_evaluate = False
        if control.should_save:
            broken = torch.tensor(float(not is_finite(model)), device=args.device)
            if reduce(broken, "sum").item():
                _fail(
                    f"step {state.global_step}: the optimiser has made weights that are no "
                    "numbers; they are not saved, the last checkpoint is whole. "
                    f"Lower train.lr ({self.lr})",
                    args.process_index == 0,
                )

    def _report(self, what: str, batches: list, args: Any, step: int) -> None:
        """Save the batches of this process, if any, and raise on all."""
        name = f"nan_batch_step_{step}"
        if args.world_size > 1:
            name += f"_rank_{args.process_index}"
        path, losses = self.out / f"{name}.pt", [x.item() for _, x in batches]
        if batches:
            moved = [{k: v.cpu() for k, v in batch.items()} for batch, _ in batches]
            texts = [[self.decode(ids) for ids in x["input_ids"].tolist()] for x in moved]
            stored = {"step": step, "rank": args.process_index, "losses": losses}
            torch.save(stored | {"batches": moved, "texts": texts}, path)
        PartialState().wait_for_everyone()  # a launcher ends the others when the first has gone
        found = f"{what} is {losses if what == 'the loss' else float(self.gradient)}"
        _fail(
            f"step {step}, rank {args.process_index}: {found}, expected a finite number; "
            f"its rows are in {path}, weights and checkpoints are those of before. "
            f"Lower train.lr ({self.lr}) or look at the rows",
            bool(batches),
        )


@contextmanager
def oom_as_training_error(
    hint: str, where: str, batch: Mapping[str, Tensor] | None = None
) -> Iterator[None]:
    """Memory that runs out in here is a TrainingError.

    hint: see `what_to_lower`. where: `step 3`. batch: what was being computed, a tensor `input_ids`
    (B, L) in it.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as e:
        if not is_out_of_memory(e):
            raise
        size = "" if batch is None else " on {} rows of {} tokens".format(*batch["input_ids"].shape)
        raise TrainingError(
            f"{where}, rank {PartialState().process_index}: out of memory{size}; lower {hint}"
        ) from e


def what_to_lower(recipe: Recipe) -> str:
    """The keys that save memory and are not yet at their lowest, with their present values."""
    train = recipe.train
    keys = []
    if train.micro_rows != 1:
        share = "all rows of a device" if train.micro_rows is None else train.micro_rows
        keys.append(f"train.micro_rows ({share})")
    keys.append(f"train.max_length ({train.max_length})")
    if recipe.tuning == "lora":
        keys.append(f"lora.r ({recipe.lora.r})")
    if not train.gradient_checkpointing:
        keys.append("or set train.gradient_checkpointing=true (false)")
    if recipe.tuning == "lora" and recipe.quantization is None:
        keys.append("or quantization=nf4 (none)")
    return ", ".join(keys)


def is_finite(model: Any) -> bool:
    """Whether all weights that are trained, as far as this process has them, are numbers."""
    trained = [p.detach() for p in model.parameters() if p.requires_grad]
    local = [p.to_local() if isinstance(p, DTensor) else p for p in trained]
    return all(bool(p.isfinite().all()) for p in local)


def _fail(message: str, speaks: bool) -> None:
    """TrainingError where this process has something to say, else the same end without a word."""
    if speaks:
        raise TrainingError(message)
    raise SystemExit(1)
