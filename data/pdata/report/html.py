"""`pdata stats --html`: one page about a trace file that needs no network and runs no script.

Reads the file once and keeps counts and a handful of traces, so memory does not grow with it.
Knows what the page says; `charts.py` knows where its lines are, `report.html` how it looks.
"""

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from pbranch.files.file_identity import refuse_overwriting
from pbranch.files.jsonl import read_objects
from pbranch.format.tree import Fork, Trace, plain_text
from pdata.record import Record, open_writer, rejected_path
from pdata.report import charts
from pdata.report.console_tables import STATS
from pdata.report.statistics import ALL, Size, Tally, add_trace, measure, read_traces, summarise
from pdata.rules.evidence import describe_evidence

EXAMPLES = 20  # enough to judge a file by
LONGEST = 1500  # words of an example
SHOWN = 30  # rows of a table
LARGEST = 1e6  # more than a score can be
ANSWERS = {True: "right", False: "wrong", None: "unknown"}


@dataclass(frozen=True, slots=True)
class Example:
    """A trace to be shown."""

    record: Record
    trace: Trace
    size: Size

    @property
    def text(self) -> str:
        return plain_text(self.trace)

    @property
    def evidence(self) -> dict[int, str]:
        """Why each fork was made, by its identity; empty where the record does not say."""
        entries, forks = self.record.meta.get("forks"), list(self.trace.all_forks())
        if not isinstance(entries, list) or len(entries) != len(forks):
            return {}
        pairs = zip(forks, entries, strict=True)
        return {id(fork): _say_why(x) for fork, x in pairs if isinstance(x, dict)}


@dataclass(slots=True)
class ReportData:
    """What one pass over a file keeps."""

    groups: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    linear: Counter[str] = field(default_factory=Counter)  # traces without a fork, by reason
    scores: Counter[int] = field(default_factory=Counter)  # meta.independence in hundredths, cut
    examples: list[Example] = field(default_factory=list)
    candidates: int = 0
    masked: Example | None = None  # the deepest, then the shortest
    draw: random.Random = field(default_factory=lambda: random.Random(0))

    def add(self, record: Record, trace: Trace) -> None:
        example = Example(record, trace, measure(trace))
        add_trace(self.groups, record, example.size)
        scores = record.meta.get("independence")
        for score in scores if isinstance(scores, list) else ():
            if type(score) in (int, float) and -LARGEST < score < LARGEST:  # not nan
                self.scores[round(score * 1000) // 10] += 1
        if not example.size.widths:
            reason = record.meta.get("linear")
            self.linear[reason if isinstance(reason, str) and reason else "not recorded"] += 1
            return
        if self.masked is None or _mask_order(example) < _mask_order(self.masked):
            self.masked = example
        if example.size.linear <= LONGEST:
            self._sample(example)

    def _sample(self, example: Example) -> None:
        """Each candidate is shown with the same chance; the same file shows the same ones."""
        self.candidates += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)
        elif (place := self.draw.randrange(self.candidates)) < EXAMPLES:
            self.examples[place] = example


def _say_why(entry: dict[str, Any]) -> str:
    """What a record says of one of its forks."""
    recognised, signs = describe_evidence(str(entry.get("found_by", "")))
    score = entry.get("independence")
    judged = f" · judge: {score:.3f} nats a token" if type(score) in (int, float) else ""
    return f"found by {recognised} · checked for {', '.join(signs)}: none{judged}"


def _mask_order(example: Example) -> tuple[int, int]:
    return -example.trace.depth, example.size.serial


def write_html(path_in: str | Path, path_out: str | Path) -> None:
    """Write the page about a trace file; `-` is stdin or stdout. Raises DataError.

    Reads `FILE.rejected.jsonl` too, where it lies next to FILE.
    """
    refuse_overwriting([path_out], [path_in, rejected_path(Path(path_in))])
    data = ReportData()
    for record, trace in read_traces(path_in):
        data.add(record, trace)
    page = _render(data, Path(path_in)).lstrip()
    with open_writer(path_out) as out:
        # a file's name may hold bytes that are no text
        out.write(page.encode("utf-8", "replace").decode("utf-8"))


def _count_rejected(path: Path) -> Counter[str]:
    return Counter(str(row.get("reason")) for row in read_objects(path))


def _render(data: ReportData, path: Path) -> str:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.tests["fork"] = lambda part: isinstance(part, Fork)
    environment.filters["identity"] = id
    template = environment.from_string(
        files("pdata.report").joinpath("report.html").read_text("utf-8")
    )
    tally, rejected = data.groups[ALL], rejected_path(path)
    figures = summarise(data.groups)
    return template.render(
        name="stdin" if str(path) == "-" else path.name,
        charts=charts,
        zip=zip,
        figures=figures[ALL],
        branches=tally.lengths.total(),
        widths=charts.draw_histogram(tally.widths),
        lengths=charts.draw_histogram(tally.lengths),
        ratios=charts.draw_histogram(tally.ratios, 100),
        scores=charts.draw_histogram(data.scores, 100),
        answers=[(word, tally.answers[ok]) for ok, word in ANSWERS.items()],
        linear=data.linear.most_common(),
        rejected_name=rejected.name,
        rejected=_count_rejected(rejected).most_common() if rejected.exists() else None,
        columns=STATS,
        tasks=list(figures.items()),
        shown=SHOWN,
        examples=data.examples,
        longest=LONGEST,
        masked=data.masked,
        mask=charts.draw_mask(data.masked.trace) if data.masked else None,
    )
