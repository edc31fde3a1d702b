"""Measured independence: by how much a causal LM finds a branch harder without its siblings.

The model reads plain text. One pass scores it twice: as the text stands, and then every
branch once more where its first sibling starts, so that it follows on what precedes the block and
on nothing else. Knows no files; a score is a function of the trace alone.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pbranch.errors import DataError, ModelError, RequestError
from pbranch.format.layout import Layout
from pbranch.format.tagged_text import parse, render, separators_of
from pbranch.format.tree import Fork, Segment, Trace, make_trace
from pbranch.format.visibility import dense_mask, layout_tensor
from pbranch.hf.additive_mask import additive_masks
from pbranch.hf.base_models import locate
from pbranch.hf.load_model import load_model, load_tokenizer
from pbranch.hf.prompt import render_prompt
from pbranch.hf.segment_codec import SegmentCodec
from pdata.judge.rows import Span, make_scoring_rows, repeat_without_siblings
from pdata.record import Record

THRESHOLD = 0.2  # nats per token; chosen on the shipped base, every model has its own scale
LONGEST = 8192  # tokens of a prompt and its trace: a mask grows with their square
EXACT = {torch.float32: 1e-4}  # of the largest logit: how far a masked pass may be from a plain one
EXACT_HALF = 5e-2

Scores = list[list[float]]  # by fork in the order of Trace.all_forks, by branch


class Judge:
    """Scores branches with a causal LM, named as `locate` takes it: a folder, a Hub id, tiny …

    A block is dependent where a branch scores above `threshold`. What a score can see and what it
    cannot: docs/data.md, with `benchmarks/judge_forks.py`. Raises ModelError on a model that cannot
    be loaded or masked.
    """

    def __init__(
        self,
        model: str,
        threshold: float = THRESHOLD,
        device: str = "auto",
        trust_remote_code: bool = False,
    ) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.threshold = threshold
        path = locate(model)
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        self.model = load_model(path, dtype, trust_remote_code=trust_remote_code).to(device)
        self.tokenizer = load_tokenizer(path, trust_remote_code)
        self.codec = SegmentCodec(self.tokenizer)
        config = self.model.config.get_text_config()
        self.context = min(LONGEST, getattr(config, "max_position_embeddings", None) or LONGEST)
        _check_hiding(self, model)

    def score(
        self,
        messages: Sequence[dict[str, Any]],
        trace: Trace,
        tools: Sequence[dict[str, Any]] = (),
    ) -> Scores:
        """By fork and branch: the mean over its tokens after the topic of
        log p(token | siblings in sight) - log p(token | siblings hidden), in nats.

        A first branch scores 0. Inner blocks stay in sight when a branch is scored, and are scored
        on their own. Raises DataError on a text that is too long, RequestError on messages that
        the model's chat template refuses.
        """
        if not any(trace.forks()):
            return []
        rows = make_scoring_rows(self.encode_prompt(messages, tools), trace, self.codec)
        longest = max(rows.layout.position_ids) + 1
        if longest > self.context:
            raise DataError(f"{longest} tokens, the judge reads at most {self.context}")
        log_probs = self.log_probs(rows.layout)
        return [[_mean(log_probs[a] - log_probs[b]) for a, b in fork] for fork in rows.pairs]

    def find_dependence(self, scores: Sequence[float]) -> str | None:
        """Which branch of one fork needs its siblings; None where none does."""
        for number, score in enumerate(scores, 1):
            if not score <= self.threshold:
                return (
                    f"step {number} loses {score:.2f} nats a token without the steps before it, "
                    f"expected at most {self.threshold:g}"
                )
        return None

    def encode_prompt(
        self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] = ()
    ) -> list[int]:
        """Token ids up to where the answer begins. Raises RequestError as `score` does."""
        if self.tokenizer.chat_template:
            return render_prompt(messages, self.tokenizer, tools=tools)
        return render_prompt("".join(m["content"] + "\n\n" for m in messages), self.tokenizer)

    def log_probs(self, layout: Layout) -> Tensor:
        """(L - 1): log p that each row but the last gives to the token of the next row."""
        logits = self.logits(layout)[:-1]
        targets = torch.tensor(layout.token_ids[1:], device=logits.device)
        parts = zip(logits.split(512), targets.split(512), strict=True)
        return -torch.cat([cross_entropy(a.float(), b, reduction="none") for a, b in parts]).cpu()

    @torch.inference_mode()
    def logits(self, layout: Layout) -> Tensor:
        """(L, V) of the rows of a layout."""
        tensor = layout_tensor([layout]).to(self.model.device)
        positions, seen = tensor[:, 1].long(), dense_mask(tensor)
        out = self.model(
            input_ids=torch.tensor([layout.token_ids], device=tensor.device),
            position_ids=positions,
            attention_mask=additive_masks(seen, positions, self.model.config, self.model.dtype),
            use_cache=False,
        )
        return out.logits[0]


def judge_record(record: Record, judge: Judge) -> Record:
    """The record with `meta.independence`, the worst score of each of its blocks; blocks that
    depend on their order are linear again, and so are all where nothing could be measured."""
    trace = parse(record.completion, record.meta.get("separators"))
    forks = sum(1 for _ in trace.all_forks())
    if not forks:
        return record
    meta = dict(record.meta)
    dependences: list[str | None]
    try:
        scores = judge.score(record.messages, trace, record.tools)
    except (DataError, RequestError) as e:
        reason, dependences = "not measured", [str(e)] * forks
    else:
        meta["independence"] = [round(max(branches), 3) for branches in scores]
        reason, dependences = "dependent steps", [judge.find_dependence(s) for s in scores]
    found = meta.pop("forks", None)
    if isinstance(found, list) and len(found) == forks:
        measured = meta.get("independence") or [None] * forks
        kept = zip(found, measured, dependences, strict=True)
        entries = [{**x, "independence": score} for x, score, why in kept if not why]
        meta |= {"forks": entries} if entries else {}
    if not any(dependences):
        return replace(record, meta=meta)
    trace = flatten_forks(trace, [bool(f) for f in dependences])
    meta["linear_because"] = next(f for f in dependences if f)
    if not any(trace.forks()):
        meta |= {"form": "linear", "linear": reason}
    meta.pop("separators", None)
    if separators := separators_of(trace):
        meta["separators"] = separators
    return replace(record, completion=render(trace), meta=meta)


def flatten_forks(trace: Trace, chosen: Sequence[bool]) -> Trace:
    """The trace with the chosen forks (in the order of `all_forks`) as plain text; a fork inside a
    chosen one stays unless it is chosen too."""
    marks = iter(chosen)

    def walk(trace: Trace) -> Trace:
        parts: list[str | Segment | Fork] = []
        for part in trace.parts:
            if isinstance(part, Segment):
                parts.append(part)
                continue
            flat = next(marks)
            branches = tuple(map(walk, part.branches))
            if not flat:
                parts.append(replace(part, branches=branches))
                continue
            for i, branch in enumerate(branches):
                parts += [part.separator if i else "", *branch.parts]
        return make_trace(*parts)

    return walk(trace)


def _mean(values: Tensor) -> float:
    return values.mean().item() if len(values) else 0.0


@torch.inference_mode()
def _check_hiding(judge: Judge, name: str) -> None:
    """Refuse a model on which hiding rows is not the same as leaving them out."""
    prompt, first, second = [5, 9, 4], [7, 3, 8, 6], [3, 7, 9, 5, 4]
    spans = [Span(3, 4, 7), Span(7, 8, 12)]
    try:
        rows = repeat_without_siblings([*prompt, *first, *second], [spans])
        ours = judge.logits(rows.layout).float()
        texts = ([*prompt, *first, *second], [*prompt, *second])
        theirs = [
            judge.model(input_ids=torch.tensor([text], device=ours.device)).logits[0]
            for text in texts
        ]
    except (TypeError, AttributeError, RuntimeError, IndexError, KeyError) as e:
        raise ModelError(f"judge {name}: cannot run with a branch mask ({e})") from e
    wanted = torch.cat([theirs[0], theirs[1][len(prompt) :]]).float()
    error = ((ours - wanted).abs().max() / wanted.abs().max()).item()
    allowed = EXACT.get(judge.model.dtype, EXACT_HALF)
    if not error <= allowed:
        raise ModelError(
            f"judge {name}: hiding a branch is not the same as leaving it out ({error:.1e} of the "
            f"largest logit, expected at most {allowed:.0e})"
        )
