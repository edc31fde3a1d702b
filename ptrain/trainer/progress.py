"""A run's callbacks: a line now and then on stderr, and a call when all is ready to train."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from transformers import TrainerCallback

from pbranch.console import say

RATES = {
    "eval_format_rate": "format kept",
    "eval_format_rate_linear": "linear without marker",
    "eval_mean_branches": "branches",
    "eval_accepted": "accepted a round",
}


class Progress(TrainerCallback):
    """Step, loss, seconds a step and time left; a line for each evaluation."""

    def __init__(self) -> None:
        self.started, self.first = 0.0, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note where the run starts: a resumed one has done steps already."""
        self.started, self.first = time.perf_counter(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """One line for what has just been logged."""
        if not state.is_world_process_zero or not logs:
            return
        if "eval_loss" in logs:
            kinds = [f"{k[10:]} {v:.3f}" for k, v in logs.items() if k.startswith("eval_loss_")]
            loss = f"held-out loss {logs['eval_loss']:.4f}"
            loss += f" ({', '.join(kinds)})" if kinds else ""
            rates = [f"{text} {logs[key]:.2f}" for key, text in RATES.items() if key in logs]
            parts = [loss, _spell_markers(logs), _spell_forks(logs), _spell_drafts(logs), *rates]
            say(f"step {state.global_step}: {'; '.join(filter(None, parts))}")
        elif "loss" in logs:
            done = state.global_step - self.first
            seconds = (time.perf_counter() - self.started) / max(done, 1)
            left = seconds * (state.max_steps - state.global_step)
            say(
                f"step {state.global_step}/{state.max_steps}  loss {logs['loss']:.4f}  "
                f"lr {logs['learning_rate']:.1e}  {seconds:.2f} s/step  {left / 60:.1f} min left"
            )


def _spell_markers(logs: Mapping[str, float]) -> str:
    """`right: fork 0.93, topic 0.97, …`: an average would hide the one that is never right."""
    prefix = "eval_accuracy_"
    found = [f"{k.removeprefix(prefix)} {v:.2f}" for k, v in logs.items() if k.startswith(prefix)]
    return f"right: {', '.join(found)}" if found else ""


def _spell_forks(logs: Mapping[str, float]) -> str:
    """How many of the held-out prompts that were decoded forked, of those that should."""
    if "eval_fork_rate" not in logs:
        return ""
    count = round(logs["eval_prompts_to_fork"])
    return f"{round(logs['eval_fork_rate'] * count)} of {count} prompts fork"


def _spell_drafts(logs: Mapping[str, float]) -> str:
    """`agree: 0.90 0.87 …`, by place in a draft."""
    found = [f"{v:.2f}" for k, v in logs.items() if k.startswith("eval_agreement_")]
    return f"agree: {' '.join(found)}" if found else ""


class AtStart(TrainerCallback):
    """Calls `act` once, when the trainer has put the model in its final place."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Before the first step, or the first after a resume."""
        self.act()
