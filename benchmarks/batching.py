"""transformers' continuous batching as a peer, on a manager that stays alive between the rounds.

A branch is a request behind the prompt alone: it is spared the trunk's tokens. The clock runs from
when all requests of a part have a token.
"""

import time
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation import ContinuousBatchingConfig

from pinfer.bench.engine_arm import Sample, Step
from pinfer.bench.models import share_weights, vocabulary
from pinfer.bench.suite import Settings
from pinfer.bench.timing import ZERO, Span, now, since
from pinfer.bench.workload import Workload

PAGE = 256  # tokens
PATIENCE = 600  # seconds without a token: the manager's thread has died


class Batching:
    """An arm: a request a branch. Its manager is started by the first run, which is a warm-up."""

    wide = True
    name = "HF generate_batch"

    def __init__(self, model: Any, settings: Settings) -> None:
        self.words, self.settings, self.manager = vocabulary(model), settings, None
        self.model = share_weights(model)  # the manager changes how a model attends

    def refusal(self, workload: Workload) -> str | None:
        """One request, no nested forks; a prompt is fed in every round."""
        if len(workload.lines) > 1:
            return "one request"
        if workload.warm:
            return "prompts are not kept"
        return "no nested forks" if workload.line.nested else None

    def start(self) -> Any:
        """The manager, with pages for the widest block and 1024 tokens a branch."""
        if self.manager is None:
            rows = max(*self.settings.branches, len(self.settings.lengths))
            pages = rows * (2 + (self.settings.prompt + 1024) // PAGE)
            self.manager = self.model.init_continuous_batching(
                GenerationConfig(max_new_tokens=1024, do_sample=False, eos_token_id=-1),
                ContinuousBatchingConfig(
                    page_size=PAGE, num_blocks=pages, max_batch_tokens=2048, use_cuda_graph=False
                ),
            )
            self.manager.start()
        return self.manager

    def stop(self) -> None:
        """End the manager's thread, which would keep the process alive."""
        if self.manager is not None:
            self.manager.stop(block=True)

    def run(self, workload: Workload) -> Sample:
        """Trunk, branches, trunk, one after another."""
        prompt = workload.prompt_ids(self.words, self.settings.seed)
        decode, steps = ZERO, list[Step]()
        for part in (part for part in workload.line.parts if part):
            counts = [part] if isinstance(part, int) else [line.sampled for line in part]
            took = self.decode(prompt, counts)
            one = Span(took.cpu / max(counts), took.wall / max(counts))
            width = len(counts)
            steps += [Step(width, width, width > 1, one, one)] * max(counts)
            decode = decode.plus(took)
        return Sample(ZERO, decode, workload.line.sampled, tuple(steps))

    @torch.inference_mode()
    def decode(self, prompt: list[int], counts: list[int]) -> Span:
        """What so many tokens of each request take, behind the first, which is the prompt's."""
        manager = self.start()
        names = [
            manager.add_request(prompt, max_new_tokens=count + 1, streaming=True, eos_token_id=-1)
            for count in counts
        ]
        waiting, open_, begin, last = set(names), set(names), None, time.monotonic()
        while open_:
            result = manager.get_result(timeout=1)
            if result is None:
                assert time.monotonic() - last < PATIENCE, "continuous batching answers no more"
                continue
            last = time.monotonic()
            assert result.error is None, f"continuous batching: {result.error}"
            waiting.discard(result.request_id)
            if begin is None and not waiting:
                begin = now()
            if result.is_finished():
                open_.discard(result.request_id)
        assert begin is not None
        return since(begin)
