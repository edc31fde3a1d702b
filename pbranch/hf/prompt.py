"""Renders a prompt to token ids: one function for data, training and decoding.

The model's chat template where it has one; BOS never doubled; marker strings in a prompt are text,
and so are its spelled special tokens. An adapter's switch, the system text of the form it is to
answer in, stands before all others.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pbranch.errors import FormatError, RequestError
from pbranch.format.tagged_text import parse
from pbranch.format.tree import plain_text
from pbranch.hf.chat_template import (
    EndlessTemplate,
    Message,
    check_template_args,
    check_turn,
    write_turns,
)
from pbranch.hf.segment_codec import SegmentCodec, spelled_tokens, split_markers

_SYSTEM = ("system", "developer")  # roles of a conversation's opening instructions
# letters of Linear A, which nobody reads: templates may print what they are given by Python's repr,
# which spells noncharacters out
_CUTS = [chr(code) for code in range(0x10600, 0x10620)]


def render_prompt(
    prompt: str | Sequence[Message],
    tokenizer: Any,
    system: str | None = None,
    raw: bool = False,
    template_args: Mapping[str, Any] | None = None,
    switch: str | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    special_tokens: bool = False,
) -> list[int]:
    """Token ids of a user message, or of a conversation that the assistant is to answer.

    raw feeds text as it is (with BOS where the tokenizer adds one, special tokens read). Without a
    chat template a text is fed alone, and messages or a system text are an error. `system` opens
    the conversation, before its own system text; an empty one takes the place of a template's.
    A last message of the assistant is the beginning of its answer, and continued.

    `template_args` are handed to the template, e.g. {"enable_thinking": False}; one that it does
    not use is an error. `tools`: what the answer may call, in the place of
    `template_args["tools"]`. `switch` opens the system text, two line breaks before what the
    prompt or `system` says; raw text gets none. special_tokens: read those that a prompt spells,
    which are else text.
    """
    args = dict(template_args or {}) | ({"tools": list(tools)} if tools else {})
    template = tokenizer.chat_template
    if raw or (isinstance(prompt, str) and not template):
        if not isinstance(prompt, str):
            raise RequestError("a raw prompt must be a string, found messages")
        if system:
            raise RequestError("a system text needs a chat template; this prompt is fed raw")
        if args:
            raise RequestError("template arguments need a chat template; this prompt is fed raw")
        reads = raw or special_tokens
        runs = [prompt] if reads else split_markers(prompt, spelled_tokens(tokenizer))
        has_bos = reads and bool(tokenizer.bos_token) and prompt.startswith(tokenizer.bos_token)
        return _encode(runs, tokenizer, add_bos=not has_bos)
    if not template:
        raise RequestError("messages need a chat template, and this tokenizer has none; use text")
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    messages: list[Message] = [check_turn(i, x, template) for i, x in enumerate(asked, 1)]
    if system is not None:
        messages = _open_with(system, messages)
    if switch:
        messages = _open_with(switch, messages)
    messages = [_flatten_answer(x) for x in messages]
    check_template_args(args, template)
    if special_tokens:
        return _encode([write_turns(messages, tokenizer, args)], tokenizer, add_bos=False)
    given = json.dumps([messages, args, template], ensure_ascii=False, default=str)
    cut, special = next(c for c in _CUTS if c not in given), spelled_tokens(tokenizer)
    messages = [
        {key: value if key == "role" else _cut(value, special, cut) for key, value in x.items()}
        for x in messages
    ]
    if "tools" in args:
        args["tools"] = _cut(args["tools"], special, cut)
    text = write_turns(messages, tokenizer, args)
    return _encode(text.split(cut), tokenizer, add_bos=False)


def turn_end_id(tokenizer: Any) -> int:
    """The token that ends an assistant's turn: what the chat template writes, else EOS.

    Raises RequestError where the tokenizer has neither, and where its template writes no answer.
    """
    if tokenizer.chat_template:
        rest = tokenizer.encode(_text_after_answer(tokenizer), add_special_tokens=False)
        added = tokenizer.added_tokens_decoder
        special = {i for i in added if added[i].special} | set(tokenizer.all_special_ids)
        found = next((i for i in rest if i in special), None)
        if found is not None:
            return found
    if tokenizer.eos_token_id is None:
        raise RequestError("the tokenizer has no end-of-text token and no chat template")
    return tokenizer.eos_token_id


def _text_after_answer(tokenizer: Any) -> str:
    """What the template writes behind the assistant's turn."""
    answer = "pbranch-answer"
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
    check_template_args({}, tokenizer.chat_template)
    try:
        text = write_turns(turns, tokenizer, {}, answer=False)
    except EndlessTemplate:
        raise
    except RequestError as refused:
        system = {"role": "system", "content": "?"}  # which some templates want to come first
        try:
            text = write_turns([system, *turns], tokenizer, {}, answer=False)
        except RequestError:
            raise refused from None
    if answer not in text:
        raise RequestError("the chat template leaves out what the assistant says")
    return text[text.rindex(answer) + len(answer) :]


def _open_with(text: str, messages: Sequence[Message]) -> list[Message]:
    """`text` as a system message, joined with one that is there."""
    first = messages[0] if messages else {}
    if first.get("role") not in _SYSTEM:
        return [{"role": "system", "content": text}, *messages]
    joined = "\n\n".join(filter(None, (text, first["content"])))
    return [{**first, "content": joined}, *messages[1:]]


def _flatten_answer(message: Message) -> Message:
    """An earlier answer as plain text; text that only looks tagged stays as it is."""
    if message["role"] != "assistant":
        return message
    try:
        return {**message, "content": plain_text(parse(message["content"]))}
    except FormatError:
        return message


def _cut(value: Any, special: re.Pattern[str], cut: str) -> Any:
    """`value` with `cut` inside each special token that its texts spell."""
    if isinstance(value, str):
        return cut.join(split_markers(value, special))
    if isinstance(value, Mapping):
        return {key: _cut(inner, special, cut) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(inner, special, cut) for inner in value]
    return value


def _encode(texts: Sequence[str], tokenizer: Any, add_bos: bool) -> list[int]:
    """Ids of texts that follow one another; no token is read across two of them."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as e:
        raise RequestError(f"the prompt is not valid text ({e})") from e
    runs = [run for text in texts for run in split_markers(text)]
    alone = len(runs) == 1
    ids = tokenizer.encode(runs[0], add_special_tokens=add_bos and alone) if runs else []
    if not alone:
        codec = SegmentCodec(tokenizer, control=True)
        for run in runs[1:]:
            ids += codec.encode(run)
        if add_bos:
            ids = [*(x for x in tokenizer.encode("") if x == tokenizer.bos_token_id), *ids]
    if not ids:
        raise RequestError("the prompt is empty")
    return ids
