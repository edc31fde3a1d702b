"""The text that asks a model for a dialect's marks, and where it goes in a prompt."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.resources import files

from pbranch.errors import DataError, RequestError
from pbranch.format.trace_record import join_parts
from pbranch.hf.chat_template import Message

_IDEOGRAPH = re.compile("[\u3400-\u9fff]")


def instruct(
    prompt: str | Sequence[Message], instruction: str | None = None
) -> str | list[Message]:
    """`prompt` with the instruction behind its last user message, after a blank line.

    None: the shipped text, in Chinese where that message holds Chinese. "": the prompt as it is.
    """
    if isinstance(prompt, str):
        text = shipped(prompt) if instruction is None else instruction
        return f"{prompt}\n\n{text}" if text else prompt
    messages = list(prompt)
    asked = [
        i for i, m in enumerate(messages) if isinstance(m, Mapping) and m.get("role") == "user"
    ]
    if not asked:
        raise RequestError("a dialect's instruction goes behind a user message; found none")
    last = messages[asked[-1]]
    with suppress(DataError):  # the renderer says what is wrong
        content = join_parts(last.get("content"))
        messages[asked[-1]] = {**last, "content": instruct(content, instruction)}
    return messages


def shipped(text: str) -> str:
    """The shipped instruction in the language of `text`."""
    return _read("zh" if _IDEOGRAPH.search(text) else "en")


@cache
def _read(language: str) -> str:
    page = files("pinfer.dialects").joinpath("instructions", f"paper.{language}.txt")
    return page.read_text(encoding="utf-8").strip()
