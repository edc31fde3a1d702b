"""The marks of arXiv 2503.20533, which trains nothing: an instruct model is asked to write each
independent step as `####title: body` and to close the last one by `####%%%%`.

Spells them, writes a trace in them, and lays one out as it is decoded: branches that do not see one
another, then the same text again in one line. `pdata.sources.dialects` reads the dialect back.
"""

from collections.abc import Sequence

from pbranch.format.layout import Builder, Layout, LayoutOptions
from pbranch.format.tree import Segment, Trace, plain_text
from pbranch.hf.segment_codec import SegmentCodec

MARK = "####"  # opens a step
CLOSE = "%%%%"  # behind a mark: no step follows
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


def paper_layout(prompt_ids: Sequence[int], trace: Trace, codec: SegmentCodec) -> Layout:
    """Rows of a prompt and its trace as they are decoded, without targets. The titles that come
    first are not among them: no later row sees them (`outline: own`). Marks, titles with their
    colon, bodies and gaps are encoded one by one; nested blocks are plain text."""
    builder = Builder(codec, None, LayoutOptions())
    builder.extend(prompt_ids, None)
    for part in trace.parts:
        if isinstance(part, Segment):
            builder.extend(codec.encode(part.text), None)
            continue
        start, lines = builder.position, []
        for title, branch in zip(part.topics, part.branches, strict=True):
            rest = plain_text(branch)[len(title) :]
            colon = rest[:1] if rest.startswith(COLONS) else ""
            header = (MARK, title, colon, rest[len(colon) :])
            lines.append([token for text in header for token in codec.encode(text)])
            builder.position, first = start, len(builder.layout)
            builder.extend(lines[-1], None)
            builder.left.append((range(first, len(builder.layout)), 0))
        builder.position = start
        for line in lines:
            builder.extend([*line, *codec.encode(GAP)], None)
        builder.extend([*codec.encode(MARK), *codec.encode(CLOSE)], None)
    builder.hide_to_the_end()
    return builder.layout
