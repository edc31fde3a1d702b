"""Tree search over toy models: on lanes of an engine, and as a naive oracle that reads all of a
branch again for every token."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from pbranch.format.grammar import LaneState, legal_table
from pinfer.core import Core
from pinfer.params import SamplingParams
from pinfer.request.state import Request, hash_tokens
from pinfer.request.stop_strings import truncate_at_stop
from pinfer.sampling.sampler import Sampler
from pinfer.scheduling.batch import SampleSite
from pinfer.search.lanes import LaneBranches
from pinfer.search.size import most_rows
from pinfer.search.tasks.task import Task, TaskPage
from pinfer.search.tree.branch import Branch
from pinfer.search.tree.settings import SearchSettings
from pinfer.search.tree.tree_search import TreeSearch
from tests.support.toy_engine import END_OF_TEXT, KNOWN, LETTERS, MARKERS, SIZE, Toy, letters_only

PROMPT = [1, 2, 3]
PAGE = TaskPage(
    prompt="{problem}",
    thought="ab{step}",
    stop=("c",),
    thought_tokens=6,
    final="f",
    value="de",
    value_tokens=3,
    value_words={letter: float(i) for i, letter in enumerate("abcdefgh")},
    highest=16.0,
    judge="ba",
    expected="gh",
    vote="v{candidates}",
    vote_tokens=3,
    propose="p{count}",
    propose_tokens=7,
    answer="e",
    answer_tokens=4,
)


class LetterTask(Task):
    """Its votes are letters."""

    def read_vote(self, text: str, candidates: int) -> int | None:
        return LETTERS.index(text[0]) % candidates if text else None


TASK = LetterTask("toy", PAGE)


class AnyLetterCodec:
    """One token a letter; what is no letter becomes one."""

    def encode(self, text: str) -> list[int]:
        return [LETTERS.index(c) if c in LETTERS else ord(c) % 16 for c in text]

    def decode(self, ids: Sequence[int]) -> str:
        return letters_only(ids)


CODEC: Any = AnyLetterCodec()


def sampling(**changes: Any) -> SamplingParams:
    """Parameters of a search request."""
    return SamplingParams(**{"max_new_tokens": 1, "mode": "linear", "seed": 1, **changes})


@dataclass
class LaneSearch:
    """A search on the lanes of a toy engine; the arena is checked after every pass."""

    toy: Toy
    settings: SearchSettings
    task: Task = TASK
    params: SamplingParams = field(default_factory=sampling)
    schedule: Any = None
    on_step: Callable[["LaneSearch"], None] = lambda search: None

    def run(self) -> TreeSearch:
        self.core: Core = self.toy.core()
        rows = most_rows(self.task, self.settings, lambda text: len(CODEC.encode(text)))
        self.branches = LaneBranches(CODEC, rows, self.schedule)
        self.search = self.branches.search = TreeSearch(self.task, self.settings, self.branches)
        add = self.core.scheduler.add
        self.request: Request = add(list(PROMPT), self.params, controller=self.branches)
        while self.core.busy:
            self.core.step()
            self.core.runner.runner.arena.check()
            self.core.runner.cache.check()
            self.on_step(self)
        if self.request.error is not None:
            raise self.request.error
        assert self.search.done and self.request.finish_reason == "stop"
        self.core.scheduler.prefixes.evict(0)
        assert self.core.runner.runner.arena.rows == 0, "rows are left in the arena"
        assert not self.core.runner.cache._homes, "lanes are left in the cache"
        return self.search


class NaiveBranches:
    """Each token of each branch is one forward over all of its text; nothing is cached or shared.
    `computed`: tokens of these forwards, had each branch been read once."""

    def __init__(self, model: Any, params: SamplingParams) -> None:
        self.model, self.params, self.computed = copy.deepcopy(model), params, 0
        self.model.set_attn_implementation("sdpa")
        table = legal_table(MARKERS, [END_OF_TEXT], SIZE, range(KNOWN))
        self.sampler = Sampler(torch.from_numpy(table))
        self.texts: dict[Branch, list[int]] = {}
        self.waiting: list[Branch] = []

    def run(self, task: Task, settings: SearchSettings) -> TreeSearch:
        search = TreeSearch(task, settings, self)
        self.texts[search.root.branch] = list(PROMPT)
        search.start()
        while not search.done:
            branch = self.waiting.pop()  # the newest first: another order than the engine's
            self.decode(branch)
            search.take(branch)
        return search

    def open(self, branch: Branch) -> None:
        self.waiting.append(branch)

    def drop(self, branch: Branch) -> int:
        self.waiting = [x for x in self.waiting if x.path[: len(branch.path)] != branch.path]
        return 0

    def decode(self, branch: Branch) -> None:
        ids = [*self.texts[branch.parent], *CODEC.encode(branch.header)]
        expected = CODEC.encode(branch.expected)
        if expected:
            scores = self.logits([*ids, *expected]).log_softmax(-1)
            scored = enumerate(expected, len(ids) - 1)
            branch.logprob = sum(float(scores[i, token]) for i, token in scored)
        sampled: list[int] = []
        while len(sampled) < branch.tokens:
            path = tuple((0, number) for number in branch.path)
            key = hash_tokens(PROMPT)
            place, state = len(ids), LaneState.TRUNK_FLAT
            site = SampleSite(0, self.params, path, place, state, frozenset(ids), prompt_key=key)
            token = self.sampler(self.logits(ids)[-1:], [site])[0].token
            if token == END_OF_TEXT:
                branch.ended = True
                break
            ids.append(token)
            sampled.append(token)
            text = letters_only(sampled)
            if any(stop in text for stop in branch.stop):
                break
        if branch.tokens:
            branch.text = truncate_at_stop(letters_only(sampled), branch.stop)
        self.texts[branch] = ids
        self.computed += len(ids)

    @torch.inference_mode()
    def logits(self, ids: list[int]) -> torch.Tensor:
        return self.model(torch.tensor([ids]), use_cache=False).logits[0]
