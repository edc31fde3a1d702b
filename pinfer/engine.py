"""The engine: prompts in, answers out, the branches of all of them decoded side by side."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from pbranch.errors import BranchError, RequestError
from pbranch.format.branch_config import Form
from pbranch.format.grammar import legal_table
from pbranch.hf.prompt import Message, render_prompt
from pbranch.hf.segment_codec import SegmentCodec
from pinfer.attention.backend import get_backend
from pinfer.cost.store import cost_key, find_cost
from pinfer.dialects.instruction import instruct
from pinfer.dialects.paper_controller import TrunkScript
from pinfer.dialects.paper_marks import Paper, barred_tokens
from pinfer.execution.runner import Runner
from pinfer.kv_cache.budget import cached_rows
from pinfer.models.cuda_graphs import graphed
from pinfer.models.load import Loaded, load
from pinfer.models.probe import choose_path
from pinfer.output.event_stream import Transcript
from pinfer.output.events import Event, Finished
from pinfer.output.generation import Generation, make_generation
from pinfer.params import EngineLimits, SamplingParams, samples
from pinfer.request.state import Request
from pinfer.request.stop_strings import StopWatch
from pinfer.sampling.sampler import Sampler
from pinfer.scheduling.scheduler import Scheduler

Prompt = str | Sequence[Message] | Mapping[str, list[int]]


class Engine:
    """Decodes requests in shared passes. `from_pretrained` is the usual way to one."""

    def __init__(
        self,
        loaded: Loaded,
        attention: str = "auto",
        limits: EngineLimits | None = None,
        path: str = "auto",
        owned: bool = False,
    ) -> None:
        """path, owned: see `choose_path`; the fast path may not see later changes of the weights.
        Raises ModelError where the probe finds that the model would decode wrongly."""
        backend = get_backend(attention, loaded.model.device, loaded.model.dtype)
        self.tokenizer, self.branch_config = loaded.tokenizer, loaded.branch_config
        self.codec = SegmentCodec(loaded.tokenizer)
        self.rules = loaded.rules
        size = loaded.model.get_output_embeddings().weight.shape[0]
        forward, row_bytes = choose_path(loaded.model, backend, path, owned)
        limits = limits or EngineLimits()
        most = cached_rows(limits, row_bytes, loaded.model.device)
        self.runner = Runner(graphed(forward, backend), backend, most)
        self.scheduler = Scheduler(self.rules, replace(limits, max_kv_rows=most))
        table = legal_table(
            self.rules.markers, self.rules.end_of_text, size, min(size, len(loaded.tokenizer))
        )
        own = getattr(loaded.model, "generation_config", None)
        self._asks: str | None = getattr(own, "paper_instruction", None)
        self._paper: Paper | None = None  # the first request in the dialect makes it
        self._unclaimed: list[Request] = []  # finished while a stream was followed
        self.sampler = Sampler(torch.from_numpy(table).to(self.runner.device))

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
        trust_remote_code: bool = False,
    ) -> "Engine":
        """A base and an adapter, by folder or Hub id. Neither: the shipped ones. Adapter `none`:
        the bare model, which decodes in mode linear only. path: see `choose_path`. stored_cost: as
        limits.cost, what `pinfer bench --break-even` has measured of this model here, if it has.
        trust_remote_code: whether Python code that comes with the model may run."""
        loaded = load(model, adapter, dtype, device, trust_remote_code)
        if stored_cost:
            key = cost_key(loaded.model, attention=attention, path=path)
            limits = replace(limits or EngineLimits(), cost=find_cost(key))
        return cls(loaded, attention, limits, path, owned=True)

    def add(
        self,
        prompt: Prompt,
        params: SamplingParams,
        *,
        system: str | None = None,
        raw: bool = False,
        template_args: Mapping[str, Any] | None = None,
        instruction: str | None = None,
    ) -> Request:
        """Queue a prompt: text, messages, or {"token_ids": […]} as it is. system, raw and
        template_args: see `render_prompt`. An adapter's switch follows from whether the request
        may fork. instruction: what asks for the marks of params.dialect, behind the prompt; None:
        the model's own (`paper_instruction` in its generation_config.json), else the shipped text
        in the prompt's language."""
        if isinstance(prompt, Mapping):
            ids = list(prompt["token_ids"])
            rows = self.sampler.legal.shape[1]
            if wrong := [i for i in ids if not 0 <= i < rows]:
                raise RequestError(f"token id {wrong[0]}: the vocabulary has {rows} rows")
        else:
            if params.dialect == "paper":
                prompt = instruct(prompt, self._asks if instruction is None else instruction)
            form: Form = "parallel" if params.forks else "linear"
            switch = self.branch_config.switch.text(form) if self.branch_config else None
            ids = render_prompt(prompt, self.tokenizer, system, raw, template_args, switch)
        watch = StopWatch(self.codec.decode, params.stop) if params.stop else None
        return self.scheduler.add(ids, params, watch, self._script(params))

    def _script(self, params: SamplingParams) -> TrunkScript | None:
        """What reads the dialect of a request, where it may branch in one."""
        if params.dialect == "native" or not params.may_branch:
            return None
        if self._paper is None:
            self._paper = Paper.of(self.codec)
            for state, tokens in barred_tokens(self.tokenizer, self.codec).items():
                self.sampler.legal[state, tokens] = False
        return TrunkScript(self._paper, params.outline)

    def step(self) -> list[Request]:
        """One pass; returns the requests that it has finished. If it fails, or is interrupted,
        every request is aborted: their caches may lack rows."""
        try:
            batch = self.scheduler.schedule()
            logits = self.runner.run(batch) if batch.rows else None
            choices = self.sampler(logits, batch.lanes) if logits is not None else []
            finished = self.scheduler.commit(batch, choices)
            for request in finished:
                self.runner.release(request, keep_prompt=self.scheduler.keeps(request))
            for request in self.scheduler.evict():
                self.runner.release(request)
            return finished
        except BaseException:
            self.reset()
            raise

    def abort(self, request: Request) -> None:
        """End a request at once, wherever it stands; what it has stays well-formed."""
        self.scheduler.abort(request)
        self.runner.release(request, keep_prompt=self.scheduler.keeps(request))

    def reset(self) -> None:
        """Abort all requests and forget all prompts."""
        for request in [*self.scheduler.queued, *self.scheduler.running]:
            self.abort(request)
        for request in self.scheduler.prefixes.evict(0):
            self.runner.release(request)

    def stream(
        self, prompt: Prompt, params: SamplingParams | None = None, **rendering: Any
    ) -> Iterator[Event]:
        """Decode one prompt and tell what happens; the last event is `Finished`. Requests that were
        queued before are decoded along with it. `rendering`: the keywords of `add`."""
        yield from self.follow(self.add(prompt, params or SamplingParams(), **rendering))

    def follow(self, request: Request) -> Iterator[Event]:
        """The events of a queued request. Left early, it aborts the request; after an `abort` from
        outside, the events of what it has still come."""
        transcript = Transcript(request, self.rules, self.codec)
        try:
            while request.finish_reason is None:
                self._unclaimed += [r for r in self.step() if r is not request]
                yield from transcript.advance()
            yield from transcript.advance()
        finally:
            if request.finish_reason is None:
                self.abort(request)
        yield Finished(make_generation(request, self.rules, self.codec))

    def run(
        self, until: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[Request, Generation]]:
        """Step until nothing is left, or `until` says so; yields each request as it finishes."""
        while (self._unclaimed or self.scheduler.busy) and not until():
            finished, self._unclaimed = self._unclaimed or self.step(), []
            for request in finished:
                yield request, make_generation(request, self.rules, self.codec)

    def generate(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams | None = None,
        *,
        n: int = 1,
        **rendering: Any,
    ) -> list[Generation]:
        """Answers in the order of the prompts, `n` of each, decoded as one batch. Sample i has the
        seed plus i. `rendering`: the keywords of `add`."""
        params = params or SamplingParams()
        requests: list[Request] = []
        try:
            for prompt in prompts:
                for sample in samples(params, n):
                    requests.append(self.add(prompt, sample, **rendering))
        except BranchError:
            self.scheduler.drop(requests)  # nothing of a refused call is left for the next one
            raise
        done: dict[int, Any] = {request.number: answer for request, answer in self.run()}
        return [done[request.number] for request in requests]
