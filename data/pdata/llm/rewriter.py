"""The `llm` rewriter: a model says which steps of a trace are branches, and is checked.

Three questions a trace: outline and groups, topics with small edits, and votes on independence. A
trace that the model cannot handle goes to the rules; one that it finds dependent stays linear.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any, TypeVar

from rapidfuzz.distance import Levenshtein

from pbranch.format.tree import Trace, make_trace, plain_text
from pdata.grading.answer_forms import clean_answer
from pdata.grading.closing_form import find_closing
from pdata.llm.chat_client import Client, Refused
from pdata.llm.outline import Span, find_groups
from pdata.llm.proposal import Branch, Edit, Fault, build_trace, split_sentences
from pdata.rules import rewriter
from pdata.rules.blocks.steps import Block
from pdata.rules.dependence.independence import find_dependence
from pdata.rules.evidence import BY_MODEL
from pdata.rules.prompt import Prompt
from pdata.rules.rewriter import Rewrite

T = TypeVar("T")
NO_STEPS, DEPENDENT = "no steps", "dependent steps"


def _schema(title: str, **properties: Any) -> dict[str, Any]:
    return {"title": title, "type": "object", "properties": properties,
            "required": list(properties), "additionalProperties": False}  # fmt: skip


def _list(items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_INT, _TEXT, _BOOL = ({"type": kind} for kind in ("integer", "string", "boolean"))
OUTLINE = _schema(
    "outline",
    steps=_list(_schema("step", begins=_TEXT, group=_INT)),
)
_EDIT = _schema("edit", source=_TEXT, replacement=_TEXT)
_BRANCH = _schema("branch", branch=_INT, topic=_TEXT, edits=_list(_EDIT))
PROPOSAL = _schema("proposal", branches=_list(_BRANCH))
VOTE = _schema("vote", reason=_TEXT, independent=_BOOL, same_content=_BOOL)


class LLMRewriter:
    """Rewrites traces with the model of a client. Thread-safe.

    votes: how many are asked whether the branches are independent. All must agree (as ASPD has
    it): a wrong fork teaches a model to guess, a missed one costs a few passes. attempts: of each
    question, with the reason why the last reply could not be used; max_distance: characters that
    may change, as a share of the text (Multiverse's 0.2).
    """

    def __init__(
        self, client: Client, *, votes: int = 3, attempts: int = 3, max_distance: float = 0.2
    ) -> None:
        self.client, self.votes, self.attempts = client, votes, attempts
        self.max_distance = max_distance

    def rewrite(self, text: str, prompt: str) -> Rewrite:
        """The trace of a linear text.

        Forked by the model: no reason, no block. Linear since the model finds no independent steps
        or they turn out dependent: the reason. Where the model's replies cannot be used, what the
        rules make of the text, and in `detail` why. Raises DataError when the server is gone.
        """
        try:
            trace = self._fork(text, prompt)
            return Rewrite(trace, found_by=tuple(BY_MODEL for _ in trace.all_forks()))
        except (Fault, Refused) as e:
            reason = e.reason if isinstance(e, Fault) else "request refused"
            detail = e.detail if isinstance(e, Fault) else str(e)
        if reason in (NO_STEPS, DEPENDENT):
            return Rewrite(make_trace(text), reason, detail)
        by_rules = rewriter.rewrite(text, prompt)
        why = f"by rules, since the model's reply had: {reason} ({detail})"
        return replace(by_rules, detail="; ".join(filter(None, (by_rules.detail, why))))

    def _fork(self, text: str, prompt: str) -> Trace:
        sentences = split_sentences(text)
        if len(sentences) < 2:
            raise Fault(NO_STEPS)

        def read_outline(reply: dict[str, Any]) -> list[list[Span]]:
            steps = _read(reply, "steps", list)
            said = [(_read(s, "begins", str), _read(s, "group", int)) for s in steps]
            return find_groups(said, sentences, prompt)

        def read_proposal(reply: dict[str, Any]) -> Trace:
            trace, blocks, said = build_trace(sentences, _read_proposal(reply, groups), prompt)
            if not blocks:
                raise Fault(NO_STEPS)
            self._check(text, prompt, trace, said)
            self._vote(prompt, text, trace, blocks)
            return trace

        talk = [_say("outline", problem=prompt, trace=text)]
        groups = self._converse(talk, OUTLINE, read_outline)
        if not groups:
            raise Fault(NO_STEPS)
        talk.append(_say("rewrite", branches=_list_branches(groups, sentences)))
        return self._converse(talk, PROPOSAL, read_proposal)

    def _converse(
        self,
        talk: list[dict[str, str]],
        schema: dict[str, Any],
        read: Callable[[dict[str, Any]], T],
        sample: int = 0,
    ) -> T:
        """What `read` makes of the reply, which joins `talk`; its Fault goes back to the model.

        A proposal that was once found dependent counts as dependent, whatever came of it later.
        """
        doubt: Fault | None = None
        fault: Fault | Refused = Fault("no attempt")
        for _ in range(self.attempts):
            try:
                reply = self.client.ask(talk, schema=schema, sample=sample)
            except Refused as e:
                fault = e
                break
            json_text = _find_json(reply.content)
            talk.append({"role": "assistant", "content": json_text or "{}"})
            try:
                return read(_parse(json_text, reply.finish_reason))
            except (Fault, Refused) as e:
                fault = e
            if isinstance(fault, Refused) or fault.reason == NO_STEPS:
                break
            doubt = fault if fault.reason == DEPENDENT else doubt
            talk.append(_say("retry", reason=str(fault)))
        raise doubt or fault

    def _check(self, text: str, prompt: str, trace: Trace, blocks: list[Block]) -> None:
        """Raises Fault where the text changed too much, or its answer, or words say dependent."""
        plain = plain_text(trace)
        if Levenshtein.normalized_distance(text, plain) > self.max_distance:
            raise Fault("too many edits", f"more than {self.max_distance:.0%} of the text changed")
        before, after, in_tail = map(_read_closing, (text, plain, blocks[-1].tail))
        if after != before:
            raise Fault("answer changed", f"it was {before!r}, it is {after!r}")
        if before is not None and in_tail != before:
            raise Fault("answer in a branch", "the final answer belongs after the last block")
        for block in blocks:
            if dependence := find_dependence(block, Prompt(prompt)):
                raise Fault(DEPENDENT, dependence)

    def _vote(self, prompt: str, text: str, trace: Trace, blocks: list[Block]) -> None:
        """Raises Fault at the first vote that is not in favour, or cannot be read."""
        changed = plain_text(trace) != text
        originals = f"\nThe original text:\n<original>\n{text}\n</original>\n" if changed else ""
        solution = _draw(blocks, len(text))
        ballot = _say("vote", problem=prompt, solution=solution, originals=originals)
        for sample in range(self.votes):
            try:
                independent, same, reason = self._converse([ballot], VOTE, _read_vote, sample)
            except Fault as e:
                raise Fault(DEPENDENT, f"vote {sample + 1} cannot be read: {e}") from e
            if not independent:
                raise Fault(DEPENDENT, f"vote {sample + 1}: {reason}")
            if not same:
                raise Fault("content changed", reason)


def _read_closing(text: str) -> str | None:
    closing = find_closing(text)
    return None if closing is None else clean_answer(closing)


def _say(name: str, **values: str) -> dict[str, str]:
    """A message of the user: a page of prompts/ with `values` in it."""
    return {"role": "user", "content": Template(_read_page(name)).substitute(values)}


@cache
def _read_page(name: str) -> str:
    return (files("pdata.llm") / "prompts" / f"{name}.txt").read_text(encoding="utf-8")


def _draw(blocks: list[Block], size: int) -> str:
    """What voters read of a text of `size` characters: branches, numbered, and what is around."""
    drawn, done = [], 0  # characters of the original that are drawn
    for n, block in enumerate(blocks, 1):
        drawn.append(block.lead[done:])
        for k, step in enumerate(block.steps, 1):
            drawn.append(f'\n<block {n}, branch {k}: "{step.label.text}">\n{step.text}\n</branch>')
        drawn.append("\n")
        done = size - len(block.tail)
    return "".join(drawn) + blocks[-1].tail


def _find_json(content: str) -> str:
    """The JSON object in a reply, without the thinking before it and the fence around it."""
    direct = content.lstrip().startswith(("{", "```"))
    said = content if direct else content.rpartition("</think>")[2]
    return said[said.find("{") : said.rfind("}") + 1]


def _parse(json_text: str, finish_reason: str) -> dict[str, Any]:
    cut = "the reply was cut off; " if finish_reason == "length" else ""
    try:
        row = json.loads(json_text)
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as e:
        raise Fault("not JSON", f"{cut}{e}") from e
    if not isinstance(row, dict):
        raise Fault("not JSON", f"{cut}expected an object")
    return row


def _read(row: Any, key: str, kind: type[T]) -> T:
    value = row.get(key) if isinstance(row, dict) else None
    if type(value) is not kind:
        raise Fault("wrong schema", f"{key!r}: expected {kind.__name__}, found {value!r:.60}")
    return value


def _read_proposal(row: dict[str, Any], groups: list[list[Span]]) -> list[list[Branch]]:
    """The branches of each group that are not left out; of one alone none."""
    said: dict[int, dict[str, Any]] = {}
    for branch in _read(row, "branches", list):
        if said.setdefault(_read(branch, "branch", int), branch) is not branch:
            raise Fault("wrong schema", f"branch {branch['branch']} is there twice")
    spans = [span for group in groups for span in group]
    if wrong := [n for n in said if not 1 <= n <= len(spans)]:
        raise Fault("wrong schema", f"branch {wrong[0]}: expected 1 to {len(spans)}")
    blocks, end = [], 0
    for group in groups:
        begin, end = end, end + len(group)
        kept = [n for n in range(begin + 1, end + 1) if n in said]
        if kept and len(kept) < kept[-1] - kept[0] + 1:
            raise Fault("branches left out", f"between branches {kept[0]} and {kept[-1]}")
        if len(kept) > 1:
            blocks.append([_read_branch(said[n], *spans[n - 1]) for n in kept])
    return blocks


def _read_branch(row: dict[str, Any], first: int, last: int) -> Branch:
    edits = tuple(
        Edit(_read(edit, "source", str), _read(edit, "replacement", str))
        for edit in _read(row, "edits", list)
    )
    return Branch(_read(row, "topic", str).strip().rstrip(":："), first, last, edits)


def _list_branches(groups: list[list[Span]], sentences: list[str]) -> str:
    """What the model reads: the first and the last words of every branch, counted from 1."""
    lines, number = [], 0
    for n, group in enumerate(groups, 1):
        lines.append(f"Block {n}:")
        for first, last in group:
            number += 1
            words = " ".join(sentences[first - 1 : last]).split()
            short = words if len(words) <= 24 else [*words[:16], "…", *words[-6:]]
            lines.append(f"{number}| {' '.join(short)}")
    return "\n".join(lines)


def _read_vote(row: dict[str, Any]) -> tuple[bool, bool, str]:
    reason = _read(row, "reason", str)
    return _read(row, "independent", bool), _read(row, "same_content", bool), reason
