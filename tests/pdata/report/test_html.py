"""The report: one page that needs nothing, escapes everything, and renders in a real browser."""

import json
import random
import re
import shutil
import subprocess
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pdata.report.html import EXAMPLES, write_html
from pdata.report.statistics import collect_stats

from pbranch.errors import DataError
from pbranch.format.tagged_text import render
from pbranch.format.tree import Fork, Trace, make_trace
from tests.pdata.report.test_charts import NESTED

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
EVIL = (
    '</p></title></style><script>document.title="owned"</script>'
    '<img src="http://127.0.0.1:9/x.png" onerror="document.title=1">{{ 7 * 191 }}'
)
SECTIONS = ["widths", "lengths", "ratios", "independence", "answers", "linear", "rejected",
            "tasks", "examples", "mask"]  # fmt: skip
# what the page may not do itself: look at how it was rendered, and say so in its own text
PROBE = """<script>
const boxes = [...document.querySelectorAll("section")].map(section => ({
  id: section.id, height: section.getBoundingClientRect().height,
  charts: [...section.querySelectorAll("svg[role=img]")].map(svg => svg.getBoundingClientRect())
    .map(box => [box.width, box.height]),
  bars: [...section.querySelectorAll("figure rect.bar")].map(bar => bar.getBoundingClientRect())
    .map(box => [box.width, box.height]),
}));
document.body.dataset.probe = JSON.stringify({
  boxes, title: document.title, background: getComputedStyle(document.body).backgroundColor,
  overflow: document.documentElement.scrollWidth - window.innerWidth,
  requests: performance.getEntriesByType("resource").map(entry => entry.name),
});
</script>"""


NESTED_B = make_trace("B: ", *NESTED.parts, " so B")


def record(name: str, trace: Trace, **keys: Any) -> dict[str, Any]:
    row = {
        "id": name, "messages": [{"role": "user", "content": f"Why? {EVIL}"}],
        "completion": render(trace), "answer": None, "answer_ok": None, "source": "t", "meta": {},
        "schema": 1,
    }  # fmt: skip
    return {**row, **keys}


def evil_rows() -> list[dict[str, Any]]:
    branches = (make_trace(f"{EVIL} and more"), NESTED_B, make_trace("C: is short"))
    evil = make_trace(f"Go {EVIL} ", Fork((EVIL, "B", "C"), branches), f" end {EVIL}")
    scores = [0.25, -0.5, -1e308, 1e308, 10**400, True, "x"]
    return [
        record(EVIL, evil, meta={"task": EVIL, "independence": scores}, answer_ok=True),
        record("nested", NESTED, meta={"independence": "none"}, answer_ok=False),
        record(
            "plain", make_trace(EVIL), meta={"task": "t", "linear": EVIL, "independence": [0.7]}
        ),
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report about traces that try to break out of it, with all sections."""
    folder = tmp_path_factory.mktemp("report")
    write(
        folder / "a.rejected.jsonl", [{"origin": "x:1", "reason": EVIL, "detail": "", "text": ""}]
    )
    write_html(write(folder / "a.jsonl", evil_rows()), folder / "a.html")
    return folder / "a.html"


class Outline(HTMLParser):
    """Tags, identifiers, addresses and text of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for key, value in attrs:
            assert not key.startswith("on"), f"<{tag} {key}>"
            if tag == "section" and key == "id":
                self.ids.append(value or "")
            if key in ("src", "href", "srcset", "action", "data", "xlink:href"):
                self.addresses.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_has_all_sections_and_needs_nothing(page: Path) -> None:
    outline = Outline(page)
    assert outline.ids == SECTIONS
    assert not {"script", "img", "iframe", "object", "embed", "canvas"} & set(outline.tags)
    assert outline.addresses == ["data:,"]
    assert "url(" not in page.read_text(encoding="utf-8") and "@import" not in outline.text
    assert outline.text.count(EVIL) >= 10, "untrusted text is shown as it is"
    assert "1337" not in outline.text, "a trace is no template"


def test_figures_are_those_of_stats(page: Path) -> None:
    figures = collect_stats(page.with_suffix(".jsonl"))["all"]
    text = page.read_text(encoding="utf-8")
    tiles = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text))
    assert (tiles["records"], tiles["forked"]) == ("3", "66.7 %")
    assert int(tiles["blocks"]) == figures["blocks"] == 5
    assert f"{figures['ideal_ratio']:.2f}×" in text
    assert "blocks, 3 in all" in text, "three of the scores can be scores"


