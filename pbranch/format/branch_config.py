"""`branch_config.json`: what an adapter was trained for, stored next to its weights.

A reader refuses what it does not match: silent drift of markers or layout costs a training run.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from pbranch.errors import AdapterError
from pbranch.files.atomic import write_text
from pbranch.files.json_file import read_json_object
from pbranch.format.layout import Join, LayoutOptions, Outline, Positions
from pbranch.format.markers import FORMAT_VERSION, MARKERS, MarkerIds

FILE_NAME = "branch_config.json"
Form = Literal["parallel", "linear"]  # of one trace: with its blocks, or flattened to plain text


@dataclass(frozen=True, slots=True)
class SwitchOptions:
    """System texts that tell the model in which form to answer, so that one adapter can do both."""

    parallel: str | None = None
    linear: str | None = None

    def text(self, form: Form) -> str | None:
        """What opens the system text of a prompt that is to be answered in `form`."""
        return self.parallel if form == "parallel" else self.linear


@dataclass(frozen=True, slots=True)
class BranchConfig:
    """Markers, ids, format version, join, positions, outline and base of an adapter;
    `branch_tokens`: mean length of the branches that it learned from, without headers;
    `form`: of the traces that it learned from; `switch`: what their prompts began with;
    `template_args`: what else the chat template was given."""

    marker_ids: dict[str, int]
    base_model: str
    base_fingerprint: str
    join: Join = "keep"
    positions: Positions = "max"
    outline: Outline = "all"
    format_version: int = FORMAT_VERSION
    branch_tokens: float | None = None
    quantization: Literal["nf4", "fp4"] | None = None  # of the base in training
    markers: dict[str, str] | None = None
    form: Literal["parallel", "linear", "mixed"] = "parallel"
    switch: SwitchOptions = SwitchOptions()
    template_args: dict[str, Any] = field(default_factory=dict)

    @property
    def ids(self) -> MarkerIds:
        """Marker ids by role."""
        return MarkerIds(**self.marker_ids)

    @property
    def layout_options(self) -> LayoutOptions:
        """How rows were laid out in training."""
        return LayoutOptions(self.positions, self.outline, self.join)

    def save(self, folder: Path) -> None:
        """Write `branch_config.json` into `folder`."""
        stored = {**asdict(self), "markers": {r.value: t for r, t in MARKERS.items()}}
        write_text(folder / FILE_NAME, json.dumps(stored, indent=2) + "\n")


def load_branch_config(folder: Path) -> BranchConfig:
    """Read and check `branch_config.json`; AdapterError names the key that does not fit."""
    path = folder / FILE_NAME
    if not path.is_file():
        unfinished = any(folder.glob(f"checkpoint-*/{FILE_NAME}"))
        hint = ", as each checkpoint-N in it is" if unfinished else ""
        raise AdapterError(f"{folder}: no {FILE_NAME}; expected an adapter made by ptrain{hint}")
    stored = read_json_object(path, AdapterError, "a branch config")
    try:
        version = stored["format_version"]
        if version != FORMAT_VERSION:
            raise AdapterError(
                f"{path}: format_version {version!r:.40}, this release reads {FORMAT_VERSION}"
            )
        known = {f.name for f in fields(BranchConfig)}
        stored["switch"] = SwitchOptions(**(stored.get("switch") or {}))
        config = BranchConfig(**{k: v for k, v in stored.items() if k in known})
        config.ids  # noqa: B018  (raises on a missing role)
    except (KeyError, TypeError, AttributeError) as e:
        raise AdapterError(f"{path}: not a branch config ({str(e)[:200]})") from e
    _check_types(config, path)
    if config.markers != {r.value: t for r, t in MARKERS.items()}:
        raise AdapterError(f"{path}: markers {config.markers!r:.200}, expected {dict(MARKERS)}")
    choices: dict[str, tuple[str | None, ...]] = {
        "join": ("keep", "reencode"),
        "positions": ("max", "flat"),
        "outline": ("all", "own"),
        "quantization": (None, "nf4", "fp4"),
        "form": ("parallel", "linear", "mixed"),
    }
    for key, allowed in choices.items():
        found = getattr(config, key)
        if found not in allowed:
            names = " or ".join(map(str, allowed))
            raise AdapterError(f"{path}: {key} is {found!r:.80}, expected {names}")
    for form, text in asdict(config.switch).items():
        if not isinstance(text, str | None):
            raise AdapterError(f"{path}: switch.{form} is {text!r:.80}, expected a text or null")
    if not isinstance(config.template_args, dict):
        found = config.template_args
        raise AdapterError(f"{path}: template_args is {found!r:.40}, expected names and values")
    return config


def _check_types(config: BranchConfig, path: Path) -> None:
    """JSON gives any type to any key. Raises AdapterError."""
    for key in ("base_model", "base_fingerprint"):
        name = getattr(config, key)
        if not isinstance(name, str) or not name.isprintable() or len(name) > 1000:
            raise AdapterError(f"{path}: {key} is {name!r:.80}, expected a name")
    for role, token in config.marker_ids.items():
        if type(token) is not int or not 0 <= token < 1 << 31:
            raise AdapterError(f"{path}: marker_ids.{role} is {token!r:.80}, expected a token id")
    mean = config.branch_tokens
    if mean is not None and (type(mean) not in (int, float) or not 0 <= mean < 1e9):
        raise AdapterError(f"{path}: branch_tokens is {mean!r:.80}, expected a number or null")
