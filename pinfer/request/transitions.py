"""What a drawn token does to a request: append, fork, end, join, and the limits that stop it.

Host logic over small values; no tensors, no model, no clock. Every path leaves well-formed text:
whatever stops a lane, `close` injects what the grammar still wants. Which of the branches of a
block start is not decided here.
"""

from collections import deque

from pbranch.format.grammar import LaneState, next_state
from pbranch.format.markers import Role
from pinfer.model_spec import Rules
from pinfer.params import SamplingParams
from pinfer.request.fork_policy import may_fork, promises_little
from pinfer.request.limits import outline_limit
from pinfer.request.state import Block, Lane, Logprob, Request, Row, Script, Status
from pinfer.request.stop_strings import StopWatch


def open_request(
    number: int,
    prompt: list[int],
    params: SamplingParams,
    rules: Rules,
    watch: StopWatch | None = None,
    script: Script | None = None,
) -> Request:
    """A request with its prompt queued; `watch` looks for its stop strings, `script` reads its
    dialect."""
    request = Request(number, prompt, params)
    trunk = Lane(
        request, (), None, 0, rules.context - 1, params.max_new_tokens, LaneState.TRUNK_FLAT
    )
    trunk.seen, trunk.watch, trunk.script = set(prompt), watch, script
    request.trunk = trunk
    request.lanes.append(trunk)
    trunk.status, request.live = Status.LIVE, 1
    for token in prompt:
        feed(trunk, token)
    trunk.state = next_state(
        LaneState.TRUNK, None, in_branch=False, may_fork=may_fork(trunk, rules)
    )
    return request


def accept(lane: Lane, token: int, rules: Rules, logprob: Logprob | None = None) -> None:
    """Take the token drawn for `lane`, or what a limit puts in its place."""
    lane.drawn, lane.used, lane.budget = lane.drawn + 1, lane.used + 1, lane.budget - 1
    if lane.script is not None:
        lane.script.take(lane, token, logprob, rules)
        return
    at = len(lane.items)
    _take(lane, token, rules)
    if logprob is not None and lane.items[at] == (token, False):
        lane.logprobs[at] = logprob


def _take(lane: Lane, token: int, rules: Rules) -> None:
    request, ends = lane.request, token in rules.end_of_text
    if (ends or token in request.params.stop_token_ids) and not lane.state.in_outline:
        if not lane.in_branch:
            lane.items.append((token, False))
        _stop_lane(lane, "eos_in_branch" if ends else "stop_in_branch", rules)
        return
    limit = outline_limit(lane, token, rules) if lane.state.in_outline else None
    if limit:
        request.note(limit)
        _push(lane, rules.id(Role.SPAWN), True, rules)
    else:
        _push(lane, token, False, rules)
    if lane.watch and lane.watch.found and lane.status is Status.LIVE:
        _stop_lane(lane, "stop_in_branch", rules)
    elif lane.status is Status.LIVE and request.finish_reason is None:
        check_room(lane, rules)


def _stop_lane(lane: Lane, limit: str, rules: Rules) -> None:
    """The end of a text, or what the request stops at: ends the answer, or just the branch."""
    if lane.in_branch:
        lane.request.note(limit)
        _push(lane, rules.id(Role.END), True, rules)
    else:
        finish(lane.request, "stop")


def finish(request: Request, reason: str) -> None:
    """End a request; nothing more is fed."""
    request.finish_reason = reason
    request.queue.clear()
    request.waiting.clear()
    request.live = 0


def stop(request: Request, reason: str, limit: str, rules: Rules) -> None:
    """End a request from outside (timeout, error): its text is closed, well-formed."""
    request.note(limit)
    close(request.trunk, rules)
    finish(request, reason)


def close(lane: Lane, rules: Rules) -> None:
    """Inject what ends `lane` here: the rest of an outline, its branches, `end` in a branch."""
    if lane.status is Status.WAITING:
        lane.request.waiting.remove(lane)
        start(lane, rules)
    if lane.status is Status.JOINING:
        for child in lane.block.lanes:
            if child.status is not Status.CLOSED:
                close(child, rules)
    if lane.status is Status.CLOSED or lane.request.finish_reason is not None:
        return
    if lane.script is not None:
        lane.script.close(lane, rules)
        return
    if lane.state is LaneState.OPEN:
        _push(lane, rules.id(Role.TOPIC), True, rules)
    if lane.state.in_outline:
        _push(lane, rules.id(Role.SPAWN), True, rules)
        close(lane, rules)
    elif lane.in_branch:
        _push(lane, rules.id(Role.END), True, rules)


def start(lane: Lane, rules: Rules) -> None:
    """Let a branch in: its header joins the queue."""
    lane.status = Status.LIVE
    lane.request.live += 1
    for item in lane.items[: lane.header]:
        feed(lane, item[0])  # type: ignore[index]
    check_room(lane, rules)


def feed(lane: Lane, token: int, draws: bool = True) -> Row:
    """Queue a token as the lane's next row."""
    if lane.tail is not None:
        lane.tail.draws = False
    lane.tail = Row(lane, lane.outline or lane, token, lane.position, draws)
    lane.request.queue.append(lane.tail)
    lane.position += 1
    return lane.tail


