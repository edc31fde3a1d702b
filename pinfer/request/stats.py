"""What is counted of a request while it is decoded."""

from collections import Counter
from dataclasses import dataclass, field

from pinfer.eviction.trace import KVTrace


@dataclass(slots=True)
class RequestStats:
    """Counts and times (seconds of the monotonic clock) of a request. `fed`: tokens of its decode
    passes, `dropped`: cached ones that were truncated; `widest`: most lanes live at once;
    `drafted`: guesses that were fed, `accepted`: those confirmed, by place in their draft; `kv`:
    where tokens are evicted; `started`: 0 while the request waits for a place."""

    passes: int = 0
    fed: int = 0
    dropped: int = 0
    widest: int = 0
    drafted: int = 0
    accepted: Counter[int] = field(default_factory=Counter)
    interventions: int = 0
    started: float = 0.0
    first_token: float = 0.0
    finished: float = 0.0
    kv: KVTrace | None = None
