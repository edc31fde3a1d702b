"""Publishing: card and data in one commit to a real HTTP server on loopback, nothing replaced."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt
from pdata.publish import make_card, push, size_category
from pdata.synthetic.generator import synthesise

from pbranch.errors import DataError
from pbranch.format.markers import MARKERS

REPO = "me/traces"
PUSH = "import sys, json; from pdata.publish import push; push(**json.loads(sys.argv[1]))"
# errors are to be shown as the command line shows them
MAIN = f"from pbranch import console\ndef main():\n    {PUSH}\nconsole.run(main)"


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as a commit of small files to a data set needs."""

    repos: dict[str, dict[str, bytes]]
    requests: list[tuple[str, str]]
    private: dict[str, Any]
    url: str
    failing = False

    def answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.requests.append((path, self.headers.get("Authorization", "")))
        files = self.repos.get(REPO)
        if files is None:
            return self.answer(404, {"error": "Repository not found"})
        if "/tree/" in path:
            entries = [
                {"type": "file", "path": p, "size": len(d), "oid": "0"} for p, d in files.items()
            ]
            return self.answer(200, entries)
        siblings = [{"rfilename": p} for p in files]
        return self.answer(200, {"id": REPO, "sha": "0" * 40, "siblings": siblings})

    def do_POST(self) -> None:
        self.requests.append((self.path, self.headers.get("Authorization", "")))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.failing:
            return self.answer(403, {"error": "no right to write here"})
        if self.path == "/api/repos/create":
            self.private.update(json.loads(body))
            self.repos.setdefault(REPO, {})
            return self.answer(200, {"url": f"{self.url}/datasets/{REPO}", "name": REPO})
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            files = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files
            ]
            return self.answer(200, {"files": modes})
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                value = entry["value"]
                self.repos[REPO][value["path"]] = base64.b64decode(value["content"])
        self.answer(
            200, {"commitUrl": f"{self.url}/datasets/{REPO}/commit/0", "commitOid": "0" * 40}
        )

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Any]:
    handler: Any = type("OneHub", (Hub,), {"repos": {}, "requests": [], "private": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{server.server_port}"
    yield handler
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records, built."""
    from pdata.build.pipeline import build

    folder = tmp_path_factory.mktemp("traces")
    synthesise("records", 30, 1, folder / "linear.jsonl")
    build(str(folder / "linear.jsonl"), folder / "traces.jsonl")
    return folder / "traces.jsonl"


def send(hub: Any, **arguments: Any) -> subprocess.CompletedProcess[str]:
    """`push` in a process that is online, with this server as the hub."""
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "NO_PROXY": "*",
                   "HF_HUB_DISABLE_XET": "1"}  # fmt: skip
    command = [sys.executable, "-c", MAIN, json.dumps(arguments, default=str)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_a_push_is_one_commit_of_card_and_data(hub: Any, traces: Path) -> None:
    done = send(hub, path=traces, repo_id=REPO, private=True, token="hf_x", license="mit")
    assert done.returncode == 0, done.stderr
    sent = hub.repos[REPO]
    assert set(sent) == {"README.md", "traces.jsonl"} and hub.private["name"] == "traces"
    assert hub.private.get("private") is True or hub.private.get("visibility") == "private"
    assert sent["traces.jsonl"] == traces.read_bytes()
    assert sent["README.md"].decode() == make_card(traces, "traces", "mit")
    assert sum("/commit/" in path for path, _ in hub.requests) == 1
    # the client reads a list of agents once a day, on nobody's behalf
    about_us = [token for path, token in hub.requests if path != "/api/agent-harnesses"]
    assert set(about_us) == {"Bearer hf_x"}


def test_nothing_is_replaced_unless_forced(hub: Any, traces: Path) -> None:
    hub.repos[REPO] = {".gitattributes": b"", "README.md": b"mine"}
    done = send(hub, path=traces, repo_id=REPO, token="hf_x")
    assert done.returncode == 1 and "has README.md already; nothing was sent" in done.stderr
    assert hub.repos[REPO] == {".gitattributes": b"", "README.md": b"mine"}
    done = send(hub, path=traces, repo_id=REPO, token="hf_x", force=True)
    assert done.returncode == 0, done.stderr
    assert hub.repos[REPO]["README.md"] != b"mine" and "traces.jsonl" in hub.repos[REPO]


def test_a_refusal_is_one_line(hub: Any, traces: Path) -> None:
    hub.failing = True
    done = send(hub, path=traces, repo_id=REPO, token="hf_x")
    assert done.returncode == 1 and "Traceback" not in done.stderr and hub.repos == {}
    (line,) = [s for s in done.stderr.splitlines() if s.startswith("error:")]
    assert line.startswith(f"error: {REPO}: cannot publish (") and "no right to write" in line


def test_dry_run_asks_nobody(traces: Path, tmp_path: Path) -> None:
    files = push(traces, REPO, dry_run=True)
    assert list(files) == ["README.md", "traces.jsonl"] and files["traces.jsonl"] == traces
    with pytest.raises(DataError, match="me/traces: cannot publish"):
        push(traces, REPO, token="hf_x")  # tests are offline
    (tmp_path / "bad.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"bad.jsonl:1: missing key 'id'.*nothing was sent"):
        push(tmp_path / "bad.jsonl", REPO, dry_run=True)


def test_the_card_says_what_is_in_the_file(traces: Path, tmp_path: Path) -> None:
    """Its head is what the hub reads: loading the folder gives all records."""
    from datasets import load_dataset

    card = make_card(traces, "traces", "mit")
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["license"] == "mit" and head["size_categories"] == ["n<1K"]
    assert "| records | 30 |" in card and all(m in card for m in MARKERS.values())
    assert "license" not in yaml.safe_load(make_card(traces, "traces").split("---\n")[1])
    (tmp_path / "README.md").write_text(card)
    (tmp_path / traces.name).write_bytes(traces.read_bytes())
    (tmp_path / "traces.rejected.jsonl").write_text('{"origin": "a:1"}\n')
    stream = load_dataset(str(tmp_path), split="train", streaming=True)
    assert sum(1 for _ in stream) == 30


HOSTILE = "x\n\n# Injected\n\n---\n<b>hi</b> ![x](http://example.org/p.png) ```\x1b[31m"
NAMES = [
    "a: b", "a #b", '"a', "a\nlicense: mit\nx", "a\n---\n# Injected\n<b>x", "*a", "!!python",
    "{a}", "- a", "😀",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_file_is_one_in_the_card(name: str, traces: Path, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.jsonl"
    file.write_bytes(traces.read_bytes())
    front, _, body = make_card(file, "t").removeprefix("---\n").partition("\n---\n")
    head = yaml.safe_load(front)
    assert head["configs"][0]["data_files"] == [{"split": "train", "path": file.name}]
    assert set(head) == {"task_categories", "size_categories", "tags", "configs"}
    assert body.startswith("# t\n")


def test_tasks_and_licences_are_no_markup(traces: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in traces.read_text().splitlines()]
    for row in rows:
        row["meta"]["task"] = HOSTILE
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    front, _, body = make_card(file, HOSTILE, HOSTILE).removeprefix("---\n").partition("\n---\n")
    assert yaml.safe_load(front)["license"].startswith("x # Injected")
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(body)
    assert [t.type for t in tokens].count("heading_open") == 3 and "\x1b" not in body
    inside = [child.type for t in tokens for child in t.children or ()]
    assert not {"image", "link_open", "html_inline"} & set(inside)
    assert not [t for t in tokens if t.type == "html_block"]


@pytest.mark.parametrize(
    ("records", "name"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (250_000, "100K<n<1M"), (10**8, "n>10M")],
)
def test_size_categories(records: int, name: str) -> None:
    assert size_category(records) == name
