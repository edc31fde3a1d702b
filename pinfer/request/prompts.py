"""What a caller may hand in as a prompt, or as several, told apart by form, never guessed; and what
is made of one."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pbranch.errors import RequestError
from pbranch.hf.chat_template import Message
from pinfer.params import SamplingParams
from pinfer.request.controller import LaneController
from pinfer.request.stop_strings import StopMatcher

# {"token_ids": […]}, or {"messages": […], "tools": […]}, besides a text and messages
Prompt = str | Sequence[Message] | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A prompt as token ids, with all that decoding it needs: made on any thread."""

    token_ids: list[int]
    params: SamplingParams
    stops: StopMatcher | None
    controller: LaneController | None


def as_prompts(given: Prompt | Sequence[Prompt]) -> list[Prompt]:
    """Several prompts as they are; one alone, be it a text, a mapping or the messages of one
    conversation, as a list of one. RequestError names one that is none."""
    several = isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping)
    prompts: list[Any] = list(given) if several else [given]
    if several and prompts and all(isinstance(x, Mapping) and "role" in x for x in prompts):
        prompts = [prompts]
    for i, prompt in enumerate(prompts):
        check_prompt(prompt, f"prompt {i + 1}")
    return prompts


def check_prompt(prompt: Any, name: str = "the prompt") -> None:
    """RequestError unless `prompt` has a form that a prompt may have; what its messages hold is the
    renderer's matter."""
    if isinstance(prompt, Mapping):
        good = "messages" in prompt or "token_ids" in prompt
        found = f"a mapping of {', '.join(map(str, prompt)) or 'nothing'}"
    else:
        several = isinstance(prompt, Sequence) and not isinstance(prompt, str | bytes)
        odd = next((x for x in prompt if not isinstance(x, Mapping)), None) if several else prompt
        good = isinstance(prompt, str) or (several and odd is None)
        found = f"a list of {type(odd).__name__}" if several else type(prompt).__name__
    if not good:
        raise RequestError(
            f'{name}: found {found}, expected a text, messages, {{"messages": […]}} or '
            '{"token_ids": […]}'
        )


def read_token_ids(given: Any) -> list[int]:
    """The ids of a prompt that is given as tokens: whole numbers of any library. Raises
    RequestError."""
    try:
        return [operator.index(number) for number in given]
    except TypeError as e:
        raise RequestError(f"token_ids {given!r:.80}: expected a list of whole numbers") from e
