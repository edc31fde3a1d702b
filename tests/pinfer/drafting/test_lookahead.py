"""Look-ahead rows change passes, never tokens; they leave nothing behind, and are as many as the
mode says."""

import copy
import json
import random
from pathlib import Path

import pytest
import torch

from pbranch.errors import AdapterError
from pbranch.format.layout import LayoutOptions
from pbranch.format.visibility import dense_mask, layout_tensor
from pbranch.hf.lookahead.files import LookaheadConfig
from pbranch.hf.lookahead.row_lora import RowLora
from pinfer.drafting.lookahead import MODES, LookaheadSource, draw, load_lookahead
from pinfer.params import EngineLimits, SamplingParams
from pinfer.scheduling.kv_bound import keep_all
from pinfer.warping import warp
from tests.pinfer.drafting.test_decoding import SETTINGS, some_prompts, written
from tests.pinfer.drafting.test_distribution import (
    PARAMS,
    PROMPT,
    as_dict,
    assert_follows,
    expected,
)
from tests.support.lookahead import Recalling, random_source, random_tensors
from tests.support.toy_engine import (
    END_OF_TEXT,
    Recorder,
    Toy,
    greedy,
    paths_of_rows,
    request_layout,
    toy_model,
)

torch.set_num_threads(1)
GREEDY = [s for s in SETTINGS if "temperature" not in s]
ROWS = EngineLimits(max_draft_rows=256)


