"""Patches of upstream bugs, each with its issue, a guard, and a test that fails once fixed."""

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
