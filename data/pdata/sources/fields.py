"""Which key of a source row plays which role, and what stands under it: prompt, trace, answer.

Guesses by the names that published data sets use; `--map role=key` overrides. Knows no files.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pbranch.errors import DataError
from pbranch.format.trace_record import CALLS, join_parts

Message = dict[str, Any]
# what a role is usually called, the likeliest first
GUESSES: dict[str, tuple[str, ...]] = {
    "messages": ("messages", "conversations", "conversation"),
    "system": ("system", "system_prompt"),
    "prompt": ("prompt", "question", "problem", "instruction", "query", "input", "task"),
    "context": ("input",),
    "completion": ("completion", "normal_response", "generated_solution", "response", "solution",
                   "output", "generation", "answer"),
    "reasoning": ("reasoning_content", "reasoning", "thinking", "think"),
    "answer": ("gold_keys", "gold", "gold_answer", "final_answer", "expected_answer",
               "ground_truth", "answer"),
    "id": ("id",),
    "tools": ("tools",),
}  # fmt: skip
ROLES = tuple(GUESSES)
# a reference solution, not what some model wrote
REFERENCES = ("answer", "solution")
# roles that only text can play: the same names are used for flags and labels elsewhere
TEXT_ONLY = ("system", "context", "reasoning")
# what other chat formats call the roles of a turn
TURN_KEYS = (("role", "content"), ("from", "value"))
TURN_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
_GOLD = re.compile(r"(?:\A|\n)####[ \t]*([^\n#%]+?)\s*\Z")


@dataclass(frozen=True, slots=True)
class FieldMap:
    """The key of each role; None where a source has none.

    context: what follows the prompt (Alpaca's `input`); reasoning: what comes before the
    completion, which then holds it as `<think>…</think>`; tools: what the answer might have called.
    """

    messages: str | None = None
    system: str | None = None
    prompt: str | None = None
    context: str | None = None
    completion: str | None = None
    reasoning: str | None = None
    answer: str | None = None
    id: str | None = None
    tools: str | None = None

    def __str__(self) -> str:
        named = ((role, getattr(self, role)) for role in ROLES)
        return ", ".join(f"{role}={key}" for role, key in named if key)

    @property
    def complete(self) -> bool:
        return bool(self.messages or (self.prompt and self.completion))


def parse_overrides(flags: Iterable[str]) -> dict[str, str]:
    """`role=key` flags as a mapping. Raises DataError on an unknown role."""
    overrides = {}
    for flag in flags:
        role, _, key = flag.partition("=")
        if role not in ROLES or not key:
            raise DataError(f"--map {flag}: expected role=key with role in {', '.join(ROLES)}")
        overrides[role] = key
    return overrides


def guess_fields(row: dict[str, Any], overrides: dict[str, str]) -> FieldMap:
    """Which key of `row` plays which role; incomplete when the keys say nothing."""
    chosen: dict[str, str] = {}
    for role, keys in GUESSES.items():
        key = overrides.get(role)
        if key is None:
            used = set(chosen.values()) | set(overrides.values())
            keys = _fitting(role, keys, row, chosen)
            key = next((k for k in keys if k in row and k not in used), None)
        if key is not None:
            chosen[role] = key
        if role == "prompt" and "prompt" in overrides:
            chosen.pop("messages", None)
        elif role == "prompt" and "messages" in chosen:
            chosen.pop("prompt", None)
    return FieldMap(**chosen)


def _fitting(
    role: str, keys: tuple[str, ...], row: dict[str, Any], chosen: dict[str, str]
) -> tuple[str, ...]:
    """The keys that may play `role`, after what was chosen for the roles before it."""
    if role == "context" and chosen.get("prompt") != "instruction":
        return ()
    if role in TEXT_ONLY:
        return tuple(key for key in keys if isinstance(row.get(key), str | None))
    turns = row.get(chosen.get("messages", ""))
    if role == "completion" and isinstance(turns, list) and _is_answered(turns):
        return keys[:1]  # the last turn is the trace, unless a record of ours says otherwise
    return keys


def _is_answered(turns: list[Any]) -> bool:
    try:
        return _read_turn(turns[-1])["role"] == "assistant"
    except (DataError, IndexError):
        return False


def read_conversation(row: dict[str, Any], fields: FieldMap) -> tuple[tuple[Message, ...], str]:
    """The prompt's messages, and the trace: a key of its own, or the last assistant turn.

    Raises DataError saying what is missing.
    """
    if not fields.messages:
        messages = _read_prompt(row, fields)
        text = _read_completion(row, fields.completion)
    else:
        turns = row.get(fields.messages)
        if not isinstance(turns, list) or not turns:
            raise DataError(f"key {fields.messages!r}: expected a list of messages")
        messages = [_read_turn(turn) for turn in turns]
        if fields.completion and fields.completion in row:
            text = _read_completion(row, fields.completion)
        elif messages[-1]["role"] != "assistant" or len(messages) < 2:
            raise DataError(
                f"key {fields.messages!r}: the last message is not an assistant's answer"
            )
        else:
            text = _read_answer(turns[-1])
            messages.pop()
    system = row.get(fields.system) if fields.system else None
    if system and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": _read_text(row, fields.system)})
    return tuple(messages), _add_reasoning(row, fields.reasoning, text)


def read_gold(row: dict[str, Any], fields: FieldMap) -> tuple[str | None, bool]:
    """(the gold answer, whether it was taken from the trace itself).

    A reference answer that ends in `#### 72` (GSM8K) says 72. Where nothing but the trace says it,
    an `answer_ok` shows only that rewriting kept the closing: the caller notes that.
    """
    value = row.get(fields.answer) if fields.answer else None
    if value is not None:
        closing = _GOLD.search(value) if isinstance(value, str) else None
        return (closing[1] if closing else str(value)), False
    reference = row.get(fields.completion) if fields.completion in REFERENCES else None
    closing = _GOLD.search(reference) if isinstance(reference, str) else None
    return (closing[1] if closing else None), closing is not None


def _read_prompt(row: dict[str, Any], fields: FieldMap) -> list[Message]:
    """A text, with its context after a blank line; or a list of messages under the prompt's key."""
    value = row.get(fields.prompt or "")
    if isinstance(value, list) and value:
        return [_read_turn(turn) for turn in value]
    text = _read_text(row, fields.prompt)
    if fields.context and row.get(fields.context):
        text += "\n\n" + _read_text(row, fields.context)
    return [{"role": "user", "content": text}]


def _read_completion(row: dict[str, Any], key: str | None) -> str:
    """A text, or a list of one assistant turn."""
    value = row.get(key or "")
    if isinstance(value, list) and len(value) == 1 and _is_answered(value):
        return _read_answer(value[0])
    return _read_text(row, key)


def _read_turn(turn: Any) -> Message:
    """One message as role and content, whatever its keys are called, with all else that it has:
    calls of tools, a tool's name, earlier reasoning. A turn that calls tools may have no text."""
    keys = (k for k in TURN_KEYS if isinstance(turn, dict) and k[0] in turn)
    role_key, text_key = next(keys, TURN_KEYS[0])
    role = _read_text(turn, role_key)
    others = {k: v for k, v in turn.items() if k not in (role_key, text_key) and v is not None}
    if turn.get(text_key) is None and any(others.get(key) for key in CALLS):
        turn = {**turn, text_key: ""}
    content = _read_text(turn, text_key)
    return {"role": TURN_ROLES.get(role, role), "content": content, **others}


def _read_answer(turn: dict[str, Any]) -> str:
    """The text of the last turn, after its reasoning."""
    if called := next((key for key in CALLS if turn.get(key)), None):
        raise DataError(f"the last answer calls tools ({called!r}), and only text can be trained")
    return _add_reasoning(turn, _reasoning_key(turn), _read_turn(turn)["content"])


def read_tools(row: dict[str, Any], key: str | None) -> tuple[dict[str, Any], ...]:
    """The tools of a conversation: a list, or its JSON text. Raises DataError."""
    value = row.get(key or "")
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError as e:
            raise DataError(f"key {key!r}: expected a list of tools, found {value!r:.40}") from e
    if not value or value == [None]:
        return ()
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise DataError(f"key {key!r}: expected a list of tools, found {value!r:.40}")
    return tuple(value)


def _reasoning_key(turn: dict[str, Any]) -> str | None:
    return next((key for key in GUESSES["reasoning"] if key in turn), None)


def _add_reasoning(row: dict[str, Any], key: str | None, text: str) -> str:
    """`text` after the reasoning that stands under `key`, unless it holds its reasoning already."""
    if not key or not row.get(key) or "</think>" in text:
        return text
    return "<think>\n" + _read_text(row, key).strip("\n") + "\n</think>\n\n" + text


def _read_text(row: Any, key: str | None) -> str:
    if not isinstance(row, dict) or key not in row:
        keys = ", ".join(map(str, row)) if isinstance(row, dict) else type(row).__name__
        raise DataError(f"missing key {key!r}; found {keys}")
    try:
        return join_parts(row[key])
    except DataError as e:
        raise DataError(f"key {key!r}: {e}") from e
