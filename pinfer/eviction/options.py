"""What a caller can set of eviction: the policy by name, the budget, the page. No tensors."""

import math
from dataclasses import dataclass

from pbranch.errors import RequestError

# a file each in `policies/`
NAMES = ("raas", "random", "value", "sink", "h2o", "lazy", "none")
TIMED = ("raas", "lazy")  # those that note when a page was last used


@dataclass(frozen=True, slots=True)
class KVOptions:
    """budget: cached tokens that a lane sees at most, its prompt and its ancestors' included, and
    the page that it fills besides; a float is a share of what a request may come to have (prompt
    and max_new_tokens). on_top: the prompt comes on top of the budget, and a share is of
    max_new_tokens. page: tokens that go together. ratio: the share of pages that a step counts as
    used (raas, lazy) or that is kept from eviction (h2o the newest, value the strongest); alpha,
    where given, counts as used what has more weight instead. seed: of the random policies.
    shared_ts: an ancestor's page is as lately used as by any branch of the request (raas, lazy):
    what a branch says then depends on its siblings, and on how far they are."""

    policy: str = "raas"
    budget: int | float = 1024
    page: int = 16
    ratio: float = 0.5
    alpha: float | None = None
    on_top: bool = False
    seed: int = 0
    shared_ts: bool = False

    def __post_init__(self) -> None:
        if self.policy not in NAMES:
            raise RequestError(f"kv {self.policy!r}: expected one of {', '.join(NAMES)}")
        share = isinstance(self.budget, float)
        if not (0 < self.budget <= 1 if share else self.budget >= 1):
            raise RequestError(f"kv_budget {self.budget}: expected tokens, or a share up to 100%")
        if self.page < 1:
            raise RequestError(f"kv_page {self.page}: expected 1 or more tokens")
        if not 0 <= self.ratio <= 1:
            raise RequestError(f"kv_ratio {self.ratio}: expected 0 to 1")
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise RequestError(f"kv_alpha {self.alpha}: expected 0 to 1")
        if self.shared_ts and self.policy not in TIMED:
            raise RequestError(f"kv {self.policy!r}: shared_ts needs one of {', '.join(TIMED)}")

    def tokens(self, prompt: int, new: int) -> int:
        """The budget of a request with so many prompt tokens and new ones."""
        free = prompt if self.on_top else 0
        if isinstance(self.budget, float):
            return free + math.ceil(self.budget * (prompt - free + new))
        return free + self.budget


def parse_budget(text: str) -> tuple[int | float, bool]:
    """A budget, and whether the prompt comes on top: `1024` tokens, `25%` of what a request may
    come to have, `+512` or `+25%` besides the prompt."""
    number = text.removeprefix("+")
    try:
        budget = float(number[:-1]) / 100 if number.endswith("%") else int(number)
    except ValueError:
        raise RequestError(
            f"--kv-budget {text}: expected tokens, a share as 25%, or +512 besides the prompt"
        ) from None
    return budget, number != text


def most_slots(
    options: KVOptions, prompt_tokens: int, new_tokens: int, most: int, lanes: int, passing: int
) -> int:
    """Slots that a request may need: `most` without eviction, in at most so many lanes. passing:
    tokens of a pass that leave after it. RequestError where the budget cannot hold its prompt."""
    if options.policy == "none":
        return most
    budget, page = options.tokens(prompt_tokens, new_tokens), options.page
    if budget < (needed := prompt_tokens + 2 * page):
        raise RequestError(
            f"kv_budget {budget}: a prompt of {prompt_tokens} tokens and two pages of {page} need "
            f"{needed}"
        )
    own = budget - prompt_tokens + page  # of a lane
    return min(most, prompt_tokens + lanes * own + passing)
