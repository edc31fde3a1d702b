"""Patches of upstream bugs, each with its issue, a guard, and a test that fails once fixed."""

import inspect
from typing import Any


def patch_token_wrapper() -> None:
    """Give peft's trainable-rows wrapper of a head the `bias` that trl's fused head reads.

    https://github.com/huggingface/peft/issues/3649 (seen in peft 0.21.2 with trl 1.16). A wrapper
    that has a `bias` of its own is left alone.
    """
    from peft.utils import other

    wrapper: Any = other.TrainableTokensWrapper
    if hasattr(wrapper, "bias"):
        return

    def bias(self: Any) -> Any:
        return getattr(self.token_adapter.get_base_layer(), "bias", None)

    wrapper.bias = property(bias)


def patch_token_rows() -> None:
    """Let peft read the rows that it trains from a ZeRO-3 matrix on any device.

    Since https://github.com/huggingface/peft/pull/2605 it names CUDA, and so fails on a CPU (seen
    in peft 0.21.2). A version that does not is left alone.
    """
    from peft.tuners.trainable_tokens.layer import TrainableTokensLayer
    from peft.utils.integrations import gather_params_ctx

    if 'torch.device("cuda"' not in inspect.getsource(TrainableTokensLayer._collect_token_weights):
        return

    def collect(self: Any, weight: Any, rows: Any, embed_dim: int) -> Any:
        with gather_params_ctx([weight], modifier_rank=None):  # whole, in every process
            return weight[rows].detach().clone()

    TrainableTokensLayer._collect_token_weights = collect  # type: ignore[method-assign]


def patch_head_gathering() -> None:
    """Let trl's fused head take a weight that is computed, not stored, under ZeRO-3.

    A head with trained rows (peft's `trainable_token_indices`) is such a weight: a plain tensor
    that is whole already, on which trl 1.16 asks for DeepSpeed's `ds_status` all the same (no issue
    yet; since https://github.com/huggingface/trl/pull/5873). A version that does not is left alone.
    """
    from trl.trainer import utils

    gather = utils.maybe_gather_lm_head_ctx
    if "p is not None and p.ds_status" not in inspect.getsource(gather):
        return

    def gather_stored(*parameters: Any) -> Any:
        return gather(*(p for p in parameters if hasattr(p, "ds_status")))

    utils.maybe_gather_lm_head_ctx = gather_stored


def keep_four_bits(model: Any) -> None:
    """Keep weights in 4 bit as they are stored, on a CPU with AVX512-bf16 too.

    There bitsandbytes repacks them in the first pass in eval mode for its inference kernel: scales
    rounded to bfloat16, no backward, and no return in train mode (no issue yet; seen in 0.50.2), so
    that a held-out evaluation would end the training of the layers below. Without this flag a
    layer takes the path of other CPUs.
    """
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
