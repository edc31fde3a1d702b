"""How many KV slots a request may need at most: what admission counts with."""

from typing import Protocol

from pinfer.params import SamplingParams


class KVBound(Protocol):
    """Says for a policy of the KV cache how far a request can grow."""

    def __call__(self, prompt_tokens: int, params: SamplingParams, kv_per_token: int) -> int:
        """Slots for a prompt and all that may follow it. kv_per_token: what each sampled token may
        bring, injected tokens included."""


def keep_all(prompt_tokens: int, params: SamplingParams, kv_per_token: int) -> int:
    """The bound of a cache that drops nothing."""
    return prompt_tokens + kv_per_token * params.max_new_tokens
