"""A model that drafts: fed what the large one is fed, and nothing of its guesses is left behind."""

import copy
import math
import random
from collections import Counter
from dataclasses import replace

import pytest
import torch

from pbranch.errors import ModelError
from pbranch.format.layout import LayoutOptions
from pinfer.drafting.auto import AutoSource
from pinfer.drafting.draft import Draft
from pinfer.drafting.ngram import NgramSource
from pinfer.execution.forward import PassInput
from pinfer.execution.runner import Runner
from pinfer.models.draft_model import ModelSource, OtherVocabulary, draw
from pinfer.models.fast import FastModel
from pinfer.models.general import GeneralModel
from pinfer.models.load_draft import check_same_tokens
from pinfer.params import EngineLimits, SamplingParams
from pinfer.sampling.noise import gumbel
from pinfer.sampling.processors import process
from pinfer.scheduling.batch import SampleSite
from tests.pinfer.drafting.test_distribution import (
    PARAMS,
    PROMPT,
    as_dict,
    assert_follows,
    expected,
)
from tests.support.toy_engine import END_OF_TEXT, SIZE, Toy, greedy, pieces, toy_model

torch.set_num_threads(1)
LAYOUTS = [LayoutOptions(), LayoutOptions("flat", "own"), LayoutOptions("max", "own", "reencode")]


def some_prompts(n, seed, longest=9):
    rng = random.Random(seed)
    return [[rng.randrange(16) for _ in range(rng.randint(1, longest))] for _ in range(n)]


def noisy(model, amount, seed=0):
    """The model with other weights: the more, the fewer of its guesses are right."""
    other, g = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    for weight in other.parameters():
        noise = torch.randn(weight.shape, generator=g, dtype=weight.dtype)
        weight.data += amount * weight.data.std().nan_to_num() * noise
    return other


class Checked(ModelSource):
    """Checks the arena after each answer: it holds what the large model was fed, no guess."""

    def __init__(self, model, context=2048, fast=True):
        forward = FastModel(copy.deepcopy(model)) if fast else GeneralModel(copy.deepcopy(model))
        super().__init__(Runner(forward, pieces), context)
        self.passes = 0

    def propose(self, wishes):
        drafts = super().propose(wishes)
        self.runner.arena.check()
        for lane, _ in wishes:
            if lane.request not in self._left:
                fed = self.cache.length(lane.newest.home)
                joined = [x for f in lane.forks for x in f.hidden if f.joined]
                assert fed and all(self.cache.segment(x) is None for x in joined)
        return drafts

    def _run(self, tokens, at):
        self.passes += 1
        return super()._run(tokens, at)

    def assert_empty(self):
        assert self.runner.arena.rows == 0 and not self.cache._homes
        assert not self._behind and not self._left


def written(requests):
    return [list(r.trunk.tokens()) for r in requests]


SETTINGS = [
    {},
    {"repetition_penalty": 1.3, "stop": ("ab", "c"), "max_width": 2},
    {"mode": "serial", "max_branch_tokens": 7, "stop_token_ids": (3,)},
    {"mode": "linear"},
]


@pytest.mark.parametrize("options", LAYOUTS, ids=str)
@pytest.mark.parametrize("changes", SETTINGS, ids=str)
def test_greedy_tokens_are_those_without_drafts(changes, options):
    """Nested and repeated blocks, prompts that begin alike, requests that want no drafts."""
    model = toy_model("qwen3", 3)
    prompts = [*some_prompts(5, 1), [*range(10)] * 4, [*range(10)] * 4 + [3]]
    params = [greedy(max_new_tokens=45, draft_tokens=n, **changes) for n in (1, 2, 0, 4, 8, 3, 5)]
    plain = Toy(model, options).run(prompts, params)
    rates = []
    for amount in (0.0, 0.3):
        source = Checked(noisy(model, amount))
        limits = EngineLimits(max_draft_rows=24)
        found = Toy(model, options, limits, source=source).run(prompts, params)
        assert written(found) == written(plain)
        source.assert_empty()
        drafted = sum(r.stats.drafted for r in found)
        rates.append(sum(r.stats.accepted.total() for r in found) / drafted)
    assert rates[1] < rates[0]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_same_model_is_always_right(temperature):
    """Where nothing is barred. Sampled guesses, too: p = q, whatever the noise."""
    letters_only = dict.fromkeys(range(16, SIZE), -1e3)
    model = toy_model("qwen3", 3, letters_only)
    params = greedy(max_new_tokens=41, draft_tokens=3, mode="linear", temperature=temperature)
    source = Checked(model)
    (request,) = Toy(model, source=source).run([[1, 2, 3]], params)
    assert request.stats.accepted.total() == request.stats.drafted
    assert request.stats.passes == 10  # of four tokens, behind the prompt's


