"""What a fine-tuning run can be told: the one home of its defaults. Knows no torch."""

from dataclasses import dataclass, field
from typing import Any, Literal

from pbranch.errors import RecipeError
from pbranch.format.branch_config import SwitchOptions
from pbranch.format.layout import Join, LayoutOptions, Outline, Positions


@dataclass(frozen=True, slots=True)
class LoraOptions:
    """The adapter; the six vocabulary rows of the markers are trained with it in any case."""

    r: int = 32
    alpha: int | float = 64  # what PiSSA with rsLoRA leaves is no whole number
    dropout: float = 0.0
    target_modules: str | list[str] = "all-linear"
    use_rslora: bool = False
    use_dora: bool = False
    save_dtype: Literal["float32", "bfloat16"] = "float32"  # of the finished adapter's file
    init: bool | str = True  # peft's init_lora_weights: true, gaussian, pissa, olora, orthogonal …
    options: dict[str, Any] = field(default_factory=dict)  # more of peft's LoraConfig, see docs

    def __post_init__(self) -> None:
        _at_least("lora.r", self.r, 1)
        if self.alpha <= 0:
            raise RecipeError(f"lora.alpha: found {self.alpha}, expected more than 0")
        if not 0 <= self.dropout < 1:
            raise RecipeError(f"lora.dropout: found {self.dropout}, expected a share in [0, 1)")
        if self.starts_within_base and self.save_dtype != "float32":
            raise RecipeError(  # start and end cancel in the base, rounded ones would not
                f"lora.save_dtype: {self.save_dtype} with lora.init: {self.init}; expected float32"
            )

    @property
    def starts_within_base(self) -> bool:
        """Whether the start is taken out of the base's weights."""
        return isinstance(self.init, str) and self.init.startswith(("pissa", "olora"))

    @property
    def reads_weights(self) -> bool:
        """Whether the start is computed from the base's weights, which must be whole for that."""
        return self.starts_within_base or self.init == "mica"


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Optimisation. A row of a batch is a sequence: one trace, or several with `packing`."""

    steps: int | None = None  # optimiser steps; none: as many as `epochs` needs
    epochs: float = 1.0
    batch_rows: int = 32  # rows of one optimiser step, over all devices and micro-batches
    micro_rows: int | None = None  # rows of one forward pass on one device; none: by its memory
    lr: float | None = None  # none: by the width of the base, see ptrain/model/defaults.py
    marker_lr: float = 0.04  # of the markers' rows, in units of the vocabulary's own size (RMS)
    fork_weight: float = 3.0  # in the loss, of the targets fork and spawn: a block has one of each
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    warmup: float = 0.03  # share of the steps
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    max_length: int = 4096  # tokens of a row; longer traces are left out, never cut
    packing: bool = False
    attention: Literal["auto", "dense", "flex"] = "auto"  # auto: flex on CUDA for long rows
    optimizer: str = "adamw_torch_fused"  # a name of transformers' OptimizerNames
    gradient_checkpointing: bool = False
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    logging_steps: int = 10
    eval_steps: int = 0  # 0: at the end only
    save_steps: int = 200
    report_to: str = "none"

    def __post_init__(self) -> None:
        for key in ("batch_rows", "max_length", "logging_steps", "save_steps"):
            _at_least(f"train.{key}", getattr(self, key), 1)
        for key in ("eval_steps", "weight_decay", "max_grad_norm"):
            if (found := getattr(self, key)) < 0:
                raise RecipeError(f"train.{key}: found {found}, expected 0 or more")
        if self.steps is not None:
            _at_least("train.steps", self.steps, 1)
        if self.micro_rows is not None:
            _at_least("train.micro_rows", self.micro_rows, 1)
        for key in ("lr", "marker_lr", "fork_weight", "epochs"):
            value = getattr(self, key)
            if value is not None and value <= 0:
                raise RecipeError(f"train.{key}: found {value}, expected more than 0")
        if not 0 <= self.warmup < 1:
            raise RecipeError(f"train.warmup: found {self.warmup}, expected a share in [0, 1)")


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """Short generations at each evaluation, decoded with the grammar mask off."""

    prompts: int = 8  # held-out prompts to decode; 0: losses only
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        _at_least("evaluation.prompts", self.prompts, 0)
        _at_least("evaluation.max_new_tokens", self.max_new_tokens, 1)


@dataclass(frozen=True, slots=True)
class BranchOptions:
    """How traces are laid out (docs/how-it-works.md); an adapter records it."""

    positions: Positions = "max"
    outline: Outline = "all"
    join: Join = "keep"

    @property
    def layout(self) -> LayoutOptions:
        """As the layout builder takes it."""
        return LayoutOptions(self.positions, self.outline, self.join)


@dataclass(frozen=True, slots=True)
class Recipe:
    """One run of `ptrain sft`. `model`: a folder, a Hub id, a GGUF file, tiny (the shipped base),
    smollm2, or what an earlier run has left, merged or tuned in full."""

    data: list[str] | str  # JSONL files or globs, plain or gzipped
    model: str = "tiny"
    adapter: str | None = None  # of this model, to train further: a folder or a Hub id
    trust_remote_code: bool = False  # run Python code that comes with the model
    data_keep_wrong: bool = False  # keep traces whose answer is known to be wrong
    eval_data: list[str] | str = field(default_factory=list)
    eval_share: float = 0.02  # held out from `data` where `eval_data` is empty
    out: str = "runs/sft"
    resume: Literal["auto", "never"] = "auto"  # auto: go on from the last checkpoint in `out`
    seed: int = 0
    tuning: Literal["lora", "full"] = "lora"
    quantization: Literal["nf4", "fp4"] | None = None  # of the base under LoRA (QLoRA)
    # linear: the sequential twin, the same traces and steps with every block flattened
    form: Literal["parallel", "linear", "mixed"] = "parallel"
    # mixed: points [share of the run, share of traces in parallel form], with lines between them
    curriculum: list[list[float]] = field(default_factory=lambda: [[0.0, 0.5], [1.0, 0.5]])
    switch: SwitchOptions = field(default_factory=SwitchOptions)
    # in the place of the base's chat template: a file, or the template's text
    chat_template: str | None = None
    # what the template is given besides messages, as enable_thinking: false; decoding has it too
    template_args: dict[str, Any] = field(default_factory=dict)
    lora: LoraOptions = field(default_factory=LoraOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)
    branches: BranchOptions = field(default_factory=BranchOptions)

    def __post_init__(self) -> None:
        if not 0 <= self.eval_share < 1:
            raise RecipeError(f"eval_share: found {self.eval_share}, expected a share in [0, 1)")
        if not 0 <= self.seed < 2**32:  # numpy takes no other
            raise RecipeError(f"seed: found {self.seed}, expected one in [0, 2^32)")
        if self.quantization and self.tuning == "full":
            raise RecipeError(
                f"quantization: {self.quantization} with tuning: full; weights of 4 bit cannot be "
                "trained, expected tuning: lora"
            )
        if self.quantization and self.lora.reads_weights:
            raise RecipeError(
                f"lora.init: {self.lora.init} is computed from whole weights, which quantization: "
                f"{self.quantization} rounds; expected true, gaussian or orthogonal"
            )
        if self.quantization and "target_parameters" in self.lora.options:
            raise RecipeError(
                "lora.options.target_parameters: names weights that quantization: "
                f"{self.quantization} packs; expected lora.target_modules"
            )
        if self.adapter and self.tuning == "full":
            raise RecipeError(
                f"adapter: {self.adapter} with tuning: full; expected tuning: lora, or model: a "
                "folder that `ptrain merge` has made of it"
            )
        if self.adapter and self.lora.starts_within_base:
            raise RecipeError(
                f"lora.init: {self.lora.init} takes a start out of the base, and adapter: "
                f"{self.adapter} is the start; expected lora.init: true"
            )
        if not self.data:
            raise RecipeError("data: found none, expected files or globs")
        _check_curriculum(self.curriculum)


@dataclass(frozen=True, slots=True)
class LookaheadOptions:
    """What is trained beside the frozen model; all zero but `tokens`: PaSS as published."""

    tokens: int = 4  # look-ahead embeddings: so many tokens are drafted in a pass
    r: int = 32  # of the LoRA that look-ahead rows go through; 0: none
    markov_rank: int = 32  # of the bias by the token before; 0: none
    anchors: int = 32  # rows of a sequence that are drawn to look ahead from, each time anew
    ce_weight: float = 0.1  # of the cross-entropy with the text
    tv_weight: float = 0.9  # of the total variation from the model's own distribution

    def __post_init__(self) -> None:
        for key, least in (("tokens", 1), ("r", 0), ("markov_rank", 0), ("anchors", 1)):
            _at_least(f"lookahead.{key}", getattr(self, key), least)
        for key in ("ce_weight", "tv_weight"):
            if getattr(self, key) < 0:
                found = getattr(self, key)
                raise RecipeError(f"lookahead.{key}: found {found}, expected 0 or more")
        if not self.ce_weight + self.tv_weight:
            raise RecipeError("lookahead: ce_weight and tv_weight are 0, expected one above")


# keys of `train` that only `ptrain sft` knows
SFT_ONLY = ("marker_lr", "fork_weight", "packing", "attention", "gradient_checkpointing")


@dataclass(frozen=True, slots=True)
class LookaheadRecipe:
    """One run of `ptrain lookahead`. The data are texts of the very model that is to be sped up,
    with `adapter` where one is given: how they are laid out, the adapter says."""

    data: list[str] | str
    model: str = "tiny"
    adapter: str | None = None
    trust_remote_code: bool = False
    data_keep_wrong: bool = True  # a wrong answer is the model's own text, too
    eval_data: list[str] | str = field(default_factory=list)
    eval_share: float = 0.02
    out: str = "runs/lookahead"
    resume: Literal["auto", "never"] = "auto"
    seed: int = 0
    lookahead: LookaheadOptions = field(default_factory=LookaheadOptions)
    train: TrainOptions = field(default_factory=TrainOptions)

    def __post_init__(self) -> None:
        if not 0 <= self.eval_share < 1:
            raise RecipeError(f"eval_share: found {self.eval_share}, expected a share in [0, 1)")
        if not self.data:
            raise RecipeError("data: found none, expected files or globs")
        for key in SFT_ONLY:
            if getattr(self.train, key) != getattr(TrainOptions(), key):
                raise RecipeError(f"train.{key}: has no meaning for look-ahead rows")


def _check_curriculum(points: list[list[float]]) -> None:
    for i, point in enumerate(points):
        if len(point) != 2 or not all(0 <= share <= 1 for share in point):
            raise RecipeError(
                f"curriculum[{i}]: found {point}, expected [share of the run, share of traces in "
                "parallel form], both in [0, 1]"
            )
    times = [at for at, _ in points]
    if not points or times != sorted(times):
        raise RecipeError(
            f"curriculum: found {points}, expected at least one point, in the order of the run"
        )


def _at_least(key: str, value: int, least: int) -> None:
    if value < least:
        raise RecipeError(f"{key}: found {value}, expected at least {least}")
