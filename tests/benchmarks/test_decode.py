"""benchmarks/decode.py: its own peers do as much as ours, and its options are those of bench."""

import importlib
import sys
from dataclasses import replace

import pytest

from pbranch.errors import RequestError
from pinfer.bench.workload import equal, staged
from tests.support.repository import ROOT


@pytest.fixture
def scripts(monkeypatch):
    """The modules of benchmarks/ that decode.py is made of."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def test_continuous_batching_does_as_much(suite, scripts):
    batching = scripts("batching").Batching(suite.plain, suite.settings)
    work = equal(12, 3, 5, 8)
    assert batching.refusal(staged(12)) == "no nested forks"
    try:
        sample = batching.run(work)
    finally:
        batching.stop()
    assert len(sample.steps) == work.line.passes and sample.tokens == work.line.sampled
    assert sample.decode.cpu > 0


def test_llama_is_skipped_with_its_reason(suite, scripts, monkeypatch, capsys):
    llama = scripts("llama")
    monkeypatch.setattr(llama, "find_spec", lambda name: None)
    assert llama.make_llamas(suite.settings) == []
    assert "skipped, as xllamacpp and gguf cannot be imported" in capsys.readouterr().out


def test_every_weight_has_a_name_in_llama(suite, scripts):
    names = [scripts("llama").gguf_name(name) for name in suite.plain.state_dict()]
    assert len(set(names)) == len(names)
    assert {"token_embd.weight", "output_norm.weight", "blk.1.ffn_down.weight"} <= set(names)
    assert "blk.0.attn_q_norm.weight" in names  # the model is a Qwen3


def test_decode_takes_the_options_of_bench(suite, scripts, monkeypatch):
    """Those that are not given stay out, so that --quick has its own; peers are chosen by name."""
    decode = scripts("decode")
    monkeypatch.setattr(sys, "argv", "decode.py --quick --branches 4,8 --minutes 1.5".split())
    args = decode.parse()
    assert (args.branches, args.minutes, hasattr(args, "tokens")) == ((4, 8), 1.5, False)
    assert [p.name for p in decode.choose(suite.peers, ["HF generate"])] == ["HF generate"]
    with pytest.raises(RequestError, match="--peers 'vllm': expected HF generate, HF batch"):
        decode.choose(suite.peers, ["vllm"])
    monkeypatch.setattr(sys, "argv", "decode.py --branches 4,x".split())
    with pytest.raises(RequestError, match="--branches '4,x': expected numbers"):
        decode.parse()


def test_peers_by_name_leave_a_run_without_peers_alone(suite, scripts, monkeypatch):
    """W8 on the shape `host` has none to choose from."""
    decode = scripts("decode")
    alone = replace(suite.settings, peers=False)
    monkeypatch.setattr(suite, "peers", [])
    monkeypatch.setattr(decode, "Suite", lambda settings, others: suite)
    assert decode.measure(alone, [], "HF generate")["findings"] == []
