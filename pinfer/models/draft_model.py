"""A small model as a source of drafts, decoded as branches of a sequence of its own.

It is fed what the large model was fed, lane by lane: the same tokens at the same positions, seen by
the same lanes, in an arena of its own. Guesses leave that arena before the large model checks them.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

import torch
from torch import Tensor
from torch.nn.functional import pad

from pinfer.drafting.draft import Draft, Follower, Wish
from pinfer.execution.forward import Forward, PassInput
from pinfer.execution.runner import Runner
from pinfer.model_spec import ModelSpec
from pinfer.params import EngineLimits
from pinfer.request.state import Lane, QueuedToken, Request
from pinfer.sampling.noise import gumbel
from pinfer.sampling.processors import process
from pinfer.scheduling.batch import Batch, SampleSite
from pinfer.scheduling.drafts import share, site_after

_MOST_ROWS = 512  # tokens of a pass that catches up


class OtherVocabulary:
    """A forward that is fed ids of another model's vocabulary, of `size` ids, and gives logits of
    it. It knows the first `known` ids, and is fed `stand_in` for others; of these, it guesses the
    first `texts`, which have text in both."""

    def __init__(self, model: Forward, known: int, texts: int, size: int, stand_in: int) -> None:
        self.model, self.layers, self.device = model, model.layers, model.device
        self.known, self.texts, self.size, self.stand_in = known, texts, size, stand_in

    def __call__(self, batch: PassInput) -> Tensor:
        """As `Forward`."""
        ids = batch.token_ids
        ids = torch.where(ids < self.known, ids, self.stand_in)
        logits = self.model(replace(batch, token_ids=ids))[:, : self.texts]
        return pad(logits, (0, self.size - logits.shape[1]), value=float("-inf"))


class ModelSource(Follower):
    """Guesses what a model would say, sampled as the request asks for, with noise of its own.

    All lanes of a step are decoded in the same passes: one that catches up with the text, and one
    for each further guess. runner: of the model, whose logits are of the large model's vocabulary;
    context: its positions. A request whose text leaves them, or for which there is no memory,
    gets no (more) guesses. token_bytes: see `Follower`.
    """

    def __init__(self, runner: Runner, context: int, token_bytes: int = 0) -> None:
        self.runner, self.context, self.token_bytes = runner, context, token_bytes
        self.cache = runner.cache
        self.spec: ModelSpec
        # What the large model was fed and this one was not, in order. A join ends a run: later
        # tokens see what it joins as their own lane's.
        self._behind: dict[Request, list[list[QueuedToken]]] = {}
        self._left: set[Request] = set()  # that it does not follow (any more)
        self._most_rows: int | None = None

    def begin(self, spec: ModelSpec, limits: EngineLimits) -> None:
        """As `Follower`."""
        self.spec, self._most_rows = spec, limits.max_kv_rows
        self._rows = limits.max_draft_rows

    def shared(self, lane: Lane, tokens: int) -> None:
        """As `Follower`: the prompt is read in full; prompts are not kept here."""
        prompt = lane.request.prompt[:tokens]
        self._add([QueuedToken(lane, lane, token, i) for i, token in enumerate(prompt)])

    def coming(self, tokens: Sequence[QueuedToken], rows: int) -> None:
        """As `Follower`."""
        self._add(tokens)
        self._rows = rows

    def feeding(self, tokens: Sequence[QueuedToken]) -> None:
        """As `Follower`: guesses, which are text unless they are truncated."""
        self._add([token for token in tokens if token.draft])

    def truncated(self, lane: Lane, tokens: int) -> None:
        """As `Follower`."""
        for run in reversed(self._behind.get(lane.request, [])):
            for i in reversed([i for i, token in enumerate(run) if token.home is lane]):
                if tokens:
                    del run[i]
                    tokens -= 1
        self.cache.truncate(lane, tokens)

    def discarded(self, lane: Lane) -> None:
        """As `Follower`."""
        for run in self._behind.get(lane.request, []):
            run[:] = [token for token in run if token.home is not lane]
        self.cache.discard(lane)

    def reset(self) -> None:
        """As `Follower`."""
        self._behind, self._left = {}, set()
        self.cache.clear()

    def check(self) -> None:
        """As `Follower`."""
        self.cache.check()

    def forget(self, request: Request) -> None:
        """As `DraftSource`."""
        self._behind.pop(request, None)
        self._left.discard(request)
        self.cache.release(request)

    def propose(self, wishes: Sequence[Wish]) -> list[Draft]:
        """As `DraftSource`."""
        shares = share([wish.most for wish in wishes], self._rows)  # what is fed of each at most
        asked = [
            Wish(wish.lane, most)
            for wish, most in zip(wishes, shares, strict=True)
            if most and wish.lane.request not in self._left
        ]
        if not asked:
            return [Draft()] * len(wishes)
        drafts = self._decode(asked, self._catch_up(asked))
        found = dict(zip([wish.lane for wish in asked], drafts, strict=True))
        return [found.get(wish.lane, Draft()) for wish in wishes]

    def _add(self, tokens: Sequence[QueuedToken]) -> None:
        """More tokens that were fed, or are about to be."""
        joined = set[Request]()
        for token in tokens:
            request = token.lane.request
            if not request.params.draft_tokens or request in self._left or token.scratch:
                continue
            if token.position >= self.context or not self._has_room(request):
                self.forget(request)
                self._left.add(request)
                continue
            self._behind.setdefault(request, [[]])[-1].append(token)
            if token.joins is not None:
                joined.add(request)
        for request in joined & self._behind.keys():
            self._behind[request].append([])

    def _has_room(self, request: Request) -> bool:
        """Whether a request's text fits beside that of others. Prompts are not shared here, so what
        the large model has room for may be too much."""
        if request in self._behind or self._most_rows is None:
            return True
        needed = [len(r.prompt) + r.params.max_new_tokens for r in (request, *self._behind)]
        return sum(needed) <= self._most_rows

    def _catch_up(self, wishes: Sequence[Wish]) -> Tensor:
        """Feed what the requests of some lanes are behind; the logits (wishes, vocabulary) at the
        lanes' newest tokens."""
        newest = {wish.lane.newest: i for i, wish in enumerate(wishes)}
        requests = dict.fromkeys(wish.lane.request for wish in wishes)
        logits: list[tuple[int, Tensor]] = []
        for runs in zip_longest(*[self._take(r) for r in requests], fillvalue=[]):
            tokens = [token for run in runs for token in run]
            for begin in range(0, len(tokens), _MOST_ROWS):
                fed = tokens[begin : begin + _MOST_ROWS]
                at = [i for i, token in enumerate(fed) if token in newest]
                logits += zip([newest[fed[i]] for i in at], self._run(fed, at), strict=True)
        return torch.stack([row for _, row in sorted(logits, key=lambda x: x[0])])

    def _take(self, request: Request) -> list[list[QueuedToken]]:
        """What it is behind, which is then fed."""
        runs, self._behind[request] = self._behind[request], [[]]
        return runs

    def _decode(self, wishes: Sequence[Wish], logits: Tensor) -> list[Draft]:
        """Guesses from the logits (wishes, vocabulary) of each first one on."""
        guessed: list[list[QueuedToken]] = [[] for _ in wishes]
        rows: list[list[Tensor]] = [[] for _ in wishes]
        live, fed = list(range(len(wishes))), list[QueuedToken]()
        try:
            while True:
                sites = [_site(wishes[i].lane, guessed[i]) for i in live]
                tokens, distributions = draw(logits, sites, len(guessed[live[0]]))
                for i, site, token, row in zip(live, sites, tokens, distributions, strict=True):
                    lane, place = wishes[i].lane, len(guessed[i]) + 1
                    home = lane.newest.home if lane.newest else lane
                    guess = QueuedToken(lane, home, token, site.position, draft=place)
                    guessed[i].append(guess)
                    rows[i].append(row)
                live = [i for i in live if self._goes_on(guessed[i][-1], wishes[i].most)]
                if not live:
                    break
                following = [guessed[i][-1] for i in live]
                fed += following
                logits = self._run(following, range(len(following)))
        finally:
            for guess in fed:
                self.cache.truncate(guess.home, 1)
        return [
            Draft(
                [token.token_id for token in mine],
                torch.stack(q) if wish.lane.request.params.temperature > 0 else None,
            )
            for wish, mine, q in zip(wishes, guessed, rows, strict=True)
        ]

    def _goes_on(self, guess: QueuedToken, most: int) -> bool:
        """Whether a guess is to be followed by another one."""
        ends = self.spec.end_of_text | set(guess.lane.request.params.stop_token_ids)
        plain = self.spec.role(guess.token_id) is None and guess.token_id not in ends
        return plain and guess.draft < most and guess.position < self.context

    def _run(self, tokens: list[QueuedToken], at: Sequence[int]) -> Tensor:
        """A pass; the logits of the tokens at these places."""
        return self.runner.run(Batch(tokens, list(at)))


def _site(lane: Lane, guessed: Sequence[QueuedToken]) -> SampleSite:
    """Where a lane's next guess is sampled."""
    assert lane.newest is not None, "a lane is drafted for behind a token of its own"
    newest = guessed[-1] if guessed else lane.newest
    return site_after(newest, lane.state.grammar, frozenset(t.token_id for t in guessed))


def draw(logits: Tensor, sites: Sequence[SampleSite], place: int) -> tuple[list[int], list[Tensor]]:
    """A token a site, each request's by its own parameters, and the probabilities (vocabulary,)
    that it was drawn from; of greedy requests the best token, which is not drawn. place: in its
    draft; the noise is that of no other draft."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    tokens, distributions = [0] * len(sites), list(logits)
    for number in dict.fromkeys(site.request for site in sites):
        at = [i for i, site in enumerate(sites) if site.request == number]
        mine = [sites[i] for i in at]
        processed = process(logits[at], mine)
        scores = processed
        if mine[0].params.temperature > 0:
            scores = processed + gumbel(mine, processed, f"|draft {place}")
        best = scores.argmax(-1).tolist()
        for i, token, row in zip(at, best, processed.softmax(-1), strict=True):
            tokens[i], distributions[i] = token, row
    return tokens, distributions
