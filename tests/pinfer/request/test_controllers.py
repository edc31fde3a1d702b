"""A controller of its own kind: children opened later, pruned, and ended without a join; and the
logprobs of given tokens."""

import torch

from pinfer.params import SamplingParams
from pinfer.request.marker_controller import MarkerController
from pinfer.request.state import LiveFork, Status
from pinfer.request.transitions import append, end_branch, finish, open_branches, prune
from tests.support.toy_engine import CheckedRunner, Toy, greedy, toy_model

torch.set_num_threads(1)
MODEL = toy_model("qwen3", 6, lean={})
PROMPT, HEADERS, LENGTH = [1, 2, 3], [[4], [5, 6], [7]], 6


class Thought:
    """A branch of so many tokens, whatever they are; then it ends."""

    drafts = False

    def __init__(self, length):
        self.length = length

    def on_token(self, lane, token, logprob, spec):
        lane.items.append((token, False))
        if lane.budget.sampled == self.length:
            end_branch(lane, spec)
        else:
            append(lane, token)

    def on_close(self, lane, spec):
        end_branch(lane, spec)

    def on_branch_end(self, lane, branch, spec):
        pass

    def kv_per_token(self, spec):
        return 1

    def fallback(self, lane):
        return None


class Search(MarkerController):
    """Two thoughts after the first token; a third when the first has ended, in whose place the
    second is pruned; then the end, without a join."""

    drafts = False

    def __init__(self):
        self.ended = []

    def on_token(self, lane, token, logprob, spec):
        lane.items.append((token, False))
        append(lane, token, sampled=False)
        self.fork = LiveFork(lane.position - 1, [])
        self.open(lane, HEADERS[:2], [LENGTH, LENGTH + 5])

    def open(self, lane, headers, lengths):
        thoughts = [Thought(length) for length in lengths]
        share = (LENGTH + 5, "max_branch_tokens")
        open_branches(lane, self.fork, headers, 1000, thoughts, share, scored=True)

    def on_branch_end(self, lane, branch, spec):
        self.ended.append(branch)
        if len(self.ended) == 1:
            others = [x for x in self.fork.lanes if x is not branch]
            for other in others:
                prune(other)
            self.open(lane, HEADERS[2:], [LENGTH])
        else:
            finish(lane.request, "stop")

    def on_close(self, lane, spec):
        pass


def run_search():
    toy = Toy(MODEL)
    core = toy.core()
    held, plain = [], CheckedRunner.run

    def run(runner, batch):
        logits = plain(runner, batch)
        held.append(runner.runner.arena.rows)
        return logits

    controller = Search()
    params = SamplingParams(max_new_tokens=100, fork="always", prompt_logprobs=0)
    request = core.scheduler.add(list(PROMPT), params, controller=controller)
    core.runner.run = lambda batch: run(core.runner, batch)
    while core.busy:
        core.step()
        core.runner.runner.arena.check()
    if request.error is not None:
        raise request.error
    core.scheduler.prefixes.evict(0)
    assert core.runner.runner.arena.rows == 0 and not core.runner.cache._homes
    return request, controller, held


def test_children_open_later_are_pruned_and_end_without_a_join():
    request, search, held = run_search()
    assert request.finish_reason == "stop" and not request.trunk.fork.joined
    first = request.trunk.items[0][0]
    assert [lane.path for lane in request.trunk.fork.lanes] == [((0, 0),), ((0, 2),)]
    for lane, header in zip(search.ended, [HEADERS[0], HEADERS[2]], strict=True):
        context = [*PROMPT, first, *header]
        params = greedy(mode="linear", max_new_tokens=LENGTH)
        found = [token for token, injected in lane.items if not injected]
        assert found == Toy(MODEL).tokens([context], params)[0], "a child sees what it should"
    assert request.lanes[2].status is Status.CLOSED
    # the pruned one's tokens are given back: only the newest child is left beside the first
    trunk, thought = len(PROMPT) + 1, LENGTH - 1
    assert max(held) <= trunk + 1 + 2 + 2 * thought
    assert held[-1] == trunk + (1 + thought) + (1 + thought)


def test_logprobs_of_given_tokens_are_the_models():
    """Of the prompt, and of headers: scored where the token before them is fed."""
    request, _, _ = run_search()
    first = request.trunk.items[0][0]
    with torch.inference_mode():
        logits = MODEL(torch.tensor([[*PROMPT, first, *HEADERS[1]]]), use_cache=False).logits[0]
    scores = logits.log_softmax(-1)
    for i in (1, 2):
        wanted = float(scores[i - 1, PROMPT[i]])
        assert abs(request.trunk.logprobs[i - len(PROMPT)].logprob - wanted) < 1e-9
    assert -len(PROMPT) not in request.trunk.logprobs
    scored = request.lanes[2].logprobs[1].logprob
    assert abs(scored - float(scores[-2, HEADERS[1][1]])) < 1e-9
