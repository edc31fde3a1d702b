"""Renders a prompt to token ids: one function for data, training and decoding.

The model's chat template where it has one; BOS never doubled; marker strings in a prompt are text.
An adapter's switch, the system text of the form it is to answer in, stands before all others.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pbranch.errors import FormatError, RequestError, did_you_mean
from pbranch.format.tagged_text import parse
from pbranch.format.tree import plain_text
from pbranch.hf.segment_codec import SegmentCodec, split_markers

Message = Mapping[str, Any]
_FIELDS = ("role", "content")
_OURS = ("messages", "add_generation_prompt")  # what a template is given in any case


def render_prompt(
    prompt: str | Sequence[Message],
    tokenizer: Any,
    system: str | None = None,
    raw: bool = False,
    template_args: Mapping[str, Any] | None = None,
    switch: str | None = None,
) -> list[int]:
    """Token ids of a user message, or of a conversation that the assistant is to answer.

    raw feeds text as it is (with BOS where the tokenizer adds one). Without a chat template a
    text is fed raw, and messages or a system text are an error. `template_args` are handed to the
    template, e.g. {"enable_thinking": False}; one that it does not use is an error. `switch` opens
    the system text, two line breaks before what the prompt or `system` says; raw text gets none.
    """
    if raw or (isinstance(prompt, str) and not tokenizer.chat_template):
        if not isinstance(prompt, str):
            raise RequestError("a raw prompt must be a string, found messages")
        if system:
            raise RequestError("a system text needs a chat template; this prompt is fed raw")
        if template_args:
            raise RequestError("template arguments need a chat template; this prompt is fed raw")
        return _encode(prompt, tokenizer, add_bos=True)
    if not tokenizer.chat_template:
        raise RequestError("messages need a chat template, and this tokenizer has none; use text")
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if system:
        messages = [{"role": "system", "content": system}, *messages]
    if switch:
        messages = _open_with(switch, messages)
    _check_template_args(template_args or {}, tokenizer.chat_template)
    text = _apply_template(messages, tokenizer, template_args or {})
    return _encode(text, tokenizer, add_bos=False)


def turn_end_id(tokenizer: Any) -> int:
    """The token that ends an assistant's turn: what the chat template writes, else EOS.

    Raises RequestError where the tokenizer has neither.
    """
    if tokenizer.chat_template:
        answer = "pbranch-answer"
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        rest = tokenizer.encode(text[text.rindex(answer) + len(answer) :], add_special_tokens=False)
        special = set(tokenizer.added_tokens_decoder) | set(tokenizer.all_special_ids)
        found = next((i for i in rest if i in special), None)
        if found is not None:
            return found
    if tokenizer.eos_token_id is None:
        raise RequestError("the tokenizer has no end-of-text token and no chat template")
    return tokenizer.eos_token_id


def _open_with(switch: str, messages: Sequence[Message]) -> list[Message]:
    """`switch` as a system message, joined with one that is there."""
    first = messages[0] if messages and isinstance(messages[0], Mapping) else {}
    text = first.get("content")
    if first.get("role") != "system" or not isinstance(text, str):
        return [{"role": "system", "content": switch}, *messages]
    return [{**first, "content": f"{switch}\n\n{text}"}, *messages[1:]]


def _check_template_args(args: Mapping[str, Any], template: Any) -> None:
    """Templates ignore names that they do not know; we do not."""
    words = set(re.findall(r"[A-Za-z_]\w*", str(template)))
    for name in args:
        if name in _OURS:
            raise RequestError(f"template argument {name}: is always set, and not by hand")
        if name not in words:
            hint = did_you_mean(name, list(words))
            raise RequestError(
                f"template argument {name}: the chat template has no such name{hint}"
            )


def _apply_template(
    messages: Sequence[Message], tokenizer: Any, template_args: Mapping[str, Any]
) -> str:
    turns = []
    for i, message in enumerate(messages):
        fields = [message.get(k) if isinstance(message, Mapping) else None for k in _FIELDS]
        if not all(isinstance(f, str) for f in fields):
            raise RequestError(f"message {i + 1}: expected role and content as strings")
        content = message["content"]
        if message["role"] == "assistant":
            content = _flatten(content)
        turns.append({**message, "content": content})
    try:
        return tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True, **template_args
        )
    except Exception as e:  # jinja's errors and a template's own raise_exception share no base
        raise RequestError(f"the chat template refuses these messages: {e}") from e


def _flatten(content: str) -> str:
    """An earlier answer as plain text; text that only looks tagged stays as it is."""
    try:
        return plain_text(parse(content))
    except FormatError:
        return content


def _encode(text: str, tokenizer: Any, add_bos: bool) -> list[int]:
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise RequestError(f"the prompt is not valid text ({e})") from e
    bos = tokenizer.bos_token
    add_bos = add_bos and not (bos and text.startswith(bos))
    runs = split_markers(text)
    alone = len(runs) == 1
    ids = tokenizer.encode(runs[0], add_special_tokens=add_bos and alone) if runs else []
    if not alone:
        for run in runs[1:]:
            ids += SegmentCodec(tokenizer).encode(run)
        if add_bos:
            ids = [*(x for x in tokenizer.encode("") if x == tokenizer.bos_token_id), *ids]
    if not ids:
        raise RequestError("the prompt is empty")
    return ids