def test_page_says_what_is_not_there(tmp_path: Path) -> None:
    plain = write(tmp_path / "p.jsonl", [record("plain", make_trace("Just words."))])
    write_html(plain, tmp_path / "p.html")
    outline = Outline(tmp_path / "p.html")
    assert outline.ids == ["answers", "linear", "rejected"]
    assert "there is no p.rejected.jsonl" in outline.text and "not recorded" in outline.text
    write_html(write(tmp_path / "none.jsonl", []), tmp_path / "none.html")
    assert Outline(tmp_path / "none.html").ids == ["answers", "rejected"]
    with pytest.raises(DataError, match=r"broken\.jsonl:1: "):
        (tmp_path / "broken.jsonl").write_text("{\n")
        write_html(tmp_path / "broken.jsonl", tmp_path / "broken.html")
    assert not (tmp_path / "broken.html").exists()
    with pytest.raises(DataError, match="is the source itself"):
        write_html(plain, plain)


def many_rows(n: int) -> list[dict[str, Any]]:
    draw = random.Random(1)
    rows = []
    for i in range(n):
        topics = [f"item {k}" for k in range(draw.randint(2, 9))]
        branches = [make_trace(t + ": word" * draw.randint(1, 60)) for t in topics]
        rows.append(record(str(i), make_trace("Go ", Fork(tuple(topics), tuple(branches)), " so")))
    return rows


def test_each_fork_says_why_it_was_made(tmp_path: Path) -> None:
    n = sum(1 for _ in NESTED_B.all_forks())
    forks = [
        {"found_by": "bold", "independence": 0.0312},
        {"found_by": EVIL},
        {"found_by": "worked"},
    ]
    rows = [
        record("said", NESTED_B, meta={"forks": forks[:n]}),
        record("of another trace", NESTED_B, meta={"forks": [{"found_by": "counted"}] * (n + 1)}),
        record("no list", NESTED_B, meta={"forks": "bold"}),
    ]
    write_html(write(tmp_path / "a.jsonl", rows), tmp_path / "a.html")
    text = Outline(tmp_path / "a.html").text
    assert n >= 2 and text.count("found by ") == n
    assert "found by bold titles · checked for pointer, reference, " in text
    assert ", sequence, chain: none · judge: 0.031 nats a token" in text
    assert f"found by {EVIL}" in text


def test_same_file_same_page_and_few_examples(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", many_rows(50))
    write_html(source, tmp_path / "1.html")
    write_html(source, tmp_path / "2.html")
    assert (tmp_path / "1.html").read_bytes() == (tmp_path / "2.html").read_bytes()
    assert Outline(tmp_path / "1.html").tags.count("article") == EXAMPLES


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    rows, peaks = many_rows(30), []
    for times in (1, 1, 20):  # the first one imports
        source = write(tmp_path / "a.jsonl", rows * times)
        tracemalloc.start()
        write_html(source, tmp_path / "a.html")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1], f"bytes at most: {peaks}"


def browse(page: Path, profile: Path, scheme: str, width: int) -> tuple[dict[str, Any], str]:
    """What the probe saw in `page`, and what the browser's console said."""
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={profile}", "--enable-logging=stderr", f"--window-size={width},900",
            f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
            "--virtual-time-budget=2000", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (body,) = re.findall(r"<body[^>]*data-probe=\"([^\"]*)\"", done.stdout)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(body.replace("&quot;", '"')), "\n".join(console)


@pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed")
@pytest.mark.parametrize(("scheme", "width"), [("light", 1240), ("dark", 700)])
def test_browser_renders_it(page: Path, tmp_path: Path, scheme: str, width: int) -> None:
    text = page.read_text(encoding="utf-8")
    policy = re.search(r"<meta http-equiv=.*>", text)
    assert policy and "default-src 'none'" in policy[0]
    # without its policy, so that the escaping is put to the test, and with the probe
    probed = tmp_path / "probed.html"
    probed.write_text(text.replace(policy[0], "").replace("</body>", PROBE + "</body>"))
    seen, console = browse(probed, tmp_path / "profile", scheme, width)
    assert console == ""
    assert seen["requests"] == [] and seen["title"] == "a.jsonl · pdata stats"
    assert [box["id"] for box in seen["boxes"]] == SECTIONS
    assert all(box["height"] > 20 for box in seen["boxes"])
    charts = {box["id"]: box["charts"] for box in seen["boxes"] if box["charts"]}
    assert list(charts) == ["widths", "lengths", "ratios", "independence", "mask"]
    assert all(w > 200 and h > 100 for boxes in charts.values() for w, h in boxes)
    bars = [bar for box in seen["boxes"] for bar in box["bars"]]
    assert len(bars) >= 6 and all(w > 1 and h > 1 for w, h in bars)
    assert seen["background"] == ("rgb(20, 23, 27)" if scheme == "dark" else "rgb(255, 255, 255)")
    assert seen["overflow"] <= 0, "the page scrolls sideways"
    # as it is, with its policy
    asis = tmp_path / "asis.html"
    asis.write_text(text.replace("<body>", '<body data-probe="{}">'))
    assert browse(asis, tmp_path / "profile", scheme, width) == ({}, "")
