"""Sends an adapter or a model to the Hugging Face Hub, with its card, in one commit.

Only the files that artifact.py names are sent, and nothing in the repository is replaced unless
that is asked for. A broken upload leaves no commit: the same command goes on, and what the Hub's
storage already holds is not sent again.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pbranch.console import say
from pbranch.errors import AdapterError, HubError
from pbranch.files.json_file import read_json_object
from pbranch.files.yaml_page import dump_yaml, read_yaml
from pbranch.format.branch_config import FILE_NAME as BRANCH_CONFIG
from pbranch.hf.base_models import NAMED
from pbranch.hf.gguf.gguf_file import is_gguf, repository_of
from pbranch.hf.hub import LOG_IN, explain
from ptrain.artifacts.artifact import (
    ADAPTER,
    CARD,
    LOOKAHEAD,
    RECIPE,
    Artifact,
    matches,
    read_artifact,
)
from ptrain.artifacts.model_card import make_card

Content = bytes | Path
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Publication:
    """What the repository holds, or (`url` none, a dry run) would hold; sizes in bytes."""

    repo_id: str
    files: dict[str, int]
    card: str
    url: str | None = None
    sent: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def front_matter(self) -> str:
        """The head of the card, as YAML."""
        return self.card.removeprefix("---\n").partition("\n---\n")[0] + "\n"

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "repo_id": self.repo_id, "url": self.url, "dry_run": self.url is None,
            "files": self.files, "sent": list(self.sent), "removed": list(self.removed),
            "front_matter": self.front_matter,
        }  # fmt: skip

    def __str__(self) -> str:
        """The URL; of a dry run, what would be sent."""
        if self.url is not None:
            return self.url
        lines = [f"{size:>15,}  {name}" for name, size in self.files.items()]
        total = f"{sum(self.files.values()):>15,}  bytes for {self.repo_id}; nothing was sent"
        return "\n".join([*lines, total, "", f"{CARD} begins:", "---", self.front_matter + "---"])


def publish(
    folder: Path,
    repo_id: str,
    *,
    base: str | None = None,
    license: str | None = None,
    private: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> Publication:
    """Send an adapter or a model, with its card, to a model repository of the Hub.

    Args:
        folder: what training or merging has left.
        repo_id: `owner/name`; the repository is created where there is none.
        base: the base on the Hub, where the adapter names a folder or a file: an id, or
            `REPO_ID:FILE.gguf`.
        license: for the card, an id of the Hub such as `apache-2.0`.
        private: create the repository private.
        force: replace what differs there.
        dry_run: send nothing and ask nobody.

    Returns:
        What the repository holds, with sizes in bytes, or after a dry run would hold.

    Raises:
        AdapterError: The folder cannot be sent.
        HubError: Something would be replaced, or the Hub refuses or cannot be reached.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    of_base = repository_of(base) if base and is_gguf(base) else base
    for name in filter(None, (repo_id, of_base)):
        try:
            validate_repo_id(name)
        except HFValidationError as e:
            raise HubError(f"{name}: {explain(e)}") from e
    if "/" not in repo_id:  # the card is to name it in full
        raise HubError(f"{repo_id}: not a name in full; expected owner/name")
    artifact = read_artifact(folder)
    files = collect(artifact, repo_id, base, license)
    card = files[CARD]
    assert isinstance(card, bytes)
    sizes = {name: _size(content) for name, content in files.items()}
    plan = Publication(repo_id, sizes, card.decode())
    return plan if dry_run else _send(plan, files, private, force)


def collect(
    artifact: Artifact, repo_id: str, base: str | None = None, license: str | None = None
) -> dict[str, Content]:
    """What is sent, by its path in the repository; the base renamed to `base` where that is given.

    Raises AdapterError where the adapter's base is a folder or file that no other machine has.
    """
    if (artifact.folder / LOOKAHEAD[0]).is_file() and not artifact.looks_ahead:
        raise AdapterError(
            f"{artifact.folder / LOOKAHEAD[0]}: of another adapter; expected that of the folder"
        )
    files: dict[str, Content] = {path.name: path for path in artifact.list_files()}
    named = artifact.config.base_model
    if base is not None:
        config = replace(artifact.config, base_model=base)
        recipe = {**read_yaml(artifact.page), "model": base}
        page = dump_yaml(recipe)
        artifact = replace(artifact, config=config, page=page)
        files[RECIPE] = page.encode()
        stored = {BRANCH_CONFIG: "base_model"}
        if artifact.is_adapter:
            stored[ADAPTER[0]] = "base_model_name_or_path"
        if artifact.looks_ahead:
            stored[LOOKAHEAD[0]] = "base_model"
        for name, key in stored.items():
            content = read_json_object(artifact.folder / name, AdapterError)
            files[name] = (json.dumps({**content, key: base}, indent=2) + "\n").encode()
    elif artifact.is_adapter and artifact.hub_base is None and named not in NAMED:
        kind, wanted = ("file", "OWNER/NAME:FILE") if is_gguf(named) else ("folder", "OWNER/NAME")
        raise AdapterError(
            f"{artifact.folder}: its base is the {kind} {named}, which other machines do not have; "
            f"name the base on the Hub by --base {wanted}"
        )
    files[CARD] = make_card(artifact, repo_id, license).encode()
    return dict(sorted(files.items()))


