"""Fetches adapters, look-ahead files and small files from the Hugging Face Hub, and says in one
line why the Hub refuses.

Shared by training and decoding. huggingface_hub is imported when it is needed; where it looks, and
with which token, is its own business (HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE).
"""

from collections.abc import Iterator
from pathlib import Path

from pbranch.errors import AdapterError, HubError, ModelError, did_you_mean
from pbranch.format.branch_config import FILE_NAME, BranchConfig, load_branch_config
from pbranch.hf.lookahead.files import CONFIG, WEIGHTS

LOG_IN = "log in by `hf auth login`, or set HF_TOKEN"
# of an adapter's repository, what decoding and merging read: no other weights, no folders
READ = ["*.json", "*.jinja", "*.txt", "*.model", "*.yaml", "adapter_model.safetensors", WEIGHTS]


def fetch_adapter(name: str) -> Path:
    """The folder of adapter `name`, downloaded first where it is a Hub id; AdapterError says why
    it cannot be had."""
    return _fetch(name, "adapter", READ)


def fetch_lookahead(name: str) -> Path:
    """The folder of look-ahead files called `name`, as `fetch_adapter` finds an adapter's."""
    return _fetch(name, "lookahead", [CONFIG, WEIGHTS])


def _fetch(name: str, what: str, files: list[str]) -> Path:
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    if reason := refuse_hub_id(name):
        raise AdapterError(f"{what} {name}: {reason}; expected a folder or a Hub id")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=files, ignore_patterns=["*/*"]))
    except Exception as e:  # of the hub, of its client, of the connection
        raise AdapterError(f"{what} {name}: no such folder, nor on the Hub: {explain(e)}") from e


def find_file(repo_id: str, name: str) -> Path | None:
    """File `name` of model `repo_id`, downloaded; None where the model has none, or where the Hub
    cannot be asked and the cache holds none. Raises HubError where the model cannot be read."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(repo_id, name))
    except EntryNotFoundError:
        return None
    except Exception as e:
        raise HubError(f"{repo_id}: no such folder, nor on the Hub: {explain(e)}") from e


def find_branch_config(model: str) -> BranchConfig | None:
    """What a merged or fully tuned model (a folder or a Hub id) was trained for; None where it is a
    plain base. Raises AdapterError on a file that does not fit, ModelError where none can be read.
    """
    if Path(model).is_dir():
        path = Path(model) / FILE_NAME
        return load_branch_config(path.parent) if path.is_file() else None
    try:
        found = find_file(model, FILE_NAME)
    except HubError as e:
        raise ModelError(f"model {e}") from e
    return load_branch_config(found.parent) if found else None


def refuse_hub_id(name: str) -> str | None:
    """Why a name that is no folder is no id of the Hub either; None where it may be one. Told
    without asking the Hub, which takes long where it cannot be reached."""
    if not name.strip():
        return "an empty name"
    if Path(name).expanduser().is_file():
        return f"a file; its folder is {Path(name).parent}"
    if "://" in name:
        parts = name.partition("://")[2].split("/")[1:3]
        return "a web address" + (f"; its Hub id is {'/'.join(parts)}" if len(parts) == 2 else "")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        return "no such folder"
    parent = Path(name).parent
    if "/" in name and parent.is_dir():  # a path from here, mistyped
        known = [str(path) for path in parent.iterdir() if path.is_dir()]
        return "no such folder" + did_you_mean(name, known)
    return None


def explain(error: BaseException) -> str:
    """Why a call of huggingface_hub failed, and what to do about it, in one line."""
    return explain_hub(error) or _shorten(error)


def explain_hub(error: BaseException) -> str | None:
    """The same; None where the error does not come from the Hub."""
    import httpx2
    from huggingface_hub import constants, errors, get_token

    for e in _causes(error):
        if isinstance(e, errors.HFValidationError):
            return "not a name of the Hub; expected owner/name"
        if isinstance(e, errors.OfflineModeIsEnabled):
            return "not in the cache, and HF_HUB_OFFLINE is set"
        if isinstance(e, errors.GatedRepoError):
            return "access has to be asked for on its page"
        status = e.response.status_code if isinstance(e, errors.HfHubHTTPError) else None
        if isinstance(e, errors.RepositoryNotFoundError):
            known = get_token() is not None and status != 401
            return "no such repository, or a private one: " + (
                "the token may not read it" if known else LOG_IN
            )
        if status == 401:
            return f"the token is not valid; {LOG_IN}"
        if status == 403:
            return f"the token may not do this ({_shorten(e)}); use one with write access"
        if isinstance(e, errors.HfHubHTTPError):
            return _shorten(e)
        if isinstance(e, httpx2.ConnectError | httpx2.ConnectTimeout):
            return f"cannot reach the Hub ({_shorten(e)})"
        if isinstance(e, httpx2.TransportError):
            return f"the connection broke ({_shorten(e)})"
    if any(isinstance(e, errors.LocalEntryNotFoundError) for e in _causes(error)):
        offline = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "cannot reach the Hub"
        return f"not in the cache, and {offline}"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def _shorten(error: BaseException) -> str:
    from huggingface_hub import get_token

    said = getattr(error, "server_message", None) or str(error)
    if token := get_token():  # a server may echo what it was sent
        said = said.replace(token, "***")
    return " ".join(said.split())[:200] or type(error).__name__
