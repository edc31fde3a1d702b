"""What real tokenizers do and trained toys do not: merges across seams, ids in gaps, templates that
bring a system text of their own."""

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from pbranch.format.layout import build_layout
from pbranch.format.markers import add_markers
from pbranch.format.tagged_text import parse
from pbranch.hf.load_model import vocabulary_size
from pbranch.hf.prompt import render_prompt
from pbranch.hf.segment_codec import SegmentCodec
from tests.support.real_tokenizers import REAL_TOKENIZERS, real_tokenizer

TEXT = (
    "Both.<|pb_fork|><|pb_topic|>the first<|pb_topic|>the re<|pb_spawn|>"
    "<|pb_branch|>the first: 12 and<|pb_end|><|pb_branch|>the re: so<|pb_end|><|pb_join|> Done."
)


@pytest.fixture(params=REAL_TOKENIZERS)
def tokenizer(request):
    return real_tokenizer(request.param)


@pytest.mark.parametrize(
    ("left", "right", "merges"),
    [(" the", "re", True), (" a", "n", True), (" ", " a", False)],
)
def test_nothing_merges_across_a_seam(tokenizer, left, right, merges):
    """Though as one text it would."""
    codec = SegmentCodec(tokenizer)
    ids = codec.encode(left) + codec.encode(right)
    assert (ids != codec.encode(left + right)) == merges
    assert codec.decode(ids) == left + right


def test_a_trace_is_laid_out_and_read_back(tokenizer):
    markers = add_markers(tokenizer)
    layout = build_layout([0], parse(TEXT), SegmentCodec(tokenizer), markers)
    text = tokenizer.decode(layout.token_ids, skip_special_tokens=False)
    for part in ("Both.", "the first: 12 and", "the re: so", " Done."):
        assert part in text


def test_markers_stand_behind_all_ids(tokenizer):
    """Also where ids have gaps: no token of the base loses its id."""
    before = tokenizer.get_vocab()
    size = vocabulary_size(tokenizer)
    ids = sorted(add_markers(tokenizer).as_dict().values())
    assert ids == list(range(size, size + 6))
    after = tokenizer.get_vocab()
    assert {token: after[token] for token in before} == before


def test_the_default_system_text_stands_unless_another_is_given(tokenizer):
    def shown(**options):
        ids = render_prompt("Hi", tokenizer, **options)
        return tokenizer.decode(ids, skip_special_tokens=False)

    assert "You are" in shown() and shown().endswith("<|im_start|>assistant\n")
    assert "You are" not in shown(system="Be brief.") and "Be brief." in shown(system="Be brief.")
    assert "You are" not in shown(system="")


def test_only_ids_with_text_are_sampled(tmp_path):
    """A vocabulary with a gap, in a model whose rows go beyond the tokenizer."""
    from pinfer import Engine, SamplingParams

    tokenizer = real_tokenizer("qwen2.5")
    size = vocabulary_size(tokenizer) + 271  # padded, as Qwen2.5's 151936 rows are
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=size, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    engine = Engine.from_pretrained(str(tmp_path), "none", device="cpu")
    params = SamplingParams(max_new_tokens=60, temperature=3.0, seed=1)
    answers = engine.generate(["Hi", "So"], params, n=4)
    known = set(tokenizer.get_vocab().values())
    drawn = {token for answer in answers for token in answer.token_ids}
    assert len(drawn) > 200 and drawn <= known
