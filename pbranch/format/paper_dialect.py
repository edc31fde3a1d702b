"""The marks of arXiv 2503.20533, which trains nothing: an instruct model is asked to write each
independent step as `####title: body` and to close the last one by `####%%%%`.

Spells them, writes a trace in them, and lays one out as it is decoded: branches that do not see
each other, then the same text again, sequentially. `pdata.sources.dialects` reads the dialect back.
"""

from collections.abc import Sequence

from pbranch.format.layout import Layout, LayoutBuilder, LayoutOptions, TextEncoder
from pbranch.format.tree import Segment, Trace, plain_text

MARK = "####"  # opens a step
CLOSE = "%%%%"  # after a mark: no step follows
OMITTED = "......"  # stands for a body in an outline
GAP = "\n\n"  # between steps
STEP_PATTERN = rf"{MARK}(?=[^#%\s])"  # a mark that opens a step; with a space it is a heading
COLONS = (":", "\uff1a")  # end a title; the second is the full-width one of Chinese text


def write_paper(trace: Trace) -> str:
    """`trace` as a model writes it: the inverse of `read_paper` where every block has the
    separator GAP and what follows it does not begin with one. Nested blocks become plain text."""
    out = []
    for part in trace.parts:
        if isinstance(part, Segment):
            out.append(part.text)
            continue
        out += [f"{MARK}{plain_text(branch)}{GAP}" for branch in part.branches]
        out.append(f"{MARK}{CLOSE}")
    return "".join(out)


def paper_layout(prompt_ids: Sequence[int], trace: Trace, encoder: TextEncoder) -> Layout:
    """Tokens of a prompt and its trace as they are decoded, without targets. The titles that come
    first are not among them: no later token sees them (`outline: own`). Marks, titles with their
    colon, bodies and gaps are encoded one by one; nested blocks are plain text."""
    builder = LayoutBuilder(encoder, None, LayoutOptions())
    builder.add_injected(prompt_ids)
    for part in trace.parts:
        if isinstance(part, Segment):
            builder.add_injected(encoder.encode(part.text))
            continue
        start = builder.position
        spans: list[range] = []
        inner: list[int] = []
        for title, branch in zip(part.topics, part.branches, strict=True):
            step_ids = _encode_step(title, plain_text(branch)[len(title) :], encoder)
            with builder.branch(start, spans):
                builder.add_injected(step_ids)
            inner += [*step_ids, *encoder.encode(GAP)]
        builder.reencode(spans, 0, start, inner)
        builder.add_injected([*encoder.encode(MARK), *encoder.encode(CLOSE)])
    return builder.finish()


def _encode_step(title: str, rest: str, encoder: TextEncoder) -> list[int]:
    colon = rest[:1] if rest.startswith(COLONS) else ""
    pieces = (MARK, title, colon, rest[len(colon) :])
    return [token_id for piece in pieces for token_id in encoder.encode(piece)]