def _push(lane: Lane, token: int, forced: bool, rules: Rules) -> None:
    """Append a token to a live lane: to its text, and to the rows to be fed."""
    role = rules.role(token)
    lane.items.append((token, forced))
    if role is Role.FORK and rules.layout.outline == "own":
        lane.outline = _hidden_outline(lane)
    row = feed(lane, token, draws=role not in (Role.SPAWN, Role.END))
    row.joins = role is Role.JOIN and not lane.block.reencoded
    if role is Role.FORK:
        lane.topics = []
    elif role is Role.TOPIC:
        lane.topics.append([])
    elif lane.state.in_outline and role is None:
        lane.topics[-1].append(token)
    elif role is None and lane.watch:
        lane.watch.push(token)
    if role is None and not forced:
        (lane.outline or lane).seen.add(token)
    if role in (Role.FORK, Role.JOIN) and lane.watch:
        lane.watch = lane.watch.fresh()
    forkable = may_fork(lane, rules)
    lane.state = next_state(lane.state, role, in_branch=lane.in_branch, may_fork=forkable)
    if role is Role.SPAWN:
        _spawn(lane, row.position, rules)
    elif role is Role.END:
        lane.status = Status.CLOSED
        lane.request.live -= 1
        join_when_done(lane.parent, rules)  # type: ignore[arg-type]


def _spawn(lane: Lane, spawn: int, rules: Rules) -> None:
    """Open the block that the outline announces; its branches wait for places."""
    request, params = lane.request, lane.request.params
    block = Block(spawn, lane.topics, outline=lane.outline)
    block.in_order = promises_little(block, params, rules)
    lane.outline = None
    n = len(block.topics)
    share, name = lane.budget // n, lane.budget_name
    if params.max_branch_tokens is not None and params.max_branch_tokens < share:
        share, name = params.max_branch_tokens, "max_branch_tokens"
    last = lane.last_position - lane.in_branch - 1
    if rules.layout.in_order:
        last = spawn + (last - spawn) // n
    for i, topic in enumerate(block.topics):
        path = (*lane.path, (lane.blocks, i))
        child = Lane(request, path, lane, spawn + 1, last, share, LaneState.BRANCH, name)
        child.seen = set(lane.seen)
        child.watch = lane.watch and lane.watch.fresh()
        child.items = [(token, True) for token in (rules.id(Role.BRANCH), *topic)]
        child.header = len(child.items)
        forkable = may_fork(child, rules, ahead=child.header)
        child.state = next_state(child.state, None, in_branch=True, may_fork=forkable)
        block.lanes.append(child)
    open_block(lane, block)


def open_block(lane: Lane, block: Block) -> None:
    """Let a lane wait for a block's branches, and those for places."""
    request = lane.request
    lane.items.append(block)
    lane.status = Status.JOINING
    lane.blocks += 1
    request.live -= 1
    request.lanes += block.lanes
    request.waiting += block.lanes


def _hidden_outline(lane: Lane) -> Lane:
    """What holds the rows of an outline that the branches are not to see."""
    path = (*lane.path, (lane.blocks, -1))
    outline = Lane(lane.request, path, lane, 0, 0, 0, lane.state, status=Status.CLOSED)
    lane.request.outlines.append(outline)
    return outline


def join_when_done(lane: Lane, rules: Rules) -> None:
    """Let a lane go on if all branches of its newest block have ended."""
    block = lane.block
    if any(child.status is not Status.CLOSED for child in block.lanes):
        return
    for hidden in block.hidden:
        lane.seen |= hidden.seen
    used = sum(child.used for child in block.lanes)
    lane.used, lane.budget = lane.used + used, lane.budget - used
    extents = [child.position - 1 - block.spawn for child in block.lanes]
    lane.position = block.spawn + 1 + rules.layout.extent(extents)
    if block.close or rules.layout.join == "reencode":
        _reencode(lane, block)
    block.joined = True
    lane.status = Status.LIVE
    lane.request.live += 1
    if not block.close:
        _push(lane, rules.id(Role.JOIN), True, rules)
    check_room(lane, rules)


def _reencode(lane: Lane, block: Block) -> None:
    """Feed a block's branches again as text of the lane, and forget their rows."""
    request, gone = lane.request, dict.fromkeys(block.all_lanes(), 0)
    request.left += gone.items()
    request.queue = deque(row for row in request.queue if row.lane not in gone)
    block.reencoded = True
    lane.position = block.spawn + 1
    if block.start is not None:
        lane.position = block.start
        request.left.append((lane, block.start))
    tokens = [*block.lead, *(token for token, _, _ in block.rows())]
    for number, token in enumerate(tokens):
        feed(lane, token).joins = number == 0


def check_room(lane: Lane, rules: Rules) -> None:
    """Stop a live lane that may draw no further token."""
    limit = None
    if lane.budget <= 0:
        limit = lane.budget_name
    elif lane.position + lane.in_branch > lane.last_position:
        limit = "context"
    if limit is None:
        return
    lane.request.note(limit)
    close(lane, rules)
    if not lane.in_branch and lane.request.finish_reason is None:
        finish(lane.request, "length")
