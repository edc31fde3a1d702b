"""What a chat template is given, and what it writes: messages, tools and arguments in, text out.

Templates ignore what they do not know, so what would be lost is refused here. Knows no branches.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pbranch.bounds import bounded
from pbranch.errors import DataError, RequestError, did_you_mean
from pbranch.format.trace_record import CALLS, join_parts

Message = Mapping[str, Any]
LONGEST, TIMES = 1_000_000, 10  # characters of a template's own; of each that it is given
NAME = "chat_template"  # the argument that chooses one of several named templates
_OURS = ("messages", "add_generation_prompt", "continue_final_message")  # set in any case


class EndlessTemplate(RequestError):
    """A template that computes without end; other messages, or another form of them, would only
    make it do so again."""


def check_template_args(args: Mapping[str, Any], template: Any) -> None:
    """RequestError on an argument that the template does not use, and where none of several named
    templates is chosen."""
    names = list(template) if isinstance(template, Mapping) else []
    words = _words(template)
    for name, value in args.items():
        if name in _OURS:
            raise RequestError(f"template argument {name}: is always set, and not by hand")
        if name == NAME and names:
            if value not in names:
                raise RequestError(f"template argument {NAME}={value}: expected {_either(names)}")
        elif name not in words:
            hint = did_you_mean(name, list(words))
            raise RequestError(
                f"template argument {name}: the chat template has no such name{hint}"
            )
    fits = {"default", "tool_use" if args.get("tools") else "default"}
    if names and NAME not in args and not fits & set(names):
        raise RequestError(
            f"the model has several chat templates and none by default; expected the template "
            f"argument {NAME}={_either(names)}"
        )


def _either(names: Sequence[str]) -> str:
    return " or ".join(sorted(names))


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
    """The text of a conversation.

    Args:
        turns: as `check_turn` gives them.
        answer: end where the assistant speaks: behind what opens its next turn or, where the last
            turn is its own, behind what that says, so that it goes on.

    Raises:
        RequestError: The template refuses the messages, or leaves out what one of them says.
    """
    how: dict[str, Any] = {**args, "add_generation_prompt": answer}
    if answer and turns and _is_open(turns[-1]):
        if turns[-1]["content"]:
            how |= {"add_generation_prompt": False, "continue_final_message": True}
        else:
            turns = turns[:-1]
    try:
        return _write(turns, tokenizer, how, set())
    except EndlessTemplate:
        raise
    except RequestError as refused:
        try:  # a template that reads parts may fail on texts
            return _write(turns, tokenizer, how, set(range(len(turns))))
        except RequestError:
            raise refused from None


def _write(
    turns: Sequence[Message], tokenizer: Any, how: Mapping[str, Any], parted: set[int]
) -> str:
    """parted: the turns whose content is given as a list of parts, by index; those that are lost
    as texts are added."""
    text = _render(turns, tokenizer, how, parted)
    while (lost := _first_lost(turns, text, tokenizer, how, parted)) is not None:
        if lost in parted:
            role = turns[lost]["role"]
            raise RequestError(
                f"message {lost + 1}: the chat template leaves out what the {role} says"
            )
        parted.add(lost)
        text = _render(turns, tokenizer, how, parted)
    return text


def _is_open(turn: Message) -> bool:
    """Whether a last turn is the beginning of an answer: the assistant's, and not a call."""
    return turn["role"] == "assistant" and not any(turn.get(key) for key in CALLS)


def _render(
    turns: Sequence[Message], tokenizer: Any, how: Mapping[str, Any], parted: Collection[int]
) -> str:
    given = [
        {**turn, "content": [{"type": "text", "text": turn["content"]}]} if i in parted else turn
        for i, turn in enumerate(turns)
    ]
    try:
        with bounded():
            text = tokenizer.apply_chat_template(given, tokenize=False, **how)
    except (TimeoutError, MemoryError) as e:
        raise EndlessTemplate(f"the chat template does not end: {e}") from e
    except Exception as e:  # jinja's errors and a template's own raise_exception share no base
        if "continue_final_message" in how and "continue_final_message" in str(e):
            raise RequestError(
                "the chat template does not write the last message as it is, so that no answer can "
                "go on from there"
            ) from e
        said = " ".join(str(e).split())[:200] or type(e).__name__
        raise RequestError(f"the chat template refuses these messages: {said}") from e
    most = LONGEST + TIMES * len(str(turns)) + TIMES * len(str(how))
    if not isinstance(text, str) or len(text) > most:
        raise RequestError(
            f"the chat template writes more than {most:,} characters for these messages"
        )
    return text


def _first_lost(
    turns: Sequence[Message],
    text: str,
    tokenizer: Any,
    how: Mapping[str, Any],
    parted: Collection[int],
) -> int | None:
    """The first turn of which `text` holds nothing. A template may change what it writes, or leave
    out thoughts: where the content is not there as it is, a word more has to make a difference."""
    for i, turn in enumerate(turns):
        said = turn["content"].strip()
        if said in text or any(turn.get(key) for key in CALLS):
            continue
        longer = [*turns[:i], {**turn, "content": f"{said} more"}, *turns[i + 1 :]]
        if _render(longer, tokenizer, how, parted) == text:
            return i
    return None


def _words(template: Any) -> set[str]:
    """All names in a template, or in all of a tokenizer's named ones."""
    return set(re.findall(r"[A-Za-z_]\w*", str(template)))
