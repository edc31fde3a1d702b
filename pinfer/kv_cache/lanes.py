"""Where the rows of lanes lie in the arena: opened, joined, given back."""

from collections.abc import Sequence

from pinfer.kv_cache.arena import Arena
from pinfer.request.state import Lane, Request, Row


def finish_joins(rows: Sequence[Row], arena: Arena) -> None:
    """After a pass: branches closed by its join rows become rows of their parent's segment."""
    for row in rows:
        if row.joins:
            branches = row.lane.block.hidden
            arena.absorb(row.home.segment, [branch.segment for branch in branches])
            for branch in branches:
                branch.segment = -1


def release_lanes(lanes: Sequence[Lane], arena: Arena) -> None:
    """Give back what a finished request's lanes hold."""
    for lane in lanes:
        if lane.segment >= 0:
            arena.release(lane.segment)
            lane.segment = -1
            if not lane.in_branch:
                for number, _ in lane.request.prefix:
                    arena.release(number)


def _leave(request: Request, arena: Arena) -> None:
    """Give back the rows that no lane of the request sees any more."""
    for lane, kept in request.left:
        if lane.segment < 0:
            continue
        kept = max(0, kept - request.prefix_rows)  # only a trunk keeps some, and shares its first
        request.rows_left += arena.segments[lane.segment].length - kept
        if kept:
            arena.segments[lane.segment].length = kept
        else:
            release_lanes([lane], arena)
    request.left.clear()


def _open(lane: Lane, arena: Arena) -> None:
    """A lane's own segment; with the trunk's, the request holds the rows that it shares."""
    request = lane.request
    lane.segment = arena.open(0 if lane.in_branch else len(request.prompt) - request.prefix_rows)
    if not lane.in_branch:
        for number, _ in request.prefix:
            arena.hold(number)
