"""What a chat template is given, and what it writes: messages, tools and arguments in, text out.

Templates ignore what they do not know, so what would be lost is refused here. Knows no branches.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pbranch.bounds import bounded
from pbranch.errors import DataError, RequestError, did_you_mean
from pbranch.format.trace_record import CALLS, join_parts

Message = Mapping[str, Any]
LONGEST, TIMES = 1_000_000, 10  # characters of a template's own; of each that it is given
_OURS = ("messages", "add_generation_prompt")  # what a template is given in any case


def check_template_args(args: Mapping[str, Any], template: Any) -> None:
    """RequestError on an argument that the template does not use."""
    words = _words(template)
    for name in args:
        if name in _OURS:
            raise RequestError(f"template argument {name}: is always set, and not by hand")
        if name not in words:
            hint = did_you_mean(name, list(words))
            raise RequestError(
                f"template argument {name}: the chat template has no such name{hint}"
            )


def check_turn(number: int, message: Any, template: Any) -> dict[str, Any]:
    """A message as templates take it: content as one text, arguments of calls as objects.

    Raises RequestError on what is no message, and on calls that the template would leave out.
    """
    role = message.get("role") if isinstance(message, Mapping) else None
    if not isinstance(role, str):
        raise RequestError(f"message {number}: expected role and content as strings")
    turn, called = dict(message), [key for key in CALLS if message.get(key)]
    if called and turn.get("content") is None:
        turn["content"] = ""
    try:
        turn["content"] = join_parts(turn.get("content"))
    except DataError as e:
        raise RequestError(
            f"message {number}: expected role and content as strings; content: {e}"
        ) from e
    for key in called:
        if key not in _words(template):
            raise RequestError(f"message {number}: {key}: the chat template has no such name")
    if "tool_calls" in called:
        turn["tool_calls"] = [_read_arguments(call) for call in turn["tool_calls"]]
    return turn


def _read_arguments(call: Any) -> Any:
    """A call whose arguments are an object; servers take JSON text as well, and read it."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"] or "{}")
    except ValueError:
        return call
    return {**call, "function": {**function, "arguments": arguments}}


def write_turns(
    turns: Sequence[Message], tokenizer: Any, args: Mapping[str, Any], answer: bool = True
) -> str:
    """The text of a conversation; answer: with what opens the assistant's next turn."""
    try:
        with bounded():
            text = tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=answer, **args
            )
    except (TimeoutError, MemoryError) as e:
        raise RequestError(f"the chat template does not end: {e}") from e
    except Exception as e:  # jinja's errors and a template's own raise_exception share no base
        raise RequestError(f"the chat template refuses these messages: {e}") from e
    most = LONGEST + TIMES * len(str(turns)) + TIMES * len(str(args))
    if not isinstance(text, str) or len(text) > most:
        raise RequestError(
            f"the chat template writes more than {most:,} characters for these messages"
        )
    return text


def _words(template: Any) -> set[str]:
    """All names in a template, or in all of a tokenizer's named ones."""
    return set(re.findall(r"[A-Za-z_]\w*", str(template)))
