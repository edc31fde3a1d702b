"""Texts and turns in the shapes of published data: parts, lists of one, `choices[].message`,
`from`/`value`, pairs of question and answer, JSON in a text. Knows no rows and no roles of keys.
"""

import ast
import json
import re
from collections.abc import Callable
from typing import Any

from pbranch.errors import DataError
from pbranch.format.trace_record import CALLS, join_parts

Message = dict[str, Any]
REASONING = ("reasoning_content", "reasoning", "thinking", "think")
# what other chat formats call the keys of a turn, and its roles
ROLE_KEYS = ("role", "from", "speaker", "author")
TEXT_KEYS = ("content", "value", "text", "parts")
TURN_ROLES = {"human": "user", "prompter": "user", "gpt": "assistant", "chatgpt": "assistant",
              "bot": "assistant", "model": "assistant", "ai": "assistant", "observation": "tool",
              "function": "tool"}  # fmt: skip
KNOWN_ROLES = ("user", "assistant", "system", "tool")
# a question and its answer in one object
PAIRS = (("human", "assistant"), ("user", "assistant"), ("user", "bot"), ("question", "answer"),
         ("prompt", "response"), ("instruction", "output"))  # fmt: skip
# where the one text of an object stands
WRAPPERS = ("message", "choices", "candidates", "generations", "outputs", "turns", "body",
            "content", "parts", "text", "value")  # fmt: skip
# what reasoning is wrapped in, however often
_TAGS = re.compile(r"\A(?:\s*<think(?:ing)?>)+|(?:</think(?:ing)?>\s*)+\Z")
TEXT_PARTS = ("text", "input_text", "output_text", None)


def is_turn(value: Any) -> bool:
    """Whether `value` is an object with a role and a text, or a call."""
    if not isinstance(value, dict) or not isinstance(value.get(_first(value, ROLE_KEYS)), str):
        return False
    return any(key in value for key in (*TEXT_KEYS, *CALLS))


def as_turns(value: Any) -> list[Message] | None:
    """The turns of a conversation, as they are, but with `role` and `content`; None if it is none.

    Texts without roles are the user's and the assistant's in turn.
    """
    value = unpack_text(value)
    if not isinstance(value, list) or not value:
        return None
    if all(map(is_turn, value)):
        return value
    if all(isinstance(turn, str) for turn in value):
        return [_turn(n % 2, text) for n, text in enumerate(value)]
    pairs = [_as_pair(turn) for turn in value]
    if None in pairs:
        return None
    return [_turn(n, text) for pair in pairs if pair for n, text in enumerate(pair)]


def is_answered(turns: list[Message] | None) -> bool:
    """Whether the last turn is an assistant's."""
    return bool(turns) and _role(turns[-1]) == "assistant"  # type: ignore[index]


def is_wrapper(value: Any) -> bool:
    """Whether `value` is an object around a turn or turns: a choice, a reply of a server."""
    if not isinstance(value, dict):
        return False
    return any(isinstance(value.get(key), dict | list) for key in WRAPPERS[:7])


