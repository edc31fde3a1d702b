"""What a source row holds under the keys of its roles: prompt, trace, gold answer, tools."""

import json
import re
from typing import Any

from pbranch.errors import DataError
from pdata.roles.field_map import FieldMap, find_value
from pdata.roles.turns import (
    Message,
    add_reasoning,
    as_turns,
    is_answered,
    is_turn,
    is_wrapper,
    read_answer,
    read_answers,
    read_text,
    read_turn,
    unpack_text,
)

# a reference solution, not what some model wrote
REFERENCES = ("answer", "solution")
_OPTIONS = re.compile(r"""\[\s*(?:["'][A-J]["'][,\s]*)+\]""")  # a list, spelled as text
_GOLD = re.compile(r"(?:\A|\n)####[ \t]*([^\n#%]+?)\s*\Z")


def read_conversation(row: dict[str, Any], fields: FieldMap) -> tuple[tuple[Message, ...], str]:
    """The prompt's messages, and the trace: a key of its own, or the last assistant turn.

    Raises DataError saying what is missing.
    """
    turns = _find_turns(row, fields)
    if fields.completion and (not turns or find_value(row, fields.completion) is not None):
        answers = _read_completion(row, fields)
        if len(answers) > 1 and read_turn(answers[0])["role"] in ("user", "system"):
            turns = []  # the answer brings the whole conversation
        turns = turns or ([] if len(answers) > 1 else _read_prompt(row, fields))
        turns = [*turns, *answers]
    elif not turns:
        _get(row, fields.messages or fields.completion)
        raise DataError(f"key {fields.messages!r}: expected a list of messages")
    if len(turns) < 2 or not is_answered(turns):
        raise DataError(f"key {fields.messages or fields.completion!r}: the last message is not an"
                        " assistant's answer")  # fmt: skip
    text = _at(fields.completion, read_answer, turns[-1])
    messages = [read_turn(turn) for turn in turns[:-1]]
    if history := as_turns(find_value(row, fields.history)):
        at = messages[0]["role"] == "system"
        messages[at:at] = [read_turn(turn) for turn in history]
    if system := find_value(row, fields.system):
        if messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": _at(fields.system, read_text, system)})
    if thoughts := find_value(row, fields.reasoning):
        text = add_reasoning(_at(fields.reasoning, read_text, thoughts), text)
    return tuple(messages), text


def read_gold(row: dict[str, Any], fields: FieldMap) -> tuple[str | None, bool]:
    """(the gold answer, whether it was taken from the trace itself).

    A reference answer that ends in `#### 72` (GSM8K) says 72. Where nothing but the trace says it,
    an `answer_ok` shows only that rewriting kept the closing: the caller notes that.
    """
    value = find_value(row, fields.answer)
    if value is not None:
        return gold_text(value) or None, False
    is_reference = (fields.completion or "").rpartition(".")[2] in REFERENCES
    reference = find_value(row, fields.completion) if is_reference else None
    closing = _GOLD.search(reference) if isinstance(reference, str) else None
    return (closing[1] if closing else None), closing is not None


def gold_text(value: Any) -> str:
    """A gold answer as text: what stands behind its `####`, the parts of a list after commas."""
    if isinstance(value, dict):
        inner = next((value[key] for key in ("value", "text", "answer") if key in value), None)
        return json.dumps(value, ensure_ascii=False) if inner is None else gold_text(inner)
    if isinstance(value, list):
        return ", ".join(dict.fromkeys(gold_text(item) for item in value))
    if not isinstance(value, str):
        return str(value)
    if _OPTIONS.fullmatch(value.strip()):
        return ", ".join(re.findall("[A-J]", value))
    closing = _GOLD.search(value)
    return closing[1] if closing else value


def several_texts(value: Any) -> list[str]:
    """The texts of a list, of `choices[0].turns`, or of several choices; else none."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0].get("turns")
    if isinstance(value, list) and len(value) > 1 and all(map(is_wrapper, value)):
        return [json.dumps(item) for item in value]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    return []


def read_tools(row: dict[str, Any], key: str | None) -> tuple[dict[str, Any], ...]:
    """The tools of a conversation: a list, or its JSON text. Raises DataError."""
    value = find_value(row, key)
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


def _find_turns(row: dict[str, Any], fields: FieldMap) -> list[Message]:
    """The turns under `messages`; none where the row has a prompt in their place."""
    if not fields.messages:
        return []
    value = _get(row, fields.messages)
    turns = as_turns(value)
    if turns is None:
        raise DataError(f"key {fields.messages!r}: expected a list of messages")
    return turns


def _read_completion(row: dict[str, Any], fields: FieldMap) -> list[Message]:
    """The turns of the answer. Questions in a list have as many answers: one after the other."""
    value = _get(row, fields.completion)
    asked = several_texts(unpack_text(find_value(row, fields.prompt)))
    said = several_texts(value)
    if len(asked) == len(said) > 1:
        return as_turns([text for pair in zip(asked, said, strict=True) for text in pair]) or []
    return _at(fields.completion, read_answers, value)


def _read_prompt(row: dict[str, Any], fields: FieldMap) -> list[Message]:
    """A text, with its context after a blank line; or turns under the prompt's key."""
    value = unpack_text(_get(row, fields.prompt))
    if isinstance(value, list) and value and all(map(is_turn, value)):
        return value
    text = _at(fields.prompt, read_text, value)
    context = find_value(row, fields.context)
    if context:
        context = _at(fields.context, read_text, context)
        text += "\n\n" + context if context not in text else ""
    return [{"role": "user", "content": text}]


def _get(row: dict[str, Any], key: str | None) -> Any:
    """What stands under `key`. Raises DataError where nothing does."""
    value = find_value(row, key)
    if value is None and (key or "") not in row:
        raise DataError(f"missing key {key!r}; found {', '.join(map(str, row))}")
    return value


def _at(key: str | None, read: Any, value: Any) -> Any:
    try:
        return read(value)
    except DataError as e:
        raise DataError(f"key {key!r}: {e}") from e