@pytest.mark.parametrize("changes", GREEDY, ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_greedy_tokens_are_those_without_drafts(mode, changes):
    """Rows of random weights, right ones, mixed ones; nested blocks, eight prompts a pass."""
    model, prompts = toy_model("qwen3", 3), some_prompts(8, 1)
    params = [greedy(max_new_tokens=40, draft_tokens=n, **changes) for n in range(8)]
    plain = Toy(model).run(prompts, params)
    sources = [random_source(model, mode), Recalling(model, mode, plain)]
    for source in (*sources, Recalling(model, mode, plain, 0.4)):
        found = Toy(model, limits=ROWS, source=source).run(prompts, params)
        assert written(found) == written(plain)
        assert not source._logits, "what is known of requests that have ended"
        for request, other in zip(found, plain, strict=True):
            assert request.finish_reason == other.finish_reason
            assert request.stats.passes <= other.stats.passes
            if request.finish_reason == "stop":  # else the last passes may feed less
                kept, all_kept = (r.stats.fed - r.stats.dropped for r in (request, other))
                assert kept == all_kept
        assert not found[0].stats.drafted
        if isinstance(source, Recalling):
            accepted = sum(r.stats.accepted.total() for r in found)
            assert accepted > (2 if source.wrong else 8)  # markers are never guessed


@pytest.mark.parametrize("options", [LayoutOptions("flat", "own"), LayoutOptions(join="reencode")])
@pytest.mark.parametrize("mode", MODES)
def test_few_rows_and_other_layouts(mode, options):
    """Where rows are short, groups are cut; a pass never grows beyond its limit."""
    model, prompts = toy_model("mistral", 6), some_prompts(5, 2)
    plain = Toy(model, options).run(prompts, greedy(max_new_tokens=30))
    limits = EngineLimits(max_rows=9, max_requests=3, max_draft_rows=5)
    source = Recalling(model, mode, plain, 0.3)
    sizes = []
    toy = Toy(model, options, limits, source=source, on_step=lambda b, _: sizes.append(b))
    assert written(toy.run(prompts, greedy(max_new_tokens=30))) == written(plain)
    assert max(len(batch.tokens) for batch in sizes) <= 9
    assert max(sum(t.scratch or t.draft > 0 for t in b.tokens) for b in sizes) == 5


def test_what_rows_have_said_counts_in_the_next_pass_alone():
    """Where passes have no look-ahead rows in between, nothing old is guessed."""
    model, prompts, rng = toy_model("qwen3", 3), some_prompts(5, 1), random.Random(0)

    class Resting(Recalling):
        told = False
        rested = 0

        def take(self, rows, logits):
            super().take(rows, logits)
            self.told = True

        def propose(self, wishes):
            drafts = super().propose(wishes)
            assert self.told or not any(draft.tokens for draft in drafts)
            self.told, self.reach = False, rng.choice([0, 0, self.length])
            self.rested += not self.reach
            return drafts

    plain = Toy(model).run(prompts, greedy(max_new_tokens=40))
    source = Resting(model, "fused", plain, 0.5)
    found = Toy(model, limits=ROWS, source=source).run(prompts, greedy(max_new_tokens=40))
    assert written(found) == written(plain) and source.rested > 10


def test_embeddings_alone_need_no_path_of_our_own():
    """PaSS as published, on a model that transformers' own code drives."""
    model, prompts = toy_model("gemma3", 6), some_prompts(4, 2)
    plain = Toy(model).run(prompts, greedy(max_new_tokens=30))
    source = random_source(model, "tail", r=0, markov_rank=0)
    found = Toy(model, limits=ROWS, source=source).run(prompts, greedy(max_new_tokens=30))
    assert written(found) == written(plain) and any(r.stats.drafted for r in found)


@pytest.mark.parametrize("mode", MODES)
def test_ordinary_rows_are_as_without_look_ahead(mode):
    """The logits of all that was sampled, in a pass with rows of the trunk and of branches."""
    model, prompts = toy_model("qwen2", 3), some_prompts(3, 1)
    plain, found = Recorder(), Recorder()
    params = greedy(max_new_tokens=40)
    Toy(model, on_step=plain).run(prompts, params)
    source = random_source(model, mode)
    Toy(model, limits=ROWS, on_step=found, source=source).run(prompts, params)
    assert len({path for _, path, _ in plain.logits}) > 3
    for key, wanted in plain.logits.items():
        torch.testing.assert_close(found.logits[key], wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("options", [LayoutOptions(), LayoutOptions("flat", "own", "reencode")])
@pytest.mark.parametrize("mode", MODES)
def test_rows_say_what_transformers_says_with_the_lora_on_them(mode, options):
    """One forward under an explicit mask: a row sees what its anchor sees, and rows before it."""
    model = toy_model("llama", 2)
    tensors, said = random_tensors(model), []
    source = LookaheadSource(tensors, mode)
    take = source.take

    def spy(rows, logits):
        said.extend(zip(rows, logits, strict=True))
        take(rows, logits)

    source.take = spy
    toy = Toy(model, options, ROWS, source=source)
    (request,) = toy.run([[0, 1, 2]], greedy(max_new_tokens=40))
    layout = request_layout(toy, request)
    tensor, count = layout_tensor([layout]), len(layout)
    seen = dense_mask(tensor)[0, 0]
    places = zip(paths_of_rows(request), layout.position_ids, strict=False)
    row_of = {place: row for row, place in enumerate(places)}
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("sdpa")
    lora, length = RowLora(plain, tensors), len(tensors["embeddings"])
    embedded = plain.get_input_embeddings()(torch.tensor(layout.token_ids))
    own = torch.ones(length, length, dtype=torch.bool).tril()
    compared = set()
    for row, logits in said:
        anchor = row.anchor
        at = row_of.get((anchor.lane.path, anchor.position))
        if anchor.draft or at is None or layout.token_ids[at] != anchor.token_id:
            continue  # behind a guess
        blind = torch.zeros(count, length, dtype=torch.bool)
        below = torch.cat((seen[at].expand(length, -1), own), 1)
        mask = torch.cat((torch.cat((seen, blind), 1), below))
        ahead = [anchor.position + 1 + k for k in range(length)]
        with lora.on(count), torch.inference_mode():
            wanted = plain(
                inputs_embeds=torch.cat((embedded, tensors["embeddings"]))[None],
                position_ids=torch.tensor([[*layout.position_ids, *ahead]]),
                attention_mask=mask[None, None],
                use_cache=False,
            ).logits[0, count + row.position - anchor.position - 1]
        torch.testing.assert_close(logits, wanted, rtol=0, atol=1e-9)
        compared.add(anchor.lane.path)
    assert len(compared) > 2, "trunk and branches"


@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_right_rows_take_as_few_passes_and_rows_as_the_mode_says(mode, length):
    """L + 1 rows by turns and L + 2 tokens in two passes; 2 L + 1, or (L + 1)^2, and L + 1 tokens
    a pass."""
    model, n, sizes = toy_model("llama", 1, {END_OF_TEXT: -99.0}), 41, []
    params = greedy(max_new_tokens=n, mode="linear")
    plain = Toy(model).run([[0, 1]], params)
    source = Recalling(model, mode, plain, length=length)
    toy = Toy(model, limits=ROWS, source=source, on_step=lambda b, _: sizes.append(len(b.tokens)))
    (found,) = toy.run([[0, 1]], params)
    assert written([found]) == written(plain)
    per_pass = (length + 2) / 2 if mode == "two_pass" else length + 1
    # the first token comes of the prompt's pass, which drafts already
    assert abs(found.stats.passes - (n - 1) / per_pass) <= 2
    rows = {"two_pass": length + 1, "tail": 2 * length + 1, "fused": (length + 1) ** 2}[mode]
    assert set(sizes[1:-4]) == {rows}


@pytest.mark.parametrize("mode", MODES)
def test_rows_take_no_memory_that_was_not_set_aside(mode):
    for seed in range(4):
        params = greedy(max_new_tokens=12, draft_tokens=50)
        limits = EngineLimits(max_kv_rows=keep_all(3, params, 4), max_draft_rows=100)
        model = toy_model("qwen2", seed)
        plain = Toy(model).run([[1, 2, 3]], params)
        toy = Toy(model, limits=limits, source=random_source(model, mode, length=6))
        assert written(toy.run([[1, 2, 3]], params)) == written(plain)
        assert toy.most_rows <= limits.max_kv_rows


@pytest.mark.parametrize("n", [1000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_samples_follow_the_model(n):
    """Drawn guesses through the real engine: chi-square over texts of four tokens."""
    model = toy_model("qwen2", 5, {END_OF_TEXT: 1.0})
    law = expected(model, PARAMS)
    counts = dict.fromkeys(law, 0)
    limits = EngineLimits(max_rows=4096, max_draft_rows=2048)
    params = [SamplingParams(**{**as_dict(PARAMS), "seed": seed}) for seed in range(n)]
    toy = Toy(model, limits=limits, source=random_source(model, "tail"))
    found = toy.run([PROMPT] * n, params)
    for request in found:
        counts[tuple(t for t, _, _ in request.trunk.tokens())] += 1
    accepted, drafted = (
        sum(r.stats.accepted.total() for r in found), sum(r.stats.drafted for r in found)
    )  # fmt: skip
    assert 0.02 < accepted / drafted < 0.98
    assert_follows(law, counts, n)


def test_guesses_are_drawn_from_what_they_report():
    g = torch.Generator().manual_seed(1)
    logits = torch.randn(12, generator=g)
    params = SamplingParams(temperature=0.7, top_k=6, top_p=0.9, min_p=0.05)
    q = warp(logits[None], params)[0].softmax(-1)
    plain = (logits.double() / 0.7).softmax(-1)
    kept = q > 0
    assert 1 < kept.sum() <= 6 and q.sum() == pytest.approx(1)
    torch.testing.assert_close(q[kept], plain[kept] / plain[kept].sum())
    n = 4000
    counts = torch.bincount(torch.tensor([draw(q, f"{i}") for i in range(n)]), minlength=12)
    assert not counts[~kept].any()
    chi = ((counts - n * q)[kept] ** 2 / (n * q[kept])).sum()
    assert chi < int(kept.sum()) + 4 * (2 * int(kept.sum())) ** 0.5
    assert draw(q, "same") == draw(q, "same")


def stored(folder: Path, **changes) -> Path:
    folder.mkdir()
    config = LookaheadConfig("base", "2-9-0123456789abcdef", None, 2, 0, 0, 48)
    config.save(folder)
    path = folder / "lookahead_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 31}, "look-ahead embeddings of width 31, the model's is 48"),
        ({"adapter": "abc"}, "look-ahead for adapter the one of hash abc, found none"),
        ({"tokens": 0}, "tokens is 0, expected 1 or more"),
        ({"r": "many"}, "r is 'many', expected 0 or more"),
        ({"version": 9}, "version 9, this release reads 1"),
        ({"layers": 2}, "not a look-ahead config"),
    ],
    ids=str,
)
def test_files_of_another_model_are_refused(tmp_path, changes, said):
    model = toy_model("qwen3", 3)
    with pytest.raises(AdapterError, match=said) as e:
        load_lookahead(stored(tmp_path / "x", **changes), model)
    assert "\n" not in str(e.value)
