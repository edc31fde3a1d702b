"""What a caller can set: how tokens are drawn and limited, and what an engine may hold at once.

Limits that change the text stand in `SamplingParams` and are named in the result; those of
`EngineLimits`, and `max_width`, change only how work is cut into passes, never a token.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import repeat
from numbers import Integral, Real
from typing import Literal

from pbranch.errors import RequestError
from pbranch.format.layout import Outline
from pinfer.cost.pass_cost import PassCost

UNTIL_CONTEXT_ENDS = 2**31 - 1  # as max_new_tokens: all that the context has room for
Mode = Literal["parallel", "serial", "linear"]
Forking = Literal["auto", "always", "never"]
Dialect = Literal["native", "paper"]

# kinds of numbers by how a field is annotated; those of numpy are among them
_NUMBERS: dict[object, tuple[type, ...]] = {
    int: (Integral,), int | None: (Integral, type(None)),
    float: (Real,), float | None: (Real, type(None)),
}  # fmt: skip
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "temperature": (lambda x: 0 <= x < float("inf"), "0 or more"),
    "top_k": (lambda x: x >= 0, "0 (all tokens) or more"),
    "top_p": (lambda x: 0 < x <= 1, "more than 0, at most 1"),
    "min_p": (lambda x: 0 <= x <= 1, "0 to 1"),
    "repetition_penalty": (lambda x: 0 < x < float("inf"), "more than 0"),
    "min_branch_tokens": (lambda x: x >= 0, "0 or more"),
    "logprobs": (lambda x: 0 <= x <= 100, "0 to 100"),
    "prompt_logprobs": (lambda x: 0 <= x <= 100, "0 to 100"),
    "draft_tokens": (lambda x: x >= 0, "0 (none) or more"),
}


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """One request's parameters. temperature 0: greedy. Counts are in tokens. max_new_tokens: drawn
    in all lanes together; the context bounds them, too, see `UNTIL_CONTEXT_ENDS`. seed: of the
    draws, which depend on it, the prompt, the branch and the position alone; None: a random one for
    each request, which its answer names. timeout_s: from when the request is first decoded.

    Logits are processed as in transformers, in this order: repetition_penalty over what the lane
    sees (markers and injected tokens exempt), suppress_tokens (never sampled), temperature, top_k
    (0: all), top_p, min_p. logprobs: report each sampled token's log-probability under the bare
    model, and that many of the best; prompt_logprobs: the same of the prompt's tokens.
    stop, stop_token_ids: end the answer, or in a branch that branch; what they match is not text.
    stop_when: the same where it returns True for the text of the lane since its last fork.
    None stands for what the model says (`ModelSpec.resolve`): its generation_config.json, and as
    mode `parallel` where it knows markers, else `linear`.
    mode: `parallel`; `serial`, the same tokens one branch at a time; `linear`, no fork allowed.
    fork: `never`, as in mode linear; `auto`, a fork that promises little (one topic, or branches
    that were shorter in training than min_branch_tokens) is decoded one branch at a time, which
    changes no token, or where EngineLimits.cost is known, with as many branches at a time as make
    a token cheapest; `always`, all at once.
    grammar `off` lets the model choose freely: an illegal choice ends the answer with an error.
    dialect: `native`, the markers of an adapter; `paper`, the marks that an instruct model writes
    when the prompt asks for them (arXiv 2503.20533), where branches see the titles of `all` or
    their `own` (outline).
    draft_tokens: that are guessed for a lane in a pass, at most, where the engine has a source of
    drafts; 0: none.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    suppress_tokens: tuple[int, ...] | None = None
    seed: int | None = None
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    stop_when: Callable[[str], bool] | None = None
    mode: Mode | None = None
    grammar: Literal["on", "off"] = "on"
    fork: Forking = "auto"
    min_branch_tokens: int = 4
    max_topics: int = 32
    max_topic_tokens: int = 32
    max_depth: int = 3
    max_branch_tokens: int | None = None
    max_width: int | None = None  # lanes of the request at once; siblings run in waves
    timeout_s: float | None = None
    dialect: Dialect = "native"
    outline: Outline = "own"
    draft_tokens: int = 8

    def __post_init__(self) -> None:
        _check_kinds(self)
        if self.mode not in (None, "parallel", "serial", "linear"):
            raise RequestError(f"mode {self.mode!r}: expected parallel, serial or linear")
        if self.fork not in ("auto", "always", "never"):
            raise RequestError(f"fork {self.fork!r}: expected auto, always or never")
        if self.dialect not in ("native", "paper"):
            raise RequestError(f"dialect {self.dialect!r}: expected native or paper")
        if self.outline not in ("all", "own"):
            raise RequestError(f"outline {self.outline!r}: expected all or own")
        if self.dialect == "paper" and self.grammar == "off":
            raise RequestError("grammar off needs dialect native; the paper's is read as it comes")
        if self.grammar not in ("on", "off"):
            raise RequestError(f"grammar {self.grammar!r}: expected on or off")
        for name, (good, expected) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not good(value):
                raise RequestError(f"{name} {value}: expected {expected}")
        if not all(isinstance(x, str) and x for x in self.stop) or isinstance(self.stop, str):
            raise RequestError(f"stop {self.stop!r}: expected texts that are not empty")
        _check_counts(self, {"seed", *_RANGES})
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise RequestError(f"timeout_s {self.timeout_s}: expected more than 0")

    @property
    def forks(self) -> bool:
        """Whether a fork by markers is allowed at all."""
        return self.may_branch and self.dialect == "native"

    @property
    def may_branch(self) -> bool:
        """Whether branches are allowed, in whatever dialect."""
        return self.mode != "linear" and self.fork != "never"

    @property
    def penalises(self) -> bool:
        """Whether a token's logit depends on the tokens before it."""
        return (self.repetition_penalty or 1) != 1

    @property
    def is_argmax(self) -> bool:
        """Whether what is sampled is the best of the bare model's logits."""
        return self.temperature == 0 and not self.penalises and not self.suppress_tokens

    @property
    def width(self) -> int | None:
        """Lanes at once, None without limit."""
        return 1 if self.mode == "serial" else self.max_width


