"""The format's layout, spelled a second time: rows with lane paths, by plain recursion.

Shares nothing with `pbranch.format.layout` but the tree; the tests hold the two equal.
"""

from dataclasses import dataclass
from itertools import pairwise

from pbranch.format.markers import MarkerIds
from pbranch.format.tree import Fork

MARKERS = MarkerIds(fork=1, topic=2, spawn=3, branch=4, end=5, join=6)


class LetterCodec:
    """One token a character."""

    def encode(self, text):
        return [10 + ord(c) for c in text]


@dataclass
class Row:
    """`path`: ((block, branch), …) of the lane; `outline_of`: the block whose outline it is in."""

    token: int
    position: int
    path: tuple
    kind: str
    sampled: bool
    outline_of: int | None = None


class Rows:
    """All rows of a document, and the row at which each block was joined."""

    def __init__(self, prompt, trace, encode, positions="max", join="keep", markers=MARKERS):
        self.encode, self.positions, self.join = encode, positions, join
        self.markers = markers
        self.rows, self.joined = [], []
        for i, token in enumerate(prompt):
            self.rows.append(Row(token, i, (), "prompt", False))
        self.lane(trace.parts, (), len(prompt), "TEXT")

    def lane(self, parts, path, position, kind, drop=""):
        """Appends a lane's rows; returns the position after them."""
        for i, part in enumerate(parts):
            if isinstance(part, Fork):
                position = self.block(part, path, position)
                kind = "JOIN"
                continue
            for token in self.encode(part.text.removeprefix(drop) if i == 0 else part.text):
                self.rows.append(Row(token, position, path, kind, True))
                position += 1
        return position

    def block(self, fork, path, position):
        number = len(self.joined)
        self.joined.append(None)
        m = self.markers
        outline = [(m.fork, "OUTLINE")]
        for topic in fork.topics:
            outline += [(m.topic, "OUTLINE"), *((t, "TOPIC") for t in self.encode(topic))]
        for token, kind in [*outline, (m.spawn, "OUTLINE")]:
            self.rows.append(Row(token, position, path, kind, True, number))
            position += 1
        extents, first = [], len(self.rows)
        for i, (topic, branch) in enumerate(zip(fork.topics, fork.branches, strict=True)):
            inner, at = (*path, (number, i)), position
            for token in [m.branch, *self.encode(topic)]:
                self.rows.append(Row(token, at, inner, "header", False))
                at += 1
            at = self.lane(branch.parts, inner, at, "BODY", topic)
            self.rows.append(Row(m.end, at, inner, "BODY", True))
            extents.append(at - (position - 1))
        if self.join == "reencode":
            self.joined[number] = float("inf")
            for row in [r for r in self.rows[first:] if r.kind != "copy"]:
                self.rows.append(Row(row.token, position, path, "copy", False))
                position += 1
        else:
            self.joined[number] = len(self.rows)
            position += max(extents) if self.positions == "max" else sum(extents)
        self.rows.append(Row(m.join, position, path, "join", False))
        return position + 1

    def sees(self, q, k, outline="all"):
        """Whether row q sees row k: k is of q's past, and its lane is q's or was joined."""
        if k > q:
            return False
        mine, other = self.rows[q].path, self.rows[k].path
        if outline == "own" and any(b == self.rows[k].outline_of for b, _ in mine):
            return False
        for depth, step in enumerate(other):
            if mine[depth : depth + 1] != (step,):
                return self.joined[step[0]] <= q
        return True

    def clock(self):
        """Tokens drawn one after another: a lane starts at its fork, a join waits for all."""
        now = {(): 0}
        for row in self.rows:
            if row.kind == "join":
                ended = [t for path, t in now.items() if path[:-1] == row.path and path]
                now[row.path] = max(now[row.path], *ended)
            now.setdefault(row.path, now[row.path[:-1]])
            now[row.path] += row.sampled
        return now[()]

    def targets(self, end_id=None):
        """(target, kind) by row: what the lane samples next."""
        lanes = {}
        for i, row in enumerate(self.rows):
            lanes.setdefault(row.path, []).append(i)
        found = {}
        for lane in lanes.values():
            for a, b in pairwise(lane):
                if self.rows[b].sampled:
                    found[a] = (self.rows[b].token, self.rows[b].kind)
        if end_id is not None:
            found[lanes[()][-1]] = (end_id, "JOIN" if self.joined else "TEXT")
        return found
