"""Shows a stream on a terminal: text as it is, and one growing line a branch. Only looks.

The lines of branches are for watching; the answer in reading order is printed when it is whole.
"""

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pbranch.console import printable
from pinfer.output.events import BranchEnded, BranchStarted, Event, TokenEvent
from pinfer.request.state import Path


class BranchView:
    """What is known so far, as lines: (lane, text), in order of reading."""

    def __init__(self) -> None:
        self._lines: list[tuple[Path, str]] = [((), "")]
        self._topics: dict[Path, str] = {}
        self._ended: set[Path] = set()

    def feed(self, event: Event) -> None:
        """Take an event in."""
        if isinstance(event, BranchStarted):
            self._topics[event.lane] = event.topic
            self._lines.insert(self._end_of(event.lane[:-1]), (event.lane, ""))
        elif isinstance(event, BranchEnded):
            self._ended.add(event.lane)
        elif isinstance(event, TokenEvent):
            self._write(event.lane, event.text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows: list[Text] = []
        height = (options.height or options.size.height) - 1
        for lane, text in self._lines:
            if lane:
                rows.append(self._branch_line(lane, text, options.max_width))
            elif text.strip():
                # what is further up than the screen is high need not be cut into lines
                newest = text.strip("\n")[-height * options.max_width :]
                rows += Text(_spell(newest)).wrap(console, options.max_width)
        yield from rows[-height:]

    def _branch_line(self, lane: Path, text: str, width: int) -> Text:
        mark = "✓" if lane in self._ended else "│"
        head = "  " * (len(lane) - 1) + mark + " "
        body = _spell(" ".join(text.split()))
        topic = _spell(" ".join(self._topics[lane].split()))
        if cell_len(head + body) > width and body.startswith(topic):  # the newest end of it
            head, body = head + topic[: max(0, width // 3)] + " … ", body[len(topic) :]
        line = Text(head, style="bold" if lane not in self._ended else "green")
        line.append(_last_cells(body, max(0, width - cell_len(head))), style="not bold default")
        line.truncate(width)
        return line

    def _write(self, lane: Path, text: str) -> None:
        """To the newest line of the lane; the trunk gets a new one behind a block."""
        at = max(i for i, (path, _) in enumerate(self._lines) if path == lane)
        if not lane and at < len(self._lines) - 1:
            self._lines.append(((), ""))
            at = len(self._lines) - 1
        self._lines[at] = (lane, self._lines[at][1] + text)

    def _end_of(self, lane: Path) -> int:
        """Behind all lines of a lane and of its branches."""
        return 1 + max(i for i, (p, _) in enumerate(self._lines) if p[: len(lane)] == lane)


def _spell(text: str) -> str:
    """`text` for a line whose width counts: a tab has none of its own."""
    return printable(text.replace("\t", "    "))


def _last_cells(text: str, cells: int) -> str:
    """The longest end of `text` that is no wider than `cells`."""
    start = len(text)
    while start > 0 and (cells := cells - cell_len(text[start - 1])) >= 0:
        start -= 1
    return text[start:]