@pytest.mark.parametrize("options", LAYOUTS, ids=str)
@pytest.mark.parametrize("kind", ["gemma3", "mistral", "llama"])
def test_its_logits_are_those_of_the_large_model(kind, options):
    """The same model drafting: what it sees at a lane's newest token is what the large one sees
    there, in nested blocks, behind joins, after a while without guesses."""
    model, seen, compared = toy_model(kind, 6), {}, 0

    class Asking(Checked):
        def propose(self, wishes):
            return super().propose(wishes) if rng.random() < 0.5 else [Draft()] * len(wishes)

        def _catch_up(self, wishes):
            logits = super()._catch_up(wishes)
            for (lane, _), row in zip(wishes, logits, strict=True):
                seen[lane.request.number, lane.path, lane.newest.position] = row
            return logits

    def look(batch, logits):
        nonlocal compared
        for site, row in zip(batch.sites, logits, strict=True):
            key = site.request, site.path, site.position - 1
            if key in seen:
                torch.testing.assert_close(row, seen.pop(key), rtol=0, atol=1e-9)
                compared += len(key[1]) > 0

    rng = random.Random(4)
    source = Asking(model, fast=kind != "gemma3")
    toy = Toy(model, options, on_step=look, source=source)
    toy.run(some_prompts(6, 2), greedy(max_new_tokens=60, draft_tokens=3))
    assert compared > 20 and not seen
    source.assert_empty()


def sample_texts(model, source, n):
    """How often each text was sampled, and the share of guesses that were right."""
    limits = EngineLimits(max_draft_rows=500)
    params = [SamplingParams(**{**as_dict(PARAMS), "seed": seed}) for seed in range(n)]
    found = Toy(model, limits=limits, source=source).run([PROMPT] * n, params)
    counts = Counter(tuple(t for t, _, _ in request.trunk.tokens()) for request in found)
    accepted = sum(request.stats.accepted.total() for request in found)
    return counts, accepted / sum(request.stats.drafted for request in found)


@pytest.mark.parametrize(
    ("amount", "n"), [(0.3, 1000), (0.8, 1000), pytest.param(0.3, 25_000, marks=pytest.mark.slow)]
)
def test_samples_follow_the_large_model(amount, n):
    model = toy_model("qwen2", 5, {END_OF_TEXT: 1.0})
    source = Checked(noisy(model, amount))
    counts, right = sample_texts(model, source, n)
    assert 0.02 < right < 0.98
    assert_follows(expected(model, PARAMS), counts, n)
    source.assert_empty()


def test_guesses_have_noise_of_their_own():
    """Else a guess and what is sampled in its place would not be independent."""
    sites = [SampleSite(0, PARAMS, (), position, 0) for position in range(200)]
    like = torch.zeros(200, SIZE)
    own, other = gumbel(sites, like, "|draft 0"), gumbel(sites, like)
    assert abs(torch.corrcoef(torch.stack((own.flatten(), other.flatten())))[0, 1]) < 0.05
    tokens, _ = draw(like, sites, 0)
    assert tokens == own.argmax(-1).tolist() != other.argmax(-1).tolist()
    assert tokens != draw(like, sites, 1)[0], "and that of no other draft's place"


