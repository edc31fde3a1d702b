"""The engine: prompts in, answers out, the branches of all of them decoded in shared passes."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pbranch.errors import BranchError, RequestError
from pbranch.format.branch_config import Form
from pbranch.hf.prompt import render_prompt
from pbranch.hf.segment_codec import SegmentCodec
from pinfer.cost.store import cost_key, find_cost
from pinfer.dialects.instruction import instruct
from pinfer.dialects.paper_controller import PaperTrunk
from pinfer.dialects.paper_marks import PaperMarks, barred_tokens
from pinfer.drafting.draft import DraftSource
from pinfer.eviction.options import KVOptions
from pinfer.models.build import build_core
from pinfer.models.load import Loaded, load
from pinfer.models.load_draft import open_source
from pinfer.output.event_stream import EventStream
from pinfer.output.events import Event, Finished
from pinfer.output.generation import Generation, make_generation
from pinfer.params import EngineLimits, SamplingParams, samples, with_seed
from pinfer.request.controller import LaneController
from pinfer.request.prompts import (
    PreparedRequest,
    Prompt,
    as_prompts,
    check_prompt,
    read_token_ids,
)
from pinfer.request.state import Request
from pinfer.request.stop_strings import make_stops
from pinfer.sampling.sampler import Sampler

UNCLAIMED = 4096  # finished requests that wait for `run`, at most: the oldest go first
log = logging.getLogger("pinfer")


class Engine:
    """Decodes requests in shared passes. `from_pretrained` is the usual way to one.

    Not to be shared between threads: `EngineLoop` owns an engine and serves many.
    """

    def __init__(
        self,
        loaded: Loaded,
        attention: str = "auto",
        limits: EngineLimits | None = None,
        path: str = "auto",
        owned: bool = False,
        draft: str | DraftSource | None = None,
        kv: KVOptions | None = None,
        batch_invariant: bool = False,
    ) -> None:
        """path, owned: see `choose_path`; the fast path may not see later changes of the weights.
        The rest: see `from_pretrained`. ModelError where the model would decode wrongly."""
        self.tokenizer, self.branch_config = loaded.tokenizer, loaded.branch_config
        self.codec, self.spec = SegmentCodec(loaded.tokenizer), loaded.spec
        self.weights = (loaded.path, loaded.adapter)
        self._vocabulary: int = loaded.model.get_input_embeddings().weight.shape[0]
        source = open_source(draft, loaded, attention, path)
        options = attention, limits, path, owned, source, kv, batch_invariant
        known = loaded.tokenizer.get_vocab().values()
        self.core = build_core(loaded.model, loaded.spec, known, *options)
        config = getattr(loaded.model, "generation_config", None)
        self._model_instruction: str | None = getattr(config, "paper_instruction", None)
        self._marks: PaperMarks | None = None  # made by the first request in the dialect
        self._unclaimed: dict[int, Request] = {}  # finished, in order, and not yet given out

    @classmethod
    def from_pretrained(
        cls,
        model: str | None = None,
        adapter: str | None = None,
        *,
        dtype: str | None = None,
        device: str | None = None,
        attention: str = "auto",
        limits: EngineLimits | None = None,
        path: str = "auto",
        stored_cost: bool = False,
        draft: str | DraftSource | None = "none",
        kv: KVOptions | None = None,
        batch_invariant: bool = False,
        trust_remote_code: bool = False,
    ) -> "Engine":
        """An engine that owns its model: a base and an adapter, loaded by folder or Hub id, the
        base by GGUF file or name too.

        Args:
            model: The base. None: the adapter's own; with neither, the shipped tiny model.
            adapter: The adapter. `none`: the bare model, which decodes in mode linear. None: the
                one that is shipped for smollm2, if that is the model; else as `none`.
            dtype: float32, bfloat16, float16 or float64. None: float32 on a CPU, else bfloat16.
            device: cpu, cuda or cuda:N. None: a GPU where there is one.
            attention: `auto`, or a backend by name, see `get_backend`.
            limits: What the engine may hold at once.
            path: `auto`, `fast` or `general`, see `choose_path`.
            stored_cost: Take as limits.cost what `pinfer bench --break-even` has stored here.
            draft: `none`, `ngram`, `auto`, `model:NAME`, `auto:model:NAME`, or a source of guesses.
            kv: How many tokens a lane keeps in the cache, and which; None: all.
            batch_invariant: Whether an answer in half precision is the same in any batch.
            trust_remote_code: Whether Python code that comes with the model may run.

        Raises:
            ModelError: The model cannot be loaded, or would decode branches wrongly.
            AdapterError: The adapter does not belong to the base.
            RequestError: An option is none of those named.
        """
        loaded = load(model, adapter, dtype, device, trust_remote_code)
        if stored_cost:
            key = cost_key(loaded.model, attention=attention, path=path)
            limits = replace(limits or EngineLimits(), cost=find_cost(key))
        source = open_source(draft, loaded, attention, path, trust_remote_code)
        return cls(loaded, attention, limits, path, True, source, kv, batch_invariant)

    def add(self, prompt: Prompt, params: SamplingParams, **rendering: Any) -> Request:
        """Queue a prompt: text, messages, {"messages": […], "tools": […]} with what the answer may
        call, or {"token_ids": […]} as it is. rendering: the keywords of `prepare`. `run` gives out
        its answer, unless `follow` is asked for it."""
        return self.enqueue(self.prepare(prompt, params, **rendering))

    def prepare(
        self,
        prompt: Prompt,
        params: SamplingParams,
        *,
        system: str | None = None,
        raw: bool = False,
        template_args: Mapping[str, Any] | None = None,
        instruction: str | None = None,
        special_tokens: bool = False,
    ) -> PreparedRequest:
        """Render a prompt. Changes nothing in the engine's queues, and may run on any thread.

        system, raw, template_args, special_tokens: see `render_prompt`. An adapter's template_args
        hold where these do not name them; its switch follows from whether the request may fork.
        instruction: what asks for the marks of params.dialect, after the prompt; None: the model's
        (`paper_instruction` in generation_config.json), else the shipped text in its language.
        """
        check_prompt(prompt)
        params = self.spec.resolve(params)
        tools = prompt.get("tools") if isinstance(prompt, Mapping) else None
        if isinstance(prompt, Mapping):
            prompt = prompt.get("messages", prompt)
        if isinstance(prompt, Mapping):
            ids = read_token_ids(prompt["token_ids"])
        else:
            if params.dialect == "paper":
                own = self._model_instruction
                prompt = instruct(prompt, own if instruction is None else instruction)
            form: Form = "parallel" if params.forks else "linear"
            switch = self.branch_config.switch.text(form) if self.branch_config else None
            if self.branch_config and self.tokenizer.chat_template and not raw:
                template_args = {**self.branch_config.template_args, **(template_args or {})}
            ids = render_prompt(
                prompt, self.tokenizer, system, raw, template_args, switch, tools, special_tokens
            )
        if wrong := [i for i in ids if not 0 <= i < self._vocabulary]:
            raise RequestError(f"token id {wrong[0]}: the vocabulary has {self._vocabulary} rows")
        stops = make_stops(self.codec.decode, params)
        return PreparedRequest(ids, with_seed(params), stops, self._controller(params))

    def _controller(self, params: SamplingParams) -> LaneController | None:
        """What reads the dialect of a request, where it may branch in one."""
        if params.dialect == "native" or not params.may_branch:
            return None
        if self._marks is None:
            sampler = self.core.sampler
            if isinstance(sampler, Sampler):
                barred = barred_tokens(self.tokenizer, self.codec)
                self.core.sampler = sampler.barring(barred)
            self._marks = PaperMarks.of(self.codec)
        return PaperTrunk(self._marks, params.outline)

    def enqueue(self, prepared: PreparedRequest) -> Request:
        """Queue a prepared prompt. RequestError where it can never be served."""
        p, queue = prepared, self.core.scheduler
        with self.core.adding():
            return queue.add(p.token_ids, p.params, p.stops, p.controller)

    def step(self) -> list[Request]:
        """One pass; returns the requests that it has finished. What fails in a request, or in the
        pass that it is part of, ends it with the reason `error`. If a pass is interrupted, every
        request is aborted: their caches may lack tokens."""
        with self.core.changing():
            finished = self.core.step()
        for request in finished:
            if request.error is not None and not isinstance(request.error, BranchError):
                log.error("request %d failed", request.number, exc_info=request.error)
        return finished

    def abort(self, request: Request) -> None:
        """End a request at once, wherever it stands; what it has stays well-formed."""
        with self.core.changing():
            self.core.scheduler.abort(request)

    def reset(self) -> None:
        """Abort all requests and forget all prompts."""
        with self.core.changing():
            self.core.scheduler.reset()

    def stream(
        self, prompt: Prompt, params: SamplingParams | None = None, **rendering: Any
    ) -> Iterator[Event]:
        """Decode one prompt and tell what happens.

        Args:
            prompt: As in `add`.
            params: How to decode; None: the defaults.
            **rendering: The keywords of `prepare`.

        Yields:
            What is new after each pass; the last event is `Finished`. Requests that were queued
            before are decoded along with it.

        Raises:
            RequestError: The request can never be served.
        """
        yield from self.follow(self.add(prompt, params or SamplingParams(), **rendering))

    def follow(self, request: Request) -> Iterator[Event]:
        """The events of a queued request. Left early, it aborts the request; after an `abort` from
        outside, the events of what it has still come."""
        try:
            events = EventStream(request, self.spec, self.codec)
            while request.finish_reason is None:
                self._advance()
                yield from events.advance()
            yield from events.advance()
        finally:
            if request.finish_reason is None:
                self.abort(request)
            self._unclaimed.pop(request.number, None)
        yield Finished(self.generation(request))

    def run(
        self, until: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[Request, Generation]]:
        """Step until nothing is left, or `until` says so; yields each request as it finishes."""
        while (self._unclaimed or self.core.busy) and not until():
            if not self._unclaimed:
                self._advance()
            while self._unclaimed:
                request = self._unclaimed.pop(next(iter(self._unclaimed)))
                yield request, self.generation(request)

    def _advance(self, own: int = sys.maxsize) -> None:
        """One pass, whose finished requests wait for whoever asked for them, but for those from
        number `own` on."""
        for request in self.step():
            if request.number < own:
                self._unclaimed[request.number] = request
        while len(self._unclaimed) > UNCLAIMED:
            gone = self._unclaimed.pop(next(iter(self._unclaimed)))
            log.warning("request %d: nobody has asked for its answer; it is forgotten", gone.number)

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | None = None,
        *,
        n: int = 1,
        **rendering: Any,
    ) -> list[Generation]:
        """Decode prompts as one batch.

        Args:
            prompts: Each as in `add`; or one alone, which is not cut into pieces.
            params: How to decode; None: the defaults.
            n: Answers a prompt; sample i has the seed, if one is given, plus i.
            **rendering: The keywords of `prepare`.

        Returns:
            Answers in the order of the prompts, `n` of each. Requests that were queued before are
            decoded along; their answers wait for `run`.

        Raises:
            RequestError: A prompt can never be served; then none of them is decoded.
        """
        params = params or SamplingParams()
        with self.core.one_thread:
            with self.core.adding() as first:
                requests = [
                    self.add(prompt, sample, **rendering)
                    for prompt in as_prompts(prompts)
                    for sample in samples(params, n)
                ]
            with self.core.changing():
                while any(request.finish_reason is None for request in requests):
                    self._advance(own=first)
                return [self.generation(request) for request in requests]

    def generation(self, request: Request) -> Generation:
        """The answer of a finished request."""
        return make_generation(request, self.spec, self.codec)
