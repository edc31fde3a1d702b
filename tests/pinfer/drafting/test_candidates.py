"""`generate` of transformers with look-ahead drafts: the tokens that it gives without, in fewer
passes where guesses are right."""

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from pbranch.hf.fingerprint import fingerprint
from pbranch.hf.load_model import load_config
from pbranch.hf.lookahead.files import WEIGHTS, LookaheadConfig, tensor_shapes
from pinfer.drafting.candidates import LookaheadGenerate
from tests.support.checkpoints import save_base

torch.set_num_threads(1)
LENGTH, NEW = 3, 40


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def base(request, byte_tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases") / request.param
    return save_base(folder, byte_tokenizer, request.param)


@pytest.fixture
def model(base):
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)


def stored(base, model, folder, r=4, markov_rank=4):
    """Random look-ahead files of a base."""
    folder.mkdir()
    form = fingerprint(str(base), load_config(str(base)))
    config = LookaheadConfig(
        str(base), form, None, LENGTH, r, markov_rank, model.config.hidden_size
    )
    g = torch.Generator().manual_seed(0)
    shapes = tensor_shapes(config, model)
    save_file({k: 0.3 * torch.randn(s, generator=g) for k, s in shapes.items()}, folder / WEIGHTS)
    config.save(folder)
    return folder


def count_passes(model):
    passes = []
    model.base_model.register_forward_hook(lambda *_: passes.append(1))
    return passes


@pytest.mark.parametrize("r", [0, 4])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_tokens_are_those_without(base, model, tmp_path, r, penalty):
    ids = torch.tensor([[5, 6, 7, 8]])
    options = {"max_new_tokens": NEW, "do_sample": False, "repetition_penalty": penalty}
    plain = model.generate(ids, **options)
    way = LookaheadGenerate(model, stored(base, model, tmp_path / "x", r, r))
    passes = count_passes(model)
    assert torch.equal(model.generate(ids, custom_generate=way, **options), plain)
    assert len(passes) <= plain.shape[1] - ids.shape[1] + 1  # never more than without, but one
    assert torch.equal(model.generate(ids, **options), plain)  # the model is as before


def test_right_guesses_save_passes(base, model, tmp_path, monkeypatch):
    """L + 2 tokens in two passes: rows that say what was said before."""
    ids = torch.tensor([[5, 6, 7, 8]])
    options = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False}
    plain = model.generate(ids, **options)
    way = LookaheadGenerate(model, stored(base, model, tmp_path / "x", 0, 0))
    passes = count_passes(model)

    def tell(self, ids, ahead, model_kwargs):
        passes.append(1)
        wanted = plain[0, ids.shape[1] :][: len(ahead) + 1]
        return torch.nn.functional.one_hot(wanted, model.config.vocab_size).double()

    monkeypatch.setattr("pinfer.drafting.candidates.Candidates._look_ahead", tell)
    found = model.generate(ids, custom_generate=way, **options)
    assert torch.equal(found, plain)
    assert abs(len(passes) - 2 * NEW / (LENGTH + 2)) <= 2


def test_samples_follow_the_model(base, model, tmp_path):
    """Texts of two tokens, most guesses wrong: chi-square over the likeliest ones."""
    model.lm_head.weight.data *= 6.0
    way = LookaheadGenerate(model, stored(base, model, tmp_path / "x"))
    ids, n = torch.tensor([[5, 6, 7]]), 600
    sample = {"do_sample": True, "top_k": 3, "max_new_tokens": 3, "min_new_tokens": 3}

    def law(ids):
        logits = model(ids).logits[0, -1].topk(3)
        return dict(zip(logits.indices.tolist(), logits.values.softmax(-1).tolist(), strict=True))

    expected = {}
    with torch.no_grad():
        for a, p in law(ids).items():
            for b, q in law(torch.cat((ids, torch.tensor([[a]])), 1)).items():
                expected[a, b] = p * q
    torch.manual_seed(0)
    counts = dict.fromkeys(expected, 0)
    for _ in range(n):
        found = model.generate(ids, custom_generate=way, pad_token_id=0, **sample)
        counts[tuple(found[0, 3:5].tolist())] += 1
    chi = sum((counts[k] - n * p) ** 2 / (n * p) for k, p in expected.items() if n * p > 5)
    assert chi < 27  # eight degrees of freedom, one in a thousand
