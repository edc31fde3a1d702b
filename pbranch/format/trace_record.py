"""What a trace record has to be: its keys, its messages, its completion.

One check for all that write, read and train records, so that none takes what another refuses. Knows
neither files nor tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pbranch.errors import DataError, FormatError
from pbranch.format.tagged_text import parse
from pbranch.format.tree import Fork, Trace

SCHEMA = 1
KEYS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "messages": (list,),
    "completion": (str,),
    "answer": (str, type(None)),
    "answer_ok": (bool, type(None)),
    "source": (str,),
    "meta": (dict,),
    "schema": (int,),
}
OPTIONAL: dict[str, tuple[type, ...]] = {"tools": (list,)}
CALLS = ("tool_calls", "function_call")  # keys of a turn that calls tools; it may have no text


def check_keys(row: Mapping[str, Any]) -> None:
    """Raises DataError naming the key that is missing, unknown or wrong; see `find_flaws` for what
    stands under `completion`."""
    for key, kinds in (KEYS | OPTIONAL).items():
        if key not in row:
            if key in OPTIONAL:
                continue
            raise DataError(f"missing key {key!r}; a record has {', '.join(KEYS)}")
        if not isinstance(row[key], kinds):
            names = " or ".join("null" if k is type(None) else k.__name__ for k in kinds)
            raise DataError(f"key {key!r}: expected {names}, found {row[key]!r:.60}")
    unknown = [key for key in row if key not in KEYS and key not in OPTIONAL]
    if unknown:
        raise DataError(f"unknown key {unknown[0]!r}; a record has {', '.join(KEYS | OPTIONAL)}")
    if row["schema"] != SCHEMA:
        raise DataError(f"key 'schema': expected {SCHEMA}, found {row['schema']}")
    check_messages(row["messages"])
    for i, tool in enumerate(row.get("tools", ())):
        if not isinstance(tool, dict):
            raise DataError(f"key 'tools': expected objects, found {tool!r:.40} as tool {i}")


def check_messages(messages: Sequence[Any]) -> None:
    """Raises DataError unless each is an object with a role and text as content."""
    if not messages:
        raise DataError("key 'messages': expected at least one message, found none")
    for i, message in enumerate(messages):
        for key in ("role", "content"):
            if not isinstance(message, dict) or not isinstance(message.get(key), str):
                raise DataError(f"key 'messages': message {i} has no text under {key!r}")


def join_parts(content: Any) -> str:
    """The text of a message's content: a text, or parts `{"type": "text", "text": …}`, which stand
    a line each, as servers feed them to templates that take text. Raises DataError on others."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise DataError(f"expected text, found {content!r:.40}")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise DataError(f"expected parts of type text, found {kind or part!r:.40}")
        texts.append(part["text"])
    return "\n".join(texts)


def read_trace(row: Mapping[str, Any]) -> Trace:
    """The tree of a record's completion. Raises DataError with the first of its flaws."""
    meta = row.get("meta") or {}
    for flaw in find_flaws(row["completion"], meta):
        raise DataError(flaw)
    return parse_completion(row["completion"], meta)


def find_flaws(completion: str, meta: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a completion."""
    if not completion.strip():
        yield "the completion is empty"
    try:
        trace = parse_completion(completion, meta)
    except DataError as e:
        yield str(e)
        return
    forks = list(trace.all_forks())
    form = meta.get("form")
    if form is not None and form != ("branches" if forks else "linear"):
        yield f"meta.form is {form!r}, the completion has {len(forks)} blocks"
    for i, fork in enumerate(forks, 1):
        yield from (f"block {i}: {reason}" for reason in _check_fork(fork))


def parse_completion(completion: str, meta: Mapping[str, Any]) -> Trace:
    """The tree of a completion, with the separators that `meta` names. Raises DataError."""
    check_separators(separators := meta.get("separators"))
    try:
        return parse(completion, separators)
    except FormatError as e:
        raise DataError(f"completion: {e}") from e


def check_separators(separators: Any) -> None:
    """Raises DataError on what cannot stand under `meta.separators`, where anything does."""
    if separators is None:
        return
    if not isinstance(separators, list) or not all(isinstance(s, str) for s in separators):
        raise DataError(f"meta.separators: expected a list of texts, found {separators!r:.40}")


def _check_fork(fork: Fork) -> Iterator[str]:
    if len(fork.topics) < 2:
        yield "one branch; expected at least two"
    if len({" ".join(t.lower().split()) for t in fork.topics}) < len(fork.topics):
        yield f"equal topics among {', '.join(map(repr, fork.topics))}"
    for n, (topic, branch) in enumerate(zip(fork.topics, fork.branches, strict=True), 1):
        if not topic.strip():
            yield f"branch {n} has an empty topic"
        elif not branch.lead[len(topic) :].strip() and len(branch.parts) < 2:
            yield f"branch {n} ({topic!r}) has an empty body"


class UniqueIds:
    """The ids of one file's records."""

    def __init__(self) -> None:
        self._lines: dict[str, int] = {}  # the line that each id stands in
        self._last: dict[str, int] = {}

    def check(self, name: str, line: int) -> None:
        """Raises DataError where an earlier line has the id."""
        if name in self._lines:
            raise DataError(f"id {name!r} stands in line {self._lines[name]} already")
        self._lines[name] = line

    def make(self, name: str) -> str:
        """`name`, or where it is taken `name-2`, `name-3`, …: the same for the same order."""
        made, number = name, self._last.get(name, 1)
        while made in self._lines:
            number += 1
            made = f"{name}-{number}"
        self._last[name] = number
        self._lines[made] = 0
        return made
