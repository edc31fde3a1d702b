"""Guesses which key of a source plays which role: by its name, and by what it holds.

A letter or a number is no trace, a long text no gold answer, and what a model has answered is not
gold. `--map role=key` overrides. Knows no files.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from pbranch.errors import DataError
from pdata.roles import names
from pdata.roles.field_map import FieldMap, find_value
from pdata.roles.names import name_of
from pdata.roles.turns import as_turns, is_answered, is_turn, read_answers, read_turn, unpack_text
from pdata.roles.values import gold_text, several_texts

DEPTH = 3  # objects in objects that are searched for keys
SAMPLE = 100  # rows that are compared
MAX_GOLD = 80  # characters
# what the end of an answer shows, and no trace consists of
_BARE = re.compile(r"\W*(?:[A-J]|[-+]?[\d.,/]+%?|yes|no|true|false)\W*", re.IGNORECASE)
_WRONG = ("false", "0", "0.0", "no", "incorrect")
_RIGHT = ("true", "1", "1.0", "yes", "correct")
_LETTER = re.compile(r"[a-j]")  # of options, in lower case a text of one letter

Row = dict[str, Any]


def guess_fields(row: Row, overrides: Mapping[str, str], others: Iterable[Row] = ()) -> FieldMap:
    """Which key of `row`, and of others like it, plays which role; incomplete when they say
    nothing."""
    return _Guess([row, *others], overrides).make()


def is_row(value: Any, overrides: Mapping[str, str]) -> bool:
    """Whether `value` is an object that shows a prompt and a trace."""
    if not isinstance(value, dict) or is_turn(value):
        return False
    fields = guess_fields(value, overrides)
    return fields.complete and fields.fits(value)


def describe_missing(rows: Sequence[Row], overrides: Mapping[str, str]) -> str:
    """Why no row shows prompt and trace, and what to pass."""
    guess = _Guess(rows[:SAMPLE], overrides)
    fields = guess.make()
    keys = ", ".join(rows[0])
    flags = {"prompt": fields.prompt, "completion": fields.completion}
    wanted = " ".join(f"--map {role}=…" for role, key in flags.items() if not key)
    if not fields.prompt:
        which = (
            "which keys hold prompt and trace"
            if not fields.completion
            else "which key holds the prompt"
        )
        return f"cannot tell {which}, found {keys}; give {wanted}"
    held = [(key, text) for key in guess.keys if (text := guess.first_text(key))]
    labels = [f"{key} holds {text[:20]!r}" for key, text in held
              if name_of(key) in names.COMPLETIONS][:1]  # fmt: skip
    why = f" ({labels[0]}, which is no trace)" if labels else ""
    return f"prompt={fields.prompt}, but no key holds a trace{why}, found {keys}; give {wanted}"


class _Guess:
    """The keys of a few rows and what they hold."""

    def __init__(self, rows: Sequence[Row], overrides: Mapping[str, str]) -> None:
        self.rows = [row for row in rows if isinstance(row, dict)][:SAMPLE]
        self.keys = list(dict.fromkeys(key for row in self.rows for key in _paths(row)))
        self.overrides = overrides
        self.used: set[str] = set(overrides.values())
        self.texts: dict[str, list[str]] = {}

    def make(self) -> FieldMap:
        """The role of each key, each key in one role at most."""
        chosen: dict[str, str | None] = {}

        def choose(role: str, key: str | None) -> None:
            chosen[role] = self.overrides.get(role, key)
            if chosen[role]:
                self.used.add(str(chosen[role]))

        asked = "prompt" in self.overrides and "messages" not in self.overrides
        choose("messages", None if asked else self._find_messages())
        turns = self._value(chosen["messages"])
        if chosen["messages"] and is_answered(as_turns(turns)):
            # the last turn is the trace, unless a record of ours says otherwise
            choose("completion", next(iter(self._named(("completion",))), None))
        else:
            choose("completion", self._find_completion())
        if not chosen["messages"]:
            choose("prompt", self._find_prompt(chosen["completion"]))
        if not chosen["messages"] and not (chosen["prompt"] and chosen["completion"]):
            if (key := self._find_conversation()) and not asked:
                choose("messages", key)
                chosen["prompt"] = None
                chosen["completion"] = self.overrides.get("completion")
        prompt, completion = chosen.get("prompt"), chosen["completion"]
        contexts = names.CONTEXTS if name_of(prompt or "") == "instruction" else names.CONTEXTS[1:]
        choose("context", self._first_text_key(contexts) if prompt else None)
        choose("system", self._first_text_key(names.SYSTEMS))
        choose("history", next(filter(self._holds_turns, self._named(("history",))), None))
        choose("reasoning", self._find_reasoning(completion))
        choose("answer", self._find_gold(completion))
        choose("id", next(iter(self._named(("id",))), None))
        choose("tools", next(iter(self._named(("tools",))), None))
        return FieldMap(**chosen)

    def _named(self, wanted: tuple[str, ...]) -> list[str]:
        """The keys that have one of these names and no role yet, the likeliest first."""
        found = [key for key in self.keys if name_of(key) in wanted and key not in self.used]
        return sorted(found, key=lambda key: (wanted.index(name_of(key)), key.count(".")))

    def _find_messages(self) -> str | None:
        """A conversation under a usual name; texts without roles are one only where nothing else
        is the answer."""
        for key in self._named(names.MESSAGES):
            value = self._value(key)
            turns = as_turns(value)
            plain = isinstance(value, list) and value and isinstance(value[0], str)
            # `turns` of plain texts are questions alone
            if turns and (not plain or (name_of(key) != "turns" and self._stands_alone(turns))):
                return key
        return None

    def _stands_alone(self, turns: list[Any]) -> bool:
        return is_answered(turns) and not self._find_completion()

    def _find_conversation(self) -> str | None:
        """A key of any name that holds turns, answered, and not to be avoided."""
        for key in self.keys:
            avoided = name_of(key) in (*names.REJECTED, "history")
            avoided |= key in self.overrides.values()
            value = None if avoided else unpack_text(self._value(key))
            if isinstance(value, list) and len(value) > 1 and all(map(is_turn, value)):
                if is_answered(value):
                    return key
        return None

    def _find_completion(self) -> str | None:
        """The first name that holds a trace, which a bare answer is not."""
        found = [key for key in self._named(names.COMPLETIONS) if self._texts(key)]
        longest = max((self._length(key) for key in found), default=0)
        for key in found:
            clear = name_of(key) not in names.SHORT_OR_LONG
            short = self._length(key) <= 40 and longest >= max(40, 4 * self._length(key))
            if not self._is_bare(key) and (clear or not short):
                return key
        return next((key for key in found if name_of(key) in names.STRONG), None)

    def _find_prompt(self, completion: str | None) -> str | None:
        """The first name that holds text; the fuller one, where one question holds another, and
        the one next to the trace, where they have one name."""
        found = [key for key in self._named(names.PROMPTS) if self._texts(key)]
        if not found:
            return None
        best = found[0]
        for other in found[1:]:
            pairs = [(find_value(r, best), find_value(r, other)) for r in self.rows]
            if all(isinstance(a, str) and isinstance(b, str) and a in b for a, b in pairs):
                best = other if any(a != b for a, b in pairs) else best
        same = [key for key in found if name_of(key) == name_of(best)]
        if len(same) > 1 and completion:
            place = self.keys.index(completion) if completion in self.keys else 0
            best = min(same, key=lambda key: abs(self.keys.index(key) - place))
        return best

    def _find_reasoning(self, completion: str | None) -> str | None:
        if name_of(completion or "") in (*names.REFERENCES, *names.THOUGHTS):
            return self._first_text_key(names.REASONING)
        return self._first_text_key((*names.REASONING, *names.THOUGHTS))

    def _find_gold(self, completion: str | None) -> str | None:
        """The first name that holds short answers which are not the model's own."""
        for key in self._named(names.GOLD):
            values = [v for row in self.rows if (v := find_value(row, key)) not in (None, "", [])]
            if not values or (name_of(key) in (*names.VERDICTS, "label") and _is_verdict(*values)):
                continue
            golds = [gold_text(value) for value in values]
            if median(map(len, golds)) > MAX_GOLD or self._is_own(key, completion):
                continue
            return key
        return None

    def _is_own(self, key: str, completion: str | None) -> bool:
        """Whether most traces that are marked as wrong end in what `key` says."""
        ended = []
        for row in self.rows:
            verdicts = (find_value(row, k) for k in self.keys if name_of(k) in names.VERDICTS)
            wrong = any(str(verdict).casefold() in _WRONG for verdict in verdicts)
            value = find_value(row, key)
            if wrong and value is not None:
                text = _text_of(find_value(row, completion)) or ""
                said = re.escape(gold_text(value).strip())
                ended.append(bool(re.search(rf"(?<!\w){said}(?!\w)", text[-200:])))
        return bool(ended) and 2 * sum(ended) >= len(ended)

    def _first_text_key(self, wanted: tuple[str, ...]) -> str | None:
        """The first name that holds text, or nothing."""
        for key in self._named(wanted):
            values = [find_value(row, key) for row in self.rows]
            if all(isinstance(value, str | None) for value in values) and any(values):
                return key
        return None

    def _holds_turns(self, key: str) -> bool:
        return bool(as_turns(self._value(key)))

    def _value(self, key: str | None) -> Any:
        """The first value under `key` that is any."""
        values = (find_value(row, key) for row in self.rows)
        return next((value for value in values if value not in (None, "", [])),
                    find_value(self.rows[0], key) if self.rows else None)  # fmt: skip

    def _texts(self, key: str) -> list[str]:
        if key not in self.texts:
            found = (_text_of(find_value(row, key)) for row in self.rows)
            self.texts[key] = [text for text in found if text is not None]
        return self.texts[key]

    def first_text(self, key: str) -> str:
        """The first text under `key`, if any."""
        return next(filter(str.strip, self._texts(key)), "")

    def _length(self, key: str) -> float:
        return median(len(text) for text in self._texts(key))

    def _is_bare(self, key: str) -> bool:
        texts = [text.strip() for text in self._texts(key) if text.strip()]
        return all(_BARE.fullmatch(text) and not _LETTER.fullmatch(text) for text in texts)


def _paths(row: Row, depth: int = DEPTH) -> Iterable[str]:
    """The keys of `row`, those of objects in it after them."""
    yield from (key for key in row if isinstance(key, str))
    if depth <= 1:
        return
    for key, value in row.items():
        if isinstance(value, dict) and not is_turn(value) and isinstance(key, str):
            if name_of(key) not in names.REJECTED:
                yield from (f"{key}.{inner}" for inner in _paths(value, depth - 1))


def _text_of(value: Any) -> str | None:
    """The text of a value that a prompt or an answer could be, without the turns before it."""
    if value is None or isinstance(value, bool | int | float):
        return None
    try:
        return str(read_turn(read_answers(value)[-1])["content"])
    except DataError:
        pass
    texts = several_texts(value)  # rejected where there is no place for them
    return "\n".join(texts) if texts else None


def _is_verdict(*values: Any) -> bool:
    return all(str(value).casefold() in (*_WRONG, *_RIGHT) for value in values)
