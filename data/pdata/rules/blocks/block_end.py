"""Lines of a trace, and where the last step of a block ends: at a mark, or by the form of the steps
before it. Knows no labels."""

import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from pdata.rules.blocks.labels import is_heading

# what opens the paragraph after the last step
_CONCLUDES = re.compile(
    r"[*_#\s]*(?:in (?:summary|conclusion|short|total)|to (?:sum up|conclude|summari[sz]e)|overall|"
    r"altogether|therefore|thus|hence|so\b|finally|综上|总之|总的来说|总体|综合|因此|所以|最终|结论|"
    r"通过(?:以上|上述)|基于(?:以上|上述)|根据(?:以上|上述)|从(?:以上|上述))",
    re.IGNORECASE,
)
# a title of what is drawn from all steps
_SUMS_UP = re.compile(
    r"[-*_#\s\d.、]*(?:综合(?:分析|结论|建议|评估|评价|报告|实施|发展|对比|考量|优化|策略|总结|应用|方案)|"
    r"总结|结论|整合|最终|总体|横向对比|协同|(?:conclusion|summary|overall|comparison|synthesis|"
    r"recommendation|final)\w*\b)",
    re.IGNORECASE,
)
CONTINUES = re.compile(r"[ \t]+\S|[-*•+][ \t]")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the trace; `start` is where its text begins, after a mark."""

    start: int
    end: int
    text: str
    marked: bool

    @property
    def blank(self) -> bool:
        return not self.text.strip()


def last_end(lines: list[Line], run: list[int], closed: bool) -> int:
    """Where the last step ends: at the close mark, or by the form of the steps before it."""
    rest = lines[run[-1] + 1 :]
    if closed:
        kept = [line.end for line in rest if not line.blank]
        # the close mark ends the block, unless a new paragraph came before it
        gap = any(a.blank and not b.blank for a, b in pairwise(rest))
        if kept and not gap:
            return kept[-1]
    counts = [_count_paragraphs(lines[a + 1 : b]) for a, b in pairwise(run)]
    if max(counts) > 1:
        often = Counter(counts).most_common()
        return _paragraphs_end(lines, run[-1], min(n for n, k in often if k == often[0][1]))
    between = [[line.text for line in lines[a + 1 : b] if not line.blank] for a, b in pairwise(run)]
    listed = any(CONTINUES.match(text) for texts in between for text in texts)
    plain = [sum(not CONTINUES.match(text) for text in texts) for texts in between]
    # without blank lines between the steps, the last one has as many lines as the others
    apart = all(lines[b - 1].blank for b in run[1:])
    left = len(rest) if apart and min(plain) else min(plain) if len(set(plain)) == 1 else 0
    end = lines[run[-1]].end
    for line in rest:
        continues = CONTINUES.match(line.text)
        if line.blank or (continues and not listed) or (not continues and not left):
            break
        left -= not continues
        end = line.end
    return end


def _count_paragraphs(rest: list[Line]) -> int:
    """Paragraphs of a step whose first line stands before `rest`."""
    return 1 + sum(a.blank and not b.blank for a, b in pairwise(rest))


def _paragraphs_end(lines: list[Line], last: int, paragraphs: int) -> int:
    """Where a step of so many paragraphs ends at the latest; a conclusion is not part of it."""
    end, blank = lines[last].end, False
    for line in lines[last + 1 :]:
        if line.blank:
            blank = True
            continue
        paragraphs -= blank
        if not paragraphs or is_heading(line.text) or (blank and _CONCLUDES.match(line.text)):
            break
        end, blank = line.end, False
    return end


def sums_up(title: str, body: str) -> bool:
    """Whether a step is the conclusion of those before it, as its title or its first words say."""
    return bool(_SUMS_UP.match(title) or _CONCLUDES.match(body.lstrip(" \t\n:：")))