def samples(params: SamplingParams, n: int) -> Iterator[SamplingParams]:
    """The parameters of `n` samples of one prompt: their seeds, if given, follow one another."""
    if n < 1:
        raise RequestError(f"n {n}: expected 1 or more")
    if params.seed is None:
        return repeat(params, n)
    seed = params.seed
    return (replace(params, seed=seed + i) for i in range(n))


def with_seed(params: SamplingParams) -> SamplingParams:
    """Parameters that have a seed, if they need one: a random one where none is given."""
    if params.temperature == 0 or params.seed is not None:
        return params
    return replace(params, seed=secrets.randbelow(2**32))


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What an engine holds at once. max_rows: tokens fed in one pass; max_requests: decoded
    together; max_kv_rows: cached tokens of all requests; max_memory: the same in GiB, None for most
    of what is free; max_prefix_rows: of them, prompts kept for later requests; max_draft_rows:
    drafted tokens in one pass, shared by its lanes; cost: of the model's passes here, by which
    requests with fork `auto` choose how many branches they decode at once."""

    max_rows: int = 512
    max_requests: int = 64
    max_kv_rows: int | None = None
    max_memory: float | None = None
    max_prefix_rows: int = 4096
    max_draft_rows: int = 16
    cost: PassCost | None = None

    def __post_init__(self) -> None:
        _check_kinds(self)
        _check_counts(self, {"max_prefix_rows", "max_memory"})
        if self.max_memory is not None and not 0 < self.max_memory < float("inf"):
            raise RequestError(f"max_memory {self.max_memory}: expected more than 0 GiB")
        if self.max_prefix_rows < 0:
            raise RequestError(f"max_prefix_rows {self.max_prefix_rows}: expected 0 or more")


def _check_kinds(values: SamplingParams | EngineLimits) -> None:
    """Raise RequestError on what is no number where one is expected, or not a whole one."""
    for field in fields(values):
        value = getattr(values, field.name)
        kinds = _NUMBERS.get(field.type)
        if kinds and (not isinstance(value, kinds) or isinstance(value, bool)):
            expected = "a whole number" if Integral in kinds else "a number"
            raise RequestError(f"{field.name} {value!r:.40}: expected {expected}")


def _check_counts(values: SamplingParams | EngineLimits, others: set[str]) -> None:
    """Raise RequestError on a number below 1 that is none of `others`."""
    for field in fields(values):
        value = getattr(values, field.name)
        if isinstance(value, int) and field.name not in others and value < 1:
            raise RequestError(f"{field.name} {value}: expected 1 or more")
