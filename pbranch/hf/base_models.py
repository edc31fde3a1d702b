"""Where a base model's name leads: a folder, a Hub id, a GGUF file, or one of the names in NAMED.

Shared by training and decoding, so that what one accepts the other does. What a run leaves records
the name as it was given, which can be resolved again, and never a folder of the user's cache.
"""

from pathlib import Path

from pbranch.errors import ModelError
from pbranch.hf.gguf import smollm2
from pbranch.hf.gguf.cache import open_gguf
from pbranch.hf.gguf.gguf_file import SUFFIX, is_gguf
from pbranch.hf.hub import refuse_hub_id

SHIPPED = "tiny"  # the name of the shipped base
# names of models -> the model on the Hub that the weights were made of
NAMED = {SHIPPED: None, smollm2.NAME: smollm2.HUB_ID}


def find_shipped(part: str, model: str = SHIPPED) -> Path | None:
    """Folder of the `base` or the `adapter` that is shipped for a named model: in a checkout below
    data/MODEL, in an installed wheel below pbranch/MODEL; None where there is none."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here.parent / "data" / model / part, here / model / part):
        if any((folder / file).is_file() for file in ("config.json", "adapter_config.json")):
            return folder
    return None


def shipped(part: str, model: str = SHIPPED) -> Path:
    """As `find_shipped`; ModelError where there is none."""
    found = find_shipped(part, model)
    if found is None:
        raise ModelError(f"the shipped {part} is missing from this installation; name a model")
    return found


def default_adapter(model: str | None) -> Path | None:
    """The shipped adapter that a model is decoded with unless another is asked for. `tiny` by name
    is the plain base: it has its adapter only where no model is named at all."""
    return find_shipped("adapter", model) if model in NAMED and model != SHIPPED else None


def locate(name: str) -> str:
    """The folder or Hub id that `name` stands for. Raises ModelError on a missing folder or file,
    on a folder that is no model, and on a GGUF file that cannot be read."""
    if name == SHIPPED:
        return str(shipped("base"))
    if name == smollm2.NAME:
        return smollm2.open_weights()
    if name.startswith("~"):
        name = str(Path(name).expanduser())
    if is_gguf(name):
        return open_gguf(name)
    if name and Path(name).is_dir():
        _check_folder(Path(name))
    elif reason := refuse_hub_id(name):
        raise ModelError(
            f"model {name}: {reason}; expected a folder, a Hub id, a GGUF file, "
            f"{' or '.join(NAMED)}"
        )
    return name


def _check_folder(folder: Path) -> None:
    """ModelError unless a model lies in it; says what to name in its place, if that is there."""
    if (folder / "config.json").is_file():
        return
    if (folder / "adapter_config.json").is_file():
        raise ModelError(f"model {folder}: an adapter; expected its base, and this as `adapter`")
    inside = [*folder.glob(f"*{SUFFIX}"), *(p.parent for p in folder.glob("*/config.json"))]
    inside += [p.parent for p in folder.glob("snapshots/*/config.json")]  # as in the Hub's cache
    hint = f", as is {min(inside)}" if inside else ""
    raise ModelError(f"model {folder}: no config.json in this folder; expected a model{hint}")