@torch.inference_mode()
def test_it_reports_what_each_guess_was_drawn_from():
    """The small model's own distributions, each behind the text and the guesses before it."""
    model = toy_model("qwen2", 5, {END_OF_TEXT: 1.0})
    small, found = noisy(model, 0.3), []

    class Noting(Checked):
        def propose(self, wishes):
            drafts = super().propose(wishes)
            for (lane, _), draft in zip(wishes, drafts, strict=True):
                found.append(([*PROMPT, *(t for t, _ in lane.items)], draft))
            return drafts

    params = [replace(PARAMS, max_new_tokens=12, seed=seed) for seed in range(12)]
    Toy(model, source=Noting(small)).run([PROMPT] * 12, params)
    small.set_attn_implementation("sdpa")
    compared = 0
    for text, draft in found:
        for i, row in enumerate(draft.distributions):
            ids = [*text, *draft.tokens[:i]]
            logits = small(torch.tensor([ids]), use_cache=False).logits[0, -1:]
            site = SampleSite(0, PARAMS, (), len(ids), 0, frozenset(ids))
            wanted = process(logits, [site])[0].softmax(-1)
            torch.testing.assert_close(row, wanted, rtol=0, atol=1e-9)
            compared += i > 0
    assert compared > 20


def test_guesses_are_drawn_from_what_is_reported():
    """With every parameter, and with noise that is not the large model's."""
    g = torch.Generator().manual_seed(2)
    logits = 2 * torch.randn(1, SIZE, generator=g, dtype=torch.float64)
    params = SamplingParams(temperature=0.8, top_k=6, top_p=0.9, repetition_penalty=1.2)
    counts, n = torch.zeros(SIZE), 4000
    for position in range(n):
        site = SampleSite(0, params, (), position, 0, frozenset({1, 2}))
        (token,), (row,) = draw(logits, [site], 0)
        counts[token] += 1
    assert 1 < (row > 0).sum() <= 6 and row.sum() == pytest.approx(1)
    assert (counts[row == 0] == 0).all()
    expected_counts = row[row > 0] * n
    chi = ((counts[row > 0] - expected_counts) ** 2 / expected_counts).sum()
    assert chi < 30


@pytest.mark.parametrize("steps", range(1, 12))
def test_an_abort_in_the_middle_leaves_nothing(steps):
    model, prompts = toy_model("qwen3", 3), some_prompts(4, 1)
    plain = Toy(model).run(prompts, greedy())
    source = Checked(noisy(model, 0.2))
    core = Toy(model, source=source).core()
    requests = [core.scheduler.add(list(p), greedy()) for p in prompts]
    for _ in range(steps):
        core.step()
    core.scheduler.abort(requests[1])
    source.runner.arena.check()
    while core.busy:
        core.step()
        core.runner.runner.arena.check()
    for i in (0, 2, 3):
        assert written([requests[i]]) == written([plain[i]])
    core.scheduler.prefixes.evict(0)
    assert core.runner.runner.arena.rows == 0 and not core.runner.cache._homes
    source.assert_empty()


def test_a_pass_that_fails_leaves_nothing():
    model = toy_model("llama", 3)

    class Failing(Checked):
        def _run(self, tokens, at):
            if self.passes == 7:
                raise RuntimeError("no memory")
            return super()._run(tokens, at)

    source = Failing(model)
    core = Toy(model, source=source).core()
    requests = [core.scheduler.add([n], greedy(draft_tokens=3)) for n in range(3)]
    while core.busy:
        core.step()
    assert any(r.finish_reason == "error" and str(r.error) == "no memory" for r in requests)
    source.runner.arena.check()
    source.assert_empty()


def test_all_lanes_are_drafted_for_in_the_same_passes():
    """One that catches up, and one for each further guess of the longest draft."""
    model = toy_model("llama", 1, {})
    source = Checked(model)
    asked = []
    propose = source.propose

    def watch(wishes):
        before = source.passes
        drafts = propose(wishes)
        longest = max(len(d.tokens) for d in drafts)
        asked.append((len(wishes), source.passes - before, longest))
        return drafts

    source.propose = watch
    limits = EngineLimits(max_draft_rows=100)
    params = greedy(max_new_tokens=30, draft_tokens=4, mode="linear")
    Toy(model, limits=limits, source=source).run([[n] for n in range(5)], params)
    assert max(lanes for lanes, _, _ in asked) == 5
    assert all(passes == longest for _, passes, longest in asked)


