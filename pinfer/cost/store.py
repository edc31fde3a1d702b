"""Where measured pass costs lie between two runs: one JSON file a device and model, in the user's
cache folder. Knows what a cost depends on, not how it is measured or used."""

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from pbranch.errors import DataError, RequestError
from pbranch.files.atomic import atomic_write
from pbranch.hf.config_sizes import config_value
from pinfer.cost.pass_cost import PassCost

_SHAPE = (
    "model_type",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
)


def cost_key(model: Any, **asked: str) -> dict[str, Any]:
    """What the cost of a model's passes depends on: device, threads, torch, dtype, shape, and
    what an engine was `asked` for, such as its attention."""
    import torch

    device, config = model.get_input_embeddings().weight.device, model.config.get_text_config()
    on_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else _processor(),
        "threads": None if on_gpu else torch.get_num_threads(),
        "torch": torch.__version__,
        "dtype": str(model.dtype).removeprefix("torch."),
        "shape": {name: config_value(config, name) for name in _SHAPE},
        **asked,
    }


def cost_path(key: dict[str, Any]) -> Path:
    """The file of a key; `XDG_CACHE_HOME` moves the folder."""
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return user_cache_path("parallel-branches") / "cost" / f"{name}.json"


def save_cost(cost: PassCost, key: dict[str, Any]) -> Path:
    """Write a cost, whole or not at all; returns its file. DataError where that is impossible."""
    path = cost_path(key)
    row = {**key, "rows": cost.rows, "seconds": cost.seconds}
    try:
        with atomic_write(path) as file:
            file.write((json.dumps(row, indent=1) + "\n").encode("utf-8"))
    except OSError as e:
        raise DataError(f"{path}: the measured cost cannot be written ({e.strerror})") from e
    return path


def find_cost(key: dict[str, Any]) -> PassCost | None:
    """The cost that was saved under a key, None where there is none. DataError where the file is
    not what `save_cost` writes."""
    path = cost_path(key)
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        if {name: row[name] for name in key} != key:
            raise RequestError("made for another device or model")
        return PassCost(tuple(row["rows"]), tuple(row["seconds"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as e:  # BranchError is a ValueError
        raise DataError(
            f"{path}: not a measured cost ({type(e).__name__}: {e}); delete it, or measure again "
            "by pinfer bench --break-even"
        ) from e


def _processor() -> str:
    """The CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
