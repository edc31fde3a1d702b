"""Follows a request while it is decoded and tells what is new in it, as events.

Only looks: nothing here changes what is decoded. Text that a stop string may still take away, and
bytes of a character that is not complete, are held back.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pbranch.format.markers import Role
from pbranch.format.tree import SEPARATOR
from pbranch.hf.segment_codec import SegmentCodec
from pinfer.model_spec import ModelSpec
from pinfer.output.events import BranchEnded, BranchStarted, Event, Joined, TokenEvent
from pinfer.output.generation import header_text, topic_of
from pinfer.request.detokenizer import Detokenizer
from pinfer.request.state import Lane, LiveFork, Path, Request, Status
from pinfer.request.stop_strings import safe_length, truncate_at_stop


@dataclass(slots=True)
class _Place:
    """How far a lane has been told: items, and characters of its newest segment."""

    items: int
    segment: Detokenizer
    told: int = 0
    in_outline: bool = False
    ended: bool = False


class EventStream:
    """The events of one request."""

    def __init__(self, request: Request, spec: ModelSpec, codec: SegmentCodec) -> None:
        self._request, self._spec, self._decode = request, spec, codec.decode
        self._stops = request.params.stop
        self._silent = spec.end_of_text | set(request.params.stop_token_ids)
        self._places: dict[Path, _Place] = {}

    def advance(self) -> list[Event]:
        """What has happened since the last call; call it after every step. All of it at once: what
        happens while a caller takes one event after the other comes with the next call."""
        return list(self._advance())

    def _advance(self) -> Iterator[Event]:
        trunk = self._request.trunk
        yield from self._follow(trunk)
        if self._request.finish_reason is not None:
            yield from self._tell(trunk, last=True)

    def _follow(self, lane: Lane) -> Iterator[Event]:
        if lane.status is Status.WAITING:
            return
        if lane.path not in self._places:
            yield from self._start(lane)
        place = self._places[lane.path]
        while place.items < len(lane.items):
            item = lane.items[place.items]
            if isinstance(item, LiveFork):
                yield from self._tell(lane, last=True)
                for branch in item.lanes:
                    yield from self._follow(branch)
                if not item.joined:
                    return
                yield from self._join(lane, item)
            else:
                yield from self._take(lane, item[0])
            place.items += 1
        if lane.status is Status.LIVE and self._request.finish_reason is None:
            yield from self._tell(lane)
        elif lane.in_branch and lane.status is Status.CLOSED and not place.ended:
            place.ended = True
            yield from self._tell(lane, last=True)
            yield BranchEnded(lane.path)

    def _start(self, lane: Lane) -> Iterator[Event]:
        self._places[lane.path] = _Place(lane.header.length, Detokenizer(self._decode))
        if lane.in_branch:
            gap = self._decode(lane.parent.fork.gap)  # type: ignore[union-attr]
            topic = topic_of(lane, self._decode)
            yield BranchStarted(lane.path, topic, gap or SEPARATOR)
            if text := header_text(lane, self._decode):
                yield TokenEvent(lane.path, text)

    def _join(self, lane: Lane, fork: LiveFork) -> Iterator[Event]:
        place = self._places[lane.path]
        place.segment, place.told, place.in_outline = Detokenizer(self._decode), 0, False
        yield Joined(lane.path)
        if gap := self._decode(fork.gap):
            yield TokenEvent(lane.path, gap)

    def _take(self, lane: Lane, token: int) -> Iterator[Event]:
        place, role = self._places[lane.path], self._spec.role(token)
        if role is Role.FORK:
            yield from self._tell(lane, last=True)
            place.in_outline = True
        elif role is None and not place.in_outline and token not in self._silent:
            place.segment.push(token)

    def _tell(self, lane: Lane, last: bool = False) -> Iterator[Event]:
        """Text of the newest segment that is certain; all of it at its end."""
        place = self._places[lane.path]
        text = place.segment.text
        if last:
            text += place.segment.tail
            stops = lane.state.stops
            end = len(truncate_at_stop(text, self._stops) if stops and stops.matched else text)
        else:
            end = safe_length(text, self._stops)
        if end > place.told:
            yield TokenEvent(lane.path, text[place.told : end])
            place.told = end
