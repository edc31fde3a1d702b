"""How many tokens may be cached: from the bytes of one, and what is free. Knows no model."""

from pathlib import Path

import torch

from pinfer.params import EngineLimits

GIB = 2**30
_SHARE = 0.8  # of what is free: passes, and other programs, need some
_CGROUP = Path("/sys/fs/cgroup")


def cached_rows(limits: EngineLimits, row_bytes: int, device: torch.device) -> int:
    """The most tokens that an engine may cache, in all layers together `row_bytes` each."""
    free = _SHARE * free_bytes(device) if limits.max_memory is None else limits.max_memory * GIB
    rows = max(1, int(free / row_bytes))
    return rows if limits.max_kv_rows is None else min(rows, limits.max_kv_rows)


def free_bytes(device: torch.device) -> int:
    """Memory that can be taken on a device now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    free = psutil.virtual_memory().available
    try:  # a container may be allowed less than the machine has
        most = int((_CGROUP / "memory.max").read_text())
        free = min(free, most - int((_CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return max(0, free)
