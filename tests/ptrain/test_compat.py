"""Each patch of an upstream bug is still needed; a failure here means that it can go."""

import sys
from importlib.util import find_spec

import pytest
import torch

from ptrain.compat import keep_four_bits
from tests.support.run_command import run_command

UNPATCHED = """
from peft.utils.other import TrainableTokensWrapper
assert not hasattr(TrainableTokensWrapper, "bias"), "peft#3649 is fixed: remove the patch"
from ptrain.compat import patch_token_wrapper
patch_token_wrapper()
first = TrainableTokensWrapper.bias
patch_token_wrapper()
assert TrainableTokensWrapper.bias is first
"""


def test_the_token_wrapper_still_lacks_a_bias():
    done = run_command(sys.executable, "-c", UNPATCHED)
    assert done.returncode == 0, done.stderr


ROWS = """
import inspect
from peft.tuners.trainable_tokens.layer import TrainableTokensLayer as Layer
first = Layer._collect_token_weights
assert 'torch.device("cuda"' in inspect.getsource(first), "peft names no device: remove the patch"
from ptrain.compat import patch_token_rows
patch_token_rows()
second = Layer._collect_token_weights
assert second is not first
patch_token_rows()
assert Layer._collect_token_weights is second
"""
HEAD = """
import torch, transformers.integrations.deepspeed as integration
from trl.trainer import utils
integration.is_deepspeed_zero3_enabled = lambda: True
weight = torch.zeros(2, 2)
try:
    utils.maybe_gather_lm_head_ctx(weight)
except AttributeError:
    pass
else:
    raise AssertionError("trl takes a computed weight: remove the patch")
from ptrain.compat import patch_head_gathering
patch_head_gathering()
patched = utils.maybe_gather_lm_head_ctx
with patched(weight, None):
    pass
patch_head_gathering()
assert utils.maybe_gather_lm_head_ctx is patched
"""


def test_peft_still_reads_rows_on_cuda_alone():
    done = run_command(sys.executable, "-c", ROWS)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow  # and run there, for .ci/run has DeepSpeed by then
@pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")
def test_trl_still_takes_a_stored_head_only():
    done = run_command(sys.executable, "-c", HEAD)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow  # and run there, for .ci/run has bitsandbytes by then
def test_four_bits_are_still_repacked_in_eval_mode() -> None:
    bnb = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    if not bnb.functional.has_avx512bf16():
        pytest.skip("a CPU without AVX512-bf16")

    def repacked(layer) -> bool:
        layer.eval()(torch.ones(1, 64))
        return getattr(layer.weight.quant_state, "packing_format_for_cpu", False)

    def quantised():
        return bnb.nn.Linear4bit(64, 64, bias=False).requires_grad_(False).to("cpu")

    assert repacked(quantised()), "bitsandbytes keeps its weights: remove the patch"
    kept = quantised()
    keep_four_bits(kept)
    assert not repacked(kept)
