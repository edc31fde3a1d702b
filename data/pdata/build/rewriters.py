"""Opens what a build may use besides the rules: a server's model, and a model that judges."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pbranch import console
from pdata.build.process_line import Rewriter


@contextmanager
def open_rewriter(
    base_url: str,
    model: str,
    votes: int,
    cache: Path,
    prices: tuple[float, float] = (0, 0),
    timeout: float = 600.0,
) -> Iterator[Rewriter | None]:
    """The rewriter of a server's model, None without one; says at the end what was asked, and what
    it cost at `prices` per million tokens in and out. timeout: seconds for one reply."""
    if not base_url:
        yield None
        return
    from pdata.llm.chat_client import Client
    from pdata.llm.rewriter import LLMRewriter

    with Client(base_url, model, cache=cache, timeout=timeout) as client:
        try:
            yield LLMRewriter(client, votes=votes).rewrite
        finally:
            used = client.usage
            print(
                f"{used.requests} requests, {used.cache_hits} replies from {cache}, "
                f"{used.retries} retries; tokens: {used.prompt_tokens} in, "
                f"{used.completion_tokens} out"
                + (f"; cost {used.cost(*prices):.2f}" if any(prices) else ""),
                file=sys.stderr,
            )


def open_judge(name: str, threshold: float | None, trust_remote_code: bool = False) -> Any:
    """A `pdata.judge.judge.Judge`. Raises ModelError where the model cannot judge."""
    from pdata.judge.judge import THRESHOLD, Judge

    console.quiet_libraries()
    threshold = THRESHOLD if threshold is None else threshold
    return Judge(name, threshold, trust_remote_code=trust_remote_code)