def test_a_text_beyond_its_context_goes_on_without_it():
    model = toy_model("qwen2", 4, {})
    params = greedy(max_new_tokens=40, mode="linear", draft_tokens=3)
    plain = Toy(model).run([[1, 2], [3]], params)
    source = Checked(model, context=20)
    found = Toy(model, source=source).run([[1, 2], [3]], params)
    assert written(found) == written(plain)
    assert 0 < found[0].stats.drafted <= 20
    source.assert_empty()


def test_a_request_that_it_has_no_room_for_goes_on_without_it():
    """Ten samples of a prompt, which the large model keeps once and this one ten times."""
    model, prompt = toy_model("qwen2", 4, {}), [*range(10)] * 8
    params = greedy(max_new_tokens=20, mode="linear", draft_tokens=3)
    limits = EngineLimits(max_kv_rows=900)
    plain = Toy(model, limits=limits).run([prompt] * 10, params)
    source = Checked(model)
    found = Toy(model, limits=limits, source=source).run([prompt] * 10, params)
    assert written(found) == written(plain)
    assert [r.stats.drafted > 0 for r in found].count(True) == 900 // (80 + 20)
    source.assert_empty()


def test_auto_changes_no_token_with_either_source():
    model, prompts = toy_model("qwen3", 3), some_prompts(6, 1)
    params = [greedy(max_new_tokens=60, draft_tokens=n) for n in (1, 2, 4, 8, 3, 5)]
    plain = Toy(model).run(prompts, params)
    source = Checked(noisy(model, 0.1))
    auto = AutoSource(NgramSource(longest=3, shortest=1), source)
    found = Toy(model, source=auto).run(prompts, params)
    assert written(found) == written(plain)
    source.assert_empty()
    assert not auto.rivals[0]._requests and not auto.rivals[0]._open


class Plain:
    """A forward of ten tokens, whose logits are its input's ids."""

    layers, device = 1, torch.device("cpu")

    def __call__(self, batch):
        self.fed = batch.token_ids.tolist()
        return torch.arange(10.0).expand(len(batch.token_ids), -1)


@pytest.mark.parametrize("size", [8, 10, 14])
def test_ids_that_it_lacks_are_fed_as_others_and_never_guessed(size):
    """Ten ids, of which eight have text in both vocabularies."""
    plain = Plain()
    ids = torch.tensor([3, 9, 12, 13])
    model = OtherVocabulary(plain, known=10, texts=8, size=size, stand_in=5)
    logits = model(PassInput(ids, ids, None, ids))
    assert plain.fed == [3, 9, 5, 5]
    assert logits.tolist() == [[*map(float, range(8)), *[-math.inf] * (size - 8)]] * 4


def test_another_tokenizer_is_one_line():
    ours = {"a": 0, "b": 1, "c": 2, "<fork>": 3}
    check_same_tokens(ours, {"a": 0, "b": 1, "c": 2}, "small")
    check_same_tokens(ours, {"a": 0, "b": 1, "c": 2, "<unused>": 3, "d": 4}, "small", [3])
    check_same_tokens({"a": 0, "b": 1}, {"a": 0, "b": 1, "<pad>": 2}, "small")
    with pytest.raises(ModelError, match=r"model:small.*2 ids differ, the first is 1, 'c' and not"):
        check_same_tokens(ours, {"a": 0, "c": 1, "b": 2}, "small")


def test_no_more_is_guessed_than_is_fed():
    """Guesses cost passes of the small model: lanes share the rows before it is asked."""
    model = toy_model("llama", 1, dict.fromkeys(range(16, SIZE), -1000.0))  # no marker, no end
    for lanes in (1, 4, 16):
        source, guessed = Checked(model), []
        propose = source.propose

        def watched(wishes, propose=propose, guessed=guessed):
            drafts = propose(wishes)
            guessed += [len(draft.tokens) for draft in drafts]
            return drafts

        source.propose = watched
        params = greedy(max_new_tokens=30, draft_tokens=8, mode="linear")
        found = Toy(model, source=source).run([[n] for n in range(lanes)], params)
        assert sum(guessed) == sum(r.stats.drafted for r in found) > 20
