"""A Hub-compatible server on loopback: model repositories, tokens, LFS storage, downloads.

It speaks what huggingface_hub asks for when it creates, lists, uploads, commits and downloads, with
the Hub's own status codes and headers, and breaks off where a test says so.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

ROLES = {"hf_write": "write", "hf_read": "read"}  # all of user `me`


@dataclass
class Repository:
    """Files by path, as of the last commit; `lfs`: paths that are stored as LFS objects."""

    private: bool = False
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b""})
    lfs: set[str] = field(default_factory=set)
    commits: int = 0

    @property
    def sha(self) -> str:
        return hashlib.sha1(f"{self.commits} {sorted(self.files)}".encode()).hexdigest()


class Hub(ThreadingHTTPServer):
    """cut: so many LFS uploads are broken off in the middle of the body; hang: the first one waits
    there, `reached` set, until `release` is; lose: so many commits get no answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}  # of LFS, by sha256
        self.requests: list[str] = []  # "METHOD path"
        self.lock = Lock()
        self.cut = self.lose = 0
        self.hang = False
        self.reached, self.release = Event(), Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that were killed are no news."""

    def add(self, repo_id: str, folder: Path, private: bool = False) -> Repository:
        """A repository that holds the files of `folder`."""
        repo = self.repos.setdefault(repo_id, Repository(private))
        repo.files |= {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
        repo.commits += 1
        return repo

    def count(self, start: str) -> int:
        """Requests that begin so, as `PUT /lfs`."""
        return sum(request.startswith(start) for request in self.requests)

    def environment(self, home: Path, token: str | None = "hf_write") -> dict[str, str]:
        """Of a process that is online, with this server as the Hub and `home` as its cache."""
        out = ("HF_HUB_OFFLINE", "HF_TOKEN", "HF_HUB_CACHE")
        kept = {k: v for k, v in os.environ.items() if k not in out}
        known = {"HF_TOKEN": token} if token else {}
        return {**kept, "HF_ENDPOINT": self.url, "HF_HOME": str(home), "NO_PROXY": "*",
                "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1", **known}  # fmt: skip

    def run(
        self, home: Path, *command: Any, token: str | None = "hf_write", **more: str
    ) -> subprocess.CompletedProcess[str]:
        """`python COMMAND` in such a process; `more`: environment variables."""
        return subprocess.run(
            [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=300,
            env={**self.environment(home, token), **more},
        )  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    @property
    def role(self) -> str | None:
        """What the token may do; None without one."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return ROLES.get(token, "invalid") if token else None

    def do_GET(self) -> None:
        self.route("GET")

    def do_HEAD(self) -> None:
        self.route("HEAD")

    def do_POST(self) -> None:
        self.route("POST")

    def do_PUT(self) -> None:
        self.route("PUT")

    def route(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{method} {path}")
        length = int(self.headers.get("Content-Length", 0))
        if method == "PUT":
            return self.store(path.rpartition("/")[2], length)
        body = self.rfile.read(length)
        if self.role == "invalid":
            return self.refuse(401, "Invalid credentials in Authorization header")
        match path.strip("/").split("/"):
            case ["api", "repos", "create"]:
                return self.create(json.loads(body))
            case ["api", "validate-yaml"]:
                return self.validate(json.loads(body)["content"])
            case ["api", "models", owner, name, *rest]:
                repo_id = f"{owner}/{name}"
            case [owner, name, *rest]:
                repo_id = f"{owner}/{name.removesuffix('.git')}"
            case _:
                return self.refuse(404, "Not Found")
        repo = self.server.repos.get(repo_id)
        if repo is None or (repo.private and self.role is None):
            return self.refuse(401 if self.role is None else 404, "Repository not found", "Repo")
        match rest:
            case [] | ["revision", _]:
                self.reply(200, {"id": repo_id, "sha": repo.sha, "private": repo.private,
                                 "siblings": [{"rfilename": p} for p in repo.files]})  # fmt: skip
            case ["tree", *_]:
                self.reply(200, [self.entry(repo, path) for path in repo.files])
            case ["resolve", _, *parts]:
                self.resolve(repo, "/".join(parts))
            case _ if self.role != "write":
                self.refuse(403, "you need the role write")
            case ["preupload", _]:
                files = [self.plan(file["path"]) for file in json.loads(body)["files"]]
                self.reply(200, {"files": files})
            case ["info", "lfs", "objects", "batch"]:
                objects = [self.action(o) for o in json.loads(body)["objects"]]
                self.reply(200, {"transfer": "basic", "objects": objects})
            case ["commit", _]:
                self.commit(repo, repo_id, [json.loads(line) for line in body.splitlines()])
            case _:
                self.refuse(404, "Not Found")

    def validate(self, card: str) -> None:
        license = yaml.safe_load(card.split("---\n")[1]).get("license", "other")
        if license in ("apache-2.0", "mit", "other"):
            return self.reply(200, {"errors": [], "warnings": []})
        message = '"license" must be one of [apache-2.0, mit, other]'
        self.reply(400, {"errors": [{"message": message}], "error": "Invalid metadata"})

    def create(self, wish: dict[str, Any]) -> None:
        if self.role != "write":
            return self.refuse(403 if self.role else 401, "you may not create repositories")
        repo_id = f"{wish.get('organization') or 'me'}/{wish['name']}"
        url = {"url": f"{self.server.url}/{repo_id}", "name": repo_id}
        if repo_id in self.server.repos:
            return self.reply(409, {**url, "error": "You already created this model repo"})
        self.server.repos[repo_id] = Repository(wish.get("visibility") == "private")
        self.reply(200, url)

    def entry(self, repo: Repository, path: str) -> dict[str, Any]:
        data = repo.files[path]
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        found = {"type": "file", "path": path, "size": len(data), "oid": blob}
        if path in repo.lfs:
            sha = hashlib.sha256(data).hexdigest()
            lfs = {"oid": sha, "size": len(data), "pointerSize": 130}
            found |= {"oid": hashlib.sha1(sha.encode()).hexdigest(), "lfs": lfs}
        return found

    def plan(self, path: str) -> dict[str, Any]:
        mode = "lfs" if path.endswith(".safetensors") else "regular"
        return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": None}

    def action(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if wanted["oid"] in self.server.objects:
            return wanted  # no action: it is here already
        href = f"{self.server.url}/lfs/{wanted['oid']}"
        return {**wanted, "actions": {"upload": {"href": href}}}

    def store(self, oid: str, length: int) -> None:
        server = self.server
        half = self.rfile.read(length // 2)
        with server.lock:
            broken, server.cut = server.cut > 0, max(0, server.cut - 1)
        if server.hang:
            server.hang = False
            server.reached.set()
            server.release.wait(60)
            broken = True
        if broken:
            self.close_connection = True
            return None
        data = half + self.rfile.read(length - len(half))
        if hashlib.sha256(data).hexdigest() != oid:
            return self.refuse(400, "not the object that was announced")
        server.objects[oid] = data
        self.reply(200, {})

    def commit(self, repo: Repository, repo_id: str, lines: list[dict[str, Any]]) -> None:
        if lines[0]["value"].get("parentCommit", repo.sha) != repo.sha:
            return self.refuse(412, "A commit has happened since")
        if self.server.lose:
            self.server.lose -= 1
            self.close_connection = True
            return
        for line in lines[1:]:
            value = line["value"]
            path = value["path"]
            repo.lfs.discard(path)
            match line["key"]:
                case "file":
                    repo.files[path] = base64.b64decode(value["content"])
                case "lfsFile":
                    repo.files[path] = self.server.objects[value["oid"]]
                    repo.lfs.add(path)
                case "deletedFile":
                    del repo.files[path]
        repo.commits += 1
        url = f"{self.server.url}/{repo_id}/commit/{repo.sha}"
        self.reply(200, {"commitUrl": url, "commitOid": repo.sha})

    def resolve(self, repo: Repository, path: str) -> None:
        if path not in repo.files:
            return self.refuse(404, "Entry not found", "Entry", {"X-Repo-Commit": repo.sha})
        data = repo.files[path]
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": repo.sha}
        self.reply(200, data, headers)

    def refuse(
        self, status: int, message: str, what: str = "", headers: dict[str, str] | None = None
    ) -> None:
        code = {"X-Error-Code": f"{what}NotFound"} if what else {}
        headers = {"X-Error-Message": message, **code, **(headers or {})}
        self.reply(status, {"error": message}, headers)

    def reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def serving() -> Iterator[Hub]:
    """A server that runs in threads of this process."""
    server = Hub()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
