"""What a bug report should say: versions, devices, and what is there to be used."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

PACKAGES = (
    "parallel-branches",
    "torch",
    "transformers",
    "peft",
    "trl",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "gguf",
    "flash-attn",
    "bitsandbytes",
)


def describe() -> dict[str, Any]:
    """Facts by name, in order; a package that is missing has the value None."""
    import torch

    from pbranch.format.markers import FORMAT_VERSION
    from pbranch.hf.base_models import shipped

    facts: dict[str, Any] = {name: _version(name) for name in PACKAGES}
    facts |= {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "devices": [
            torch.cuda.get_device_name(i)
            for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
        ],
        "varlen_attention": find_spec("torch.nn.attention.varlen") is not None,
        "branch_format": FORMAT_VERSION,
        "shipped_base": str(shipped("base")),
        "shipped_adapter": str(shipped("adapter")),
    }
    return facts


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
