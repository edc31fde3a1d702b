"""What is decoded: requests as trees of token counts, what they cost in passes, and their scripts.

Plain values; knows no model and no clock. Formulas: `passes` is s + the sum over forks of the
longest branch, `rows` what the cache holds in the end.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from pbranch.errors import RequestError
from pbranch.format.markers import MarkerIds
from pinfer.request.state import Path


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Which ids a script uses: those below `words` as text, and others as markers."""

    words: int
    markers: MarkerIds
    end_of_text: int


@dataclass(frozen=True, slots=True)
class Line:
    """What one lane samples, in turn: so many tokens, or the lines of a fork's branches.

    Tokens before a fork count its outline, a branch's last ones its end. The end of the text comes
    on top: it is sampled with the last token's pass, and never fed.
    """

    parts: "tuple[int | tuple[Line, ...], ...]"

    def __post_init__(self) -> None:
        kinds = [isinstance(part, int) for part in self.parts]
        assert kinds == [i % 2 == 0 for i in range(len(kinds) | 1)], "tokens, fork, tokens, …"

    @property
    def sampled(self) -> int:
        """Tokens sampled, branches included: passes where one branch is decoded at a time."""
        return sum(self.widths())

    @property
    def passes(self) -> int:
        """Tokens that wait for one another: passes where branches are decoded in parallel."""
        return len(self.widths())

    @property
    def rows(self) -> int:
        """Tokens fed, injected ones included: each branch's marker and topic, and each join."""
        return sum(
            part if isinstance(part, int) else 1 + sum(2 + line.rows for line in part)
            for part in self.parts
        )

    def widths(self) -> list[int]:
        """How many lanes are sampled, pass by pass."""
        widths: list[int] = []
        for part in self.parts:
            if isinstance(part, int):
                widths += [1] * part
            else:
                branches = zip_longest(*(line.widths() for line in part), fillvalue=0)
                widths += [sum(lanes) for lanes in branches]
        return widths

    def forks(self) -> list[tuple["Line", ...]]:
        """Its blocks, without those of its branches."""
        return [part for part in self.parts if not isinstance(part, int)]

    @property
    def nested(self) -> bool:
        """Whether a branch forks."""
        return any(inner.forks() for branches in self.forks() for inner in branches)


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests after prompts of `prompt` random tokens. `warm`: the prompt is fed once and kept,
    as it would be too long to be fed in every round."""

    name: str
    title: str
    prompt: int
    lines: tuple[Line, ...]
    warm: bool = False

    @property
    def line(self) -> Line:
        """Of the first request."""
        return self.lines[0]

    def prompt_ids(self, vocabulary: Vocabulary, seed: int) -> list[int]:
        """The prompt: one for all its requests, and for all workloads with one as long."""
        rng = random.Random(f"{seed}|{self.prompt}")
        return [rng.randrange(vocabulary.words) for _ in range(self.prompt)]


def fork(before: int, lengths: Sequence[int], after: int) -> Line:
    """A trunk with one block."""
    return Line((before, tuple(Line((n,)) for n in lengths), after))


def equal(prompt: int, branches: int, tokens: int = 100, trunk: int = 50) -> Workload:
    """W2: branches of one length."""
    line = fork(trunk, [tokens] * branches, trunk)
    return Workload("W2", f"{trunk} + {branches} x {tokens} + {trunk}", prompt, (line,))


def skewed(prompt: int, lengths: Sequence[int], trunk: int = 50) -> Workload:
    """W3: branches of unequal lengths."""
    title = f"{trunk} + {'/'.join(map(str, lengths))} + {trunk}"
    return Workload("W3", title, prompt, (fork(trunk, lengths, trunk),))


def staged(prompt: int, tokens: int = 40, trunk: int = 20) -> Workload:
    """W4: three blocks of four branches one after another; a branch of the second has a block."""
    four = tuple(Line((tokens,)) for _ in range(4))
    inner = Line((trunk, (Line((trunk,)), Line((trunk,))), trunk))
    line = Line((trunk, four, trunk, (inner, *four[1:]), trunk, four, trunk))
    return Workload("W4", f"3 stages of 4 x {tokens}, one nested", prompt, (line,))


def loaded(prompt: int, lengths: Sequence[int], count: int = 16, trunk: int = 50) -> Workload:
    """W5: many requests of W3's kind; each has its branches in another order."""
    lines = tuple(
        fork(trunk, [*lengths[i % len(lengths) :], *lengths[: i % len(lengths)]], trunk)
        for i in range(count)
    )
    title = f"{count} requests of {trunk} + {'/'.join(map(str, lengths))} + {trunk}"
    return Workload("W5", title, prompt, lines, warm=True)


def steps(prompt: int, branches: int, tokens: int = 24, warm: bool = False) -> Workload:
    """W1 and W6: branches of one length and hardly a trunk, for the time of a step."""
    line = fork(2 + 2 * branches, [tokens] * branches, 0) if branches > 1 else Line((tokens,))
    name = "W6" if warm else "W1"
    return Workload(name, f"{branches} x {tokens}", prompt, (line,), warm)


def script(line: Line, vocabulary: Vocabulary, rng: random.Random) -> dict[Path, list[int]]:
    """The tokens that each lane of a request samples; RequestError where a line has no room for an
    outline or an end."""
    tokens: dict[Path, list[int]] = {}
    _write(line, (), vocabulary, rng, tokens)
    tokens[()].append(vocabulary.end_of_text)
    return tokens


def _write(
    line: Line,
    path: Path,
    vocabulary: Vocabulary,
    rng: random.Random,
    scripts: dict[Path, list[int]],
) -> None:
    markers, tokens = vocabulary.markers, []
    for i, part in enumerate(line.parts):
        if not isinstance(part, int):
            for b, inner in enumerate(part):
                _write(inner, (*path, (i // 2, b)), vocabulary, rng, scripts)
            continue
        last, use = i + 1 == len(line.parts), "the text"
        tail: list[int] = []
        if not last:
            topics = [rng.randrange(vocabulary.words) for _ in line.parts[i + 1]]  # type: ignore[union-attr]
            outline = [token for word in topics for token in (markers.topic, word)]
            tail, use = [markers.fork, *outline, markers.spawn], f"an outline of {len(topics)}"
        elif path:
            tail, use = [markers.end], "a branch's end"
        if part < len(tail):
            raise RequestError(f"{part} tokens: expected {len(tail)} or more, for {use}")
        words = [rng.randrange(vocabulary.words) for _ in range(part - len(tail))]
        tokens += [*words, *tail]
    scripts[path] = tokens


def budget(line: Line, after: int = 1) -> int:
    """Tokens that must be allowed so that no branch is cut short: at a fork each of n branches gets
    an nth of what is left. after: sampled after the line, such as the end of the text."""
    for part in reversed(line.parts):
        if isinstance(part, int):
            after += part
        else:
            used = sum(inner.sampled for inner in part)
            after = max(after + used, len(part) * max(budget(inner, 0) for inner in part))
    return after


def at_prompt(workload: Workload, prompt: int) -> Workload:
    """The same requests after another prompt."""
    return replace(workload, prompt=prompt)