def _send(plan: Publication, files: dict[str, Content], private: bool, force: bool) -> Publication:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
    from huggingface_hub.utils import disable_progress_bars

    if get_token() is None:
        raise HubError(f"{plan.repo_id}: publishing needs a token; {LOG_IN}")
    if not sys.stderr.isatty():
        disable_progress_bars()
    api = HfApi()
    with _hub_errors(plan.repo_id):
        repo_id, commit = _open_repository(api, plan.repo_id, private)
        there = _list_remote(api, repo_id, commit)
    same = {name for name in set(files) & set(there) if there[name] in _hashes(files[name])}
    sent = [name for name in files if name not in same]
    removed = sorted(name for name in there if matches(name) and name not in files)
    clashes = sorted(set(sent) & set(there)) + removed
    if clashes and not force:
        raise HubError(
            f"{repo_id}: has {', '.join(clashes)} already; nothing was sent (--force replaces)"
        )
    plan = replace(plan, repo_id=repo_id, url=f"{api.endpoint}/{repo_id}", sent=tuple(sent))
    if not clashes and not sent:
        say(f"nothing has changed: {repo_id} has these {len(files)} files")
        return plan
    say(f"sending {len(sent)} files, {sum(plan.files[n] for n in sent):,} bytes, to {repo_id}")
    with _hub_errors(repo_id, "; nothing was published, the same command goes on"):
        adding = [CommitOperationAdd(name, files[name]) for name in sent]
        api.create_commit(
            repo_id,
            [*adding, *(CommitOperationDelete(name) for name in removed)],
            commit_message="Publish with parallel-branches",
            parent_commit=commit,  # what came in since then is not replaced unseen
        )
    return replace(plan, removed=tuple(removed))


@contextmanager
def _hub_errors(repo_id: str, after: str = "") -> Iterator[None]:
    """Errors of the hub, of its client and of the connection as one HubError, ended by `after`."""
    try:
        yield
    except HubError:
        raise
    except Exception as e:
        file = str(e).rstrip(".") + ": " if isinstance(e, RuntimeError) and e.__cause__ else ""
        raise HubError(f"{repo_id}: cannot publish: {file}{explain(e)}{after}") from e


def _open_repository(api: Any, repo_id: str, private: bool) -> tuple[str, str]:
    """Full id of the repository, made where there is none, and its last commit."""
    repo_id = api.create_repo(repo_id, private=private or None, exist_ok=True).repo_id
    info = api.model_info(repo_id)
    if private and not info.private:
        raise HubError(
            f"{repo_id}: exists and is public; nothing was sent (make it private in its settings, "
            "or leave out --private)"
        )
    return repo_id, info.sha


def _list_remote(api: Any, repo_id: str, commit: str) -> dict[str, str]:
    """Hash by path of the files that are there; a README that only has front matter, as the Hub
    itself makes them, is none."""
    from huggingface_hub.hf_api import RepoFile

    tree = api.list_repo_tree(repo_id, recursive=True, revision=commit)
    found = {
        entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id
        for entry in tree
        if isinstance(entry, RepoFile)
    }
    if CARD in found:
        card = Path(api.hf_hub_download(repo_id, CARD, revision=commit))
        if not FRONT_MATTER.sub("", card.read_text(encoding="utf-8", errors="replace")).strip():
            del found[CARD]
    return found


def _hashes(content: Content) -> tuple[str, str]:
    """As git names a blob, and as LFS names an object."""
    blob = hashlib.sha1(f"blob {_size(content)}\0".encode())
    whole = hashlib.sha256()
    if isinstance(content, bytes):
        blob.update(content)
        whole.update(content)
    else:
        with content.open("rb") as file:
            while chunk := file.read(1 << 20):
                blob.update(chunk)
                whole.update(chunk)
    return blob.hexdigest(), whole.hexdigest()


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size
