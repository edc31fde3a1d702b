"""Rows that are scored: a repeated branch sees what precedes its block, and itself."""

from hypothesis import given
from pdata.judge.rows import make_scoring_rows

from pbranch.format.tree import Segment, Trace, plain_text
from pbranch.format.visibility import sees
from tests.support.strategies import traces


class Letters:
    """A codec of letters as ids."""

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]


def before_and_branch(trace: Trace, lead: str = "") -> list[list[tuple[str, str, str]]]:
    """By fork and branch: all text before its block, all before the branch itself, the branch."""
    found: list[list[tuple[str, str, str]]] = []

    def walk(trace: Trace, text: str) -> str:
        for part in trace.parts:
            if isinstance(part, Segment):
                text += part.text
                continue
            block: list[tuple[str, str, str]] = []
            found.append(block)
            start = text
            for i, branch in enumerate(part.branches):
                text += part.separator if i else ""
                block.append((start, text, plain_text(branch)))
                text = walk(branch, text)
        return text

    walk(trace, lead)
    return found


@given(traces(depth=2))
def test_a_repeated_branch_sees_what_precedes_its_block_and_itself(trace: Trace) -> None:
    blocks = before_and_branch(trace, "go")
    if not blocks:
        return
    reading = make_scoring_rows(Letters().encode("go"), trace, Letters())
    layout = reading.layout
    forks = list(trace.all_forks())
    for fork, block, pairs in zip(forks, blocks, reading.pairs, strict=True):
        for topic, (start, before, text), pair in zip(fork.topics, block, pairs, strict=True):
            words = text[max(len(topic), 1) :]
            for predictors, context in zip(pair, (before, start), strict=True):
                assert max(0, predictors.stop - predictors.start) == len(words)
                rows = range(predictors.start, predictors.stop)
                for k, row in [*enumerate(rows)][:: max(1, len(rows) - 1)]:  # the first, the last
                    seen = [r for r in range(row + 1) if sees(layout, row, r)]
                    spelled = "".join(chr(layout.token_ids[r]) for r in seen)
                    assert spelled == context + text[: len(text) - len(words) + k]
                    assert [layout.position_ids[r] for r in seen] == list(range(len(seen)))
                    assert layout.token_ids[row + 1] == ord(words[k])
