"""Renders a prompt to token ids: one function for data, training and decoding.

The model's chat template where it has one; BOS never doubled; marker strings in a prompt are text.
An adapter's switch, the system text of the form it is to answer in, stands before all others.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pbranch.errors import FormatError, RequestError
from pbranch.format.tagged_text import parse
from pbranch.format.tree import plain_text
from pbranch.hf.chat_template import Message, check_template_args, check_turn, write_turns
from pbranch.hf.segment_codec import SegmentCodec, split_markers


def render_prompt(
    prompt: str | Sequence[Message],
    tokenizer: Any,
    system: str | None = None,
    raw: bool = False,
    template_args: Mapping[str, Any] | None = None,
    switch: str | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> list[int]:
    """Token ids of a user message, or of a conversation that the assistant is to answer.

    raw feeds text as it is (with BOS where the tokenizer adds one). Without a chat template a
    text is fed raw, and messages or a system text are an error. `template_args` are handed to the
    template, e.g. {"enable_thinking": False}; one that it does not use is an error. `tools`: what
    the answer may call, in the place of `template_args["tools"]`. `switch` opens the system text,
    two line breaks before what the prompt or `system` says; raw text gets none.
    """
    args = dict(template_args or {}) | ({"tools": list(tools)} if tools else {})
    if raw or (isinstance(prompt, str) and not tokenizer.chat_template):
        if not isinstance(prompt, str):
            raise RequestError("a raw prompt must be a string, found messages")
        if system:
            raise RequestError("a system text needs a chat template; this prompt is fed raw")
        if args:
            raise RequestError("template arguments need a chat template; this prompt is fed raw")
        return _encode(prompt, tokenizer, add_bos=True)
    if not tokenizer.chat_template:
        raise RequestError("messages need a chat template, and this tokenizer has none; use text")
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    template = tokenizer.chat_template
    messages: list[Message] = [check_turn(i, x, template) for i, x in enumerate(asked, 1)]
    if system:
        messages = [{"role": "system", "content": system}, *messages]
    if switch:
        messages = _open_with(switch, messages)
    check_template_args(args, template)
    text = write_turns([_flatten_answer(x) for x in messages], tokenizer, args)
    return _encode(text, tokenizer, add_bos=False)


def turn_end_id(tokenizer: Any) -> int:
    """The token that ends an assistant's turn: what the chat template writes, else EOS.

    Raises RequestError where the tokenizer has neither.
    """
    if tokenizer.chat_template:
        answer = "pbranch-answer"
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
        text = write_turns(turns, tokenizer, {}, answer=False)
        if answer not in text:
            raise RequestError("the chat template leaves out what the assistant says")
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
    first = messages[0] if messages else {}
    if first.get("role") != "system":
        return [{"role": "system", "content": switch}, *messages]
    return [{**first, "content": f"{switch}\n\n{first['content']}"}, *messages[1:]]


def _flatten_answer(message: Message) -> Message:
    """An earlier answer as plain text; text that only looks tagged stays as it is."""
    if message["role"] != "assistant":
        return message
    try:
        return {**message, "content": plain_text(parse(message["content"]))}
    except FormatError:
        return message


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
            ids += SegmentCodec(tokenizer, control=True).encode(run)
        if add_bos:
            ids = [*(x for x in tokenizer.encode("") if x == tokenizer.bos_token_id), *ids]
    if not ids:
        raise RequestError("the prompt is empty")
    return ids
