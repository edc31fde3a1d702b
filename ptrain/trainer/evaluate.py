"""What an evaluation measures: losses by kind of target, hits on markers, and, from short answers
to held-out prompts, how well the model keeps the format. The one file that drives pinfer.

Knows neither batches nor schedules; the trainer calls it and logs what it returns.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from pbranch.console import say
from pbranch.errors import BranchError
from pbranch.format.branch_config import BranchConfig
from pbranch.format.layout import Kind
from pbranch.format.markers import MarkerIds, Role
from pbranch.rates import measure_rates
from ptrain.config import EvaluationOptions
from ptrain.data.dataset import Example

KINDS = [kind.name.lower() for kind in Kind]
ROLES = [Role.FORK, Role.TOPIC, Role.SPAWN, Role.END]  # the others are never drawn
RELIABLE = 0.5  # see `weak_markers`


@dataclass(slots=True)
class Tally:
    """Sums of one evaluation. Per sequence: (2, kinds + roles), losses and targets of each kind,
    then hits and targets of each marker."""

    markers: MarkerIds
    sums: list[Tensor] = field(default_factory=list)

    def count(self, losses: Tensor, hits: Tensor, targets: Tensor, kinds: Tensor) -> Tensor:
        """(B, 2, kinds + roles) from each token's loss, hit, target and kind, (B, L) each; losses
        and hits are 0 where there is no target."""
        has_target = (targets >= 0).to(losses.dtype)
        by_kind = losses.new_zeros(len(losses), 2, len(KINDS))
        by_kind[:, 0].scatter_add_(1, kinds, losses)
        by_kind[:, 1].scatter_add_(1, kinds, has_target)
        ids = torch.tensor([getattr(self.markers, r) for r in ROLES], device=targets.device)
        is_role = (targets[..., None] == ids).to(losses.dtype)  # (B, L, roles)
        by_role = torch.stack([(is_role * hits[..., None]).sum(1), is_role.sum(1)], 1)
        return torch.cat([by_kind, by_role], 2)

    def scores(self) -> dict[str, float]:
        """Losses and accuracies of all that was counted, and start again. `eval_loss` leaves flat
        traces out where there are others: a mixed run compares with a parallel one."""
        values, counts = torch.cat(self.sums).double().sum(0).cpu()
        self.sums.clear()
        branched = slice(Kind.LINEAR if counts[: Kind.LINEAR].any() else len(KINDS))
        found = {"eval_loss": values[branched].sum() / counts[branched].sum().clamp(min=1)}
        names = [f"eval_loss_{k}" for k in KINDS] + [f"eval_accuracy_{r}" for r in ROLES]
        for name, value, count in zip(names, values, counts, strict=True):
            if count:
                found[name] = value / count
        scores = {name: value.item() for name, value in found.items()}
        # each marker counts alike: topics are many, and a block has but one fork
        if markers := [
            scores[f"eval_accuracy_{r}"] for r in ROLES if f"eval_accuracy_{r}" in found
        ]:
            scores["eval_marker_accuracy"] = sum(markers) / len(markers)
        return scores


@dataclass(frozen=True, slots=True)
class Answer:
    """What counts of one short answer; see `pbranch.rates.Shape`."""

    to_fork: bool
    well_formed: bool
    branches: int
    tokens: int  # drawn
    passes: int


@dataclass(frozen=True, slots=True)
class Generations:
    """Short answers to held-out prompts from the model in training: greedy, grammar mask off."""

    examples: Sequence[Example]
    tokenizer: Any
    config: BranchConfig
    max_new_tokens: int

    def scores(self, model: Any) -> dict[str, float]:
        """Rates over all prompts. Each process answers its share of them; all get the rates."""
        found: dict[str, float] = {}
        for form in ("parallel", "linear") if self.config.form == "mixed" else (self.config.form,):
            answers = gather_object(self.answer(model, form))
            found |= rate(answers, form) if answers else {}
        return found

    def answer(self, model: Any, mode: str) -> list[Answer]:
        """Those of this process, in one of pinfer's modes. None where the engine refuses the model
        or finds no memory: a line says so, and the run goes on."""
        state = PartialState()
        mine = self.examples[state.process_index :: state.num_processes]
        try:
            with driving(model, self.tokenizer, self.config) as engine:
                generations = engine.generate([x.prompt for x in mine], self.params(mode))
        except BranchError as e:
            say(f"no generations at this evaluation: {e}")
            return []
        return [
            Answer(
                to_fork=x.parallel is not None and bool(x.parallel.hidden),
                well_formed=not g.stats.grammar_interventions,
                branches=g.stats.branches,
                tokens=g.stats.generated_tokens,
                passes=g.stats.passes,
            )
            for x, g in zip(mine, generations, strict=True)
        ]

    def params(self, mode: Any) -> Any:
        """Of one answer."""
        from pinfer.params import SamplingParams

        return SamplingParams(max_new_tokens=self.max_new_tokens, mode=mode, grammar="off")


def rate(answers: Sequence[Answer], form: str) -> dict[str, float]:
    """The rates of `pbranch.rates`, and tokens drawn in a pass; of linear form only format_rate,
    which is then the share of answers without a marker."""
    rates = measure_rates(answers)
    if form == "linear":
        return {"eval_format_rate_linear": rates["format_rate"]}
    tokens, passes = sum(x.tokens for x in answers), sum(x.passes for x in answers)
    named = {f"eval_{name}": value for name, value in rates.items()}
    return named | {
        "eval_prompts": len(answers),
        "eval_prompts_to_fork": sum(x.to_fork for x in answers),
        "eval_tokens_per_pass": tokens / max(1, passes),
    }


def weak_markers(scores: Mapping[str, float]) -> dict[str, float]:
    """Fork and spawn where they are predicted right less than half the time: such a model will
    seldom fork, however well it does the other markers."""
    found = {
        role.value: scores.get(f"eval_accuracy_{role}", 1.0) for role in (Role.FORK, Role.SPAWN)
    }
    return {name: value for name, value in found.items() if value < RELIABLE}


@contextmanager
def driving(model: Any, tokenizer: Any, config: BranchConfig) -> Iterator[Any]:
    """A pinfer engine over a model in training, which is given back as it was: its attention, and
    whether each module trains. Nothing random is drawn, and no hook or cache stays."""
    from pinfer.engine import Engine
    from pinfer.models.load import Loaded, make_spec

    attention = model.config._attn_implementation
    training = {module: module.training for module in model.modules()}
    model.eval()
    if torch.cuda.is_available():  # what training has freed, the engine may take
        torch.cuda.empty_cache()
    try:
        loaded = Loaded(model, tokenizer, make_spec(model, tokenizer, config), config)
        yield Engine(loaded, path="general")  # over the weights as they are, LoRA and all
    finally:
        model.set_attn_implementation(attention)
        for module, trains in training.items():
            module.training = trains


def make_generations(
    options: EvaluationOptions, trainer: Any, held_out: Sequence[Example], config: BranchConfig
) -> Generations | None:
    """What the options ask for, or None. Tries the engine on the model and on all prompts now
    rather than at the first evaluation. Where they cannot be decoded, or no process holds all
    weights, a line says so: the run is not about them."""
    prompts = {json.dumps(x.prompt, sort_keys=True): x for x in held_out}
    count = min(options.prompts, len(prompts))
    if not count:
        return None
    if trainer.is_fsdp_enabled or is_deepspeed_zero3_enabled():
        if trainer.is_world_process_zero():
            say("no generations while training: no process holds all weights (ZeRO-3, FSDP)")
        return None
    examples = list(prompts.values())
    spread = [examples[i * len(examples) // count] for i in range(count)]  # of all kinds of data
    made = Generations(spread, trainer.processing_class, config, options.max_new_tokens)
    try:
        with driving(trainer.model, made.tokenizer, config) as engine:
            for example in spread:
                engine.add(example.prompt, made.params("parallel"))
    except BranchError as e:
        say(f"no generations while training: {e}")
        return None
    return made
