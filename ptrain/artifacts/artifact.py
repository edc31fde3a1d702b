"""A folder that training or merging has left: what it holds, and which of its files matter.

Reads names and small files, never weights. What is not named here is never sent or replaced:
checkpoints, optimizer states, logs.
"""

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from pbranch.errors import AdapterError
from pbranch.files.json_file import read_json_object
from pbranch.files.markdown import is_repository
from pbranch.files.recipe import load_recipe
from pbranch.format.branch_config import BranchConfig, load_branch_config
from pbranch.hf.base_models import NAMED
from pbranch.hf.gguf.gguf_file import is_gguf, repository_of
from pbranch.hf.lookahead.files import CONFIG, WEIGHTS, adapter_digest, read_config
from ptrain.config import Recipe

CARD, RECIPE, REPORT = "README.md", "recipe.yaml", "train_report.json"
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
INDEX = "model.safetensors.index.json"
MODEL = (
    "config.json", "generation_config.json", "model.safetensors", INDEX, "model-*-of-*.safetensors",
)  # fmt: skip
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja",
)  # fmt: skip
LOOKAHEAD = (CONFIG, WEIGHTS)  # copied beside what they were trained for
FILES = (*ADAPTER, *MODEL, *TOKENIZER, *LOOKAHEAD, "branch_config.json", RECIPE, REPORT, CARD)


@dataclass(frozen=True, slots=True)
class Artifact:
    """An adapter, or (`is_adapter` false) a whole model: merged, or tuned in full.

    page: the text of `recipe.yaml`; report: `train_report.json`, empty where there is none.
    """

    folder: Path
    is_adapter: bool
    config: BranchConfig
    recipe: Recipe
    page: str
    report: dict[str, Any]

    @property
    def hub_base(self) -> str | None:
        """Hub id of the base, or of the repository with its GGUF file; None where the base comes
        with this project, or is a folder or file of this machine."""
        name = self.config.base_model
        if is_gguf(name):
            found = repository_of(name)
            return found if found and is_repository(found) else None
        is_folder = Path(name).is_dir() or name.startswith((".", "/", "~")) or name.count("/") > 1
        return None if name in NAMED or is_folder or not is_repository(name) else name

    @property
    def base_is_ours(self) -> bool:
        """Whether only this project finds the base by its name, where other libraries do not."""
        return self.config.base_model in NAMED or is_gguf(self.config.base_model)

    @property
    def looks_ahead(self) -> bool:
        """Whether look-ahead files of its own lie beside it."""
        if not (self.folder / CONFIG).is_file():
            return False
        own = adapter_digest(self.folder if self.is_adapter else None)
        return read_config(self.folder).adapter == own

    def list_files(self) -> list[Path]:
        """The files that matter, by name, without the card. AdapterError where one is a link."""
        kind = ADAPTER if self.is_adapter else MODEL
        skipped = {*ADAPTER, *MODEL, CARD} - set(kind)
        if not self.looks_ahead:
            skipped |= set(LOOKAHEAD)
        wanted = [name for name in FILES if name not in skipped]
        found = (p for p in self.folder.iterdir() if p.is_file() and matches(p.name, wanted))
        return sorted(map(refuse_link, found))


def read_artifact(folder: Path) -> Artifact:
    """Look into `folder`. Raises AdapterError naming the file that a whole one would have."""
    if not folder.is_dir():
        raise AdapterError(f"{folder}: no such folder; expected one that ptrain has written")
    config = load_branch_config(folder)
    is_adapter = (folder / ADAPTER[0]).is_file()
    index = folder / INDEX
    if is_adapter:
        needed = list(ADAPTER)
    elif index.is_file():
        files = read_json_object(refuse_link(index), AdapterError).get("weight_map")
        if not isinstance(files, dict) or not all(isinstance(f, str) for f in files.values()):
            raise AdapterError(f"{index}: weight_map is wrong, expected names of files")
        needed = [MODEL[0], *sorted(set(files.values()))]
    else:
        needed = [MODEL[0], "model.safetensors"]
    for name in (*needed, "tokenizer_config.json", RECIPE):
        if not (folder / name).is_file():
            raise AdapterError(f"{folder}: no {name}; expected a folder that ptrain has finished")
    for name in (RECIPE, REPORT):
        refuse_link(folder / name)
    there = (folder / REPORT).is_file()
    report = read_json_object(folder / REPORT, AdapterError) if there else {}
    recipe = load_recipe(Recipe, folder / RECIPE)
    page = (folder / RECIPE).read_text(encoding="utf-8-sig")
    return Artifact(folder, is_adapter, config, recipe, page, report)


def matches(name: str, patterns: tuple[str, ...] | list[str] = FILES) -> bool:
    """Whether `name` is one of the files that `patterns` name; a path in a folder is none."""
    return "/" not in name and any(fnmatch(name, pattern) for pattern in patterns)


def refuse_link(path: Path) -> Path:
    """`path`, unless it is a link that leads out of its folder: what it leads to would be sent, or
    copied. The links of the Hub's own cache lead to the same download. Raises AdapterError."""
    folder, target = path.parent.resolve(), path.resolve()
    cached = folder.parent.name == "snapshots" and target.parent == folder.parents[1] / "blobs"
    if target.parent != folder and not cached:
        raise AdapterError(f"{path}: a link out of its folder, to {target}; expected a file")
    return path