def unpack_text(value: Any) -> Any:
    """The turn or turns that a text spells as JSON, or as Python prints them; else `value`."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    readers: tuple[Callable[[str], Any], ...] = (json.loads, ast.literal_eval)
    for read in readers:
        try:
            found = read(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        inner = found if isinstance(found, list) else [found]
        return found if inner and all(map(_holds_turn, inner)) else value
    return value


def read_turn(turn: Any) -> Message:
    """One message as role and content, with all else that it has: calls of tools, a tool's name,
    earlier reasoning. A turn that calls tools may have no text. Raises DataError."""
    if not isinstance(turn, dict):
        raise DataError(f"missing key 'role'; found {type(turn).__name__}")
    role_key, text_key = _first(turn, ROLE_KEYS), _first(turn, TEXT_KEYS)
    others = {k: v for k, v in turn.items() if k not in (role_key, text_key) and v is not None}
    if not isinstance(turn.get(role_key), str):
        raise DataError(f"missing key {role_key!r}; found {', '.join(map(str, turn))}")
    if turn[role_key].casefold() == "function_call":
        return _read_call(turn.get(text_key)) | others
    if turn.get(text_key) is None and any(others.get(key) for key in CALLS):
        return {"role": _role(turn), "content": "", **others}
    if text_key not in turn:
        raise DataError(f"missing key {text_key!r}; found {', '.join(map(str, turn))}")
    thoughts, content = _split_parts(turn[text_key])
    if thoughts and not any(others.get(key) for key in REASONING):
        others["reasoning_content"] = thoughts
    return {"role": _role(turn), "content": _at(text_key, read_text, content), **others}


def read_text(value: Any) -> str:
    """The one text that `value` holds. Raises DataError."""
    if isinstance(value, dict):
        key = _first(value, WRAPPERS)
        return read_text(value.get(key)) if key in value else join_parts(value)
    if isinstance(value, list) and value and not _are_parts(value):
        if len(value) == 1:
            return read_text(value[0])
        if all(isinstance(item, str) for item in value):
            raise DataError(f"expected one text, found {len(value)}")
    return join_parts(_split_parts(value)[1])


def read_answers(value: Any) -> list[Message]:
    """The turns of an answer: a text, a turn, turns of which the last is the answer, or one of them
    in a list of one or in `choices[].message`. Raises DataError."""
    value = unpack_text(value)
    if isinstance(value, list) and len(value) == 1 and not _are_parts(value):
        return read_answers(value[0])
    if is_turn(value):
        return [value]
    if isinstance(value, list) and value and all(map(is_turn, value)):
        return value
    if isinstance(value, list) and len(value) > 1 and all(map(is_wrapper, value)):
        raise DataError(f"expected one answer, found {len(value)}")
    if is_wrapper(value):
        return read_answers(value[_first(value, WRAPPERS)])
    return [_turn(1, read_text(value))]


def read_answer(turn: Message) -> str:
    """The text of the last turn, after its reasoning. Raises DataError."""
    message = read_turn(turn)
    if called := next((key for key in CALLS if message.get(key)), None):
        raise DataError(f"the last answer calls tools ({called!r}), and only text can be trained")
    key = next((key for key in REASONING if message.get(key)), None)
    thoughts = _at(key, read_text, message[key]) if key else ""
    return add_reasoning(thoughts, message["content"])


def add_reasoning(thoughts: str, text: str) -> str:
    """`text` after the reasoning, unless it holds its reasoning already."""
    thoughts = _TAGS.sub("", thoughts).strip("\n")
    if not thoughts.strip() or "</think>" in text or thoughts.strip() in text:
        return text
    return "<think>\n" + thoughts + "\n</think>\n\n" + text


def _first(value: dict[str, Any], keys: tuple[str, ...]) -> str:
    """The first of `keys` that `value` has, else the first."""
    return next((key for key in keys if key in value), keys[0])


def _at(key: str, read: Callable[[Any], str], value: Any) -> str:
    try:
        return read(value)
    except DataError as e:
        raise DataError(f"key {key!r}: {e}") from e


def _turn(number: int, text: Any) -> Message:
    return {"role": ("user", "assistant")[number], "content": text}


def _role(turn: Message) -> str:
    """The role by its usual name; one that is unknown stays as it is."""
    role = str(turn[_first(turn, ROLE_KEYS)])
    plain = TURN_ROLES.get(role.casefold(), role.casefold())
    return "assistant" if plain == "function_call" else plain if plain in KNOWN_ROLES else role


def _as_pair(turn: Any) -> tuple[Any, Any] | None:
    if isinstance(turn, list):
        return tuple(turn) if len(turn) == 2 and all(isinstance(t, str) for t in turn) else None
    if not isinstance(turn, dict):
        return None
    return next(((turn[q], turn[a]) for q, a in PAIRS if q in turn and a in turn), None)


def _holds_turn(value: Any) -> bool:
    if isinstance(value, list):  # turns, or a question and its answer
        return bool(value) and (all(map(is_turn, value)) or _as_pair(value) is not None)
    return is_turn(value) or is_wrapper(value) or _as_pair(value) is not None


def _are_parts(value: list[Any]) -> bool:
    return all(isinstance(part, dict) and "type" in part for part in value)


def _split_parts(value: Any) -> tuple[str, Any]:
    """(the reasoning among the parts of a content, the other parts, each of type text)."""
    if not isinstance(value, list):
        return "", value
    thoughts, parts = [], []
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else ""
        if kind in ("thinking", "reasoning"):
            thoughts.append(str(part.get("thinking") or part.get("text") or ""))
        elif kind in TEXT_PARTS and isinstance(part.get("text"), str):
            parts.append({"type": "text", "text": part["text"]})
        else:
            parts.append(part)
    return "\n".join(thoughts), parts


def _read_call(value: Any) -> Message:
    """A call that a turn of its own spells as JSON."""
    try:
        calls = json.loads(value) if isinstance(value, str) else value
    except ValueError as e:
        raise DataError(f"expected the JSON text of a call, found {value!r:.40}") from e
    calls = calls if isinstance(calls, list) else [calls]
    if not all(isinstance(call, dict) and "name" in call for call in calls):
        raise DataError(f"expected a call with a name, found {value!r:.40}")
    made = [{"type": "function", "function": call} for call in calls]
    return {"role": "assistant", "content": "", "tool_calls": made}
