"""How many cached rows a request may need at most."""

from pinfer.params import SamplingParams
from pinfer.request.state import Request
from pinfer.scheduling.prefix_cache import shareable


def _most_rows(request: Request) -> int:
    tokens = len(request.prompt) - shareable(request)
    return kv_rows_at_most(tokens, request.params, request.rows_per_token)


def kv_rows_at_most(prompt_tokens: int, params: SamplingParams, rows_per_token: int = 4) -> int:
    """Bound on the cached rows of a request: each drawn token may bring at most three injected
    ones (a topic marker: branch, end and a share of the join; a topic's word: its header copy)."""
    return prompt_tokens + rows_per_token * params.max_new_tokens
