"""The values of quantised GGUF tensors, by gguf-py's own arithmetic on many blocks at a time.

gguf-py works through 16 rows at a time, which for a narrow matrix is more calls than numbers.
"""

from typing import Any

import numpy as np

STEP = 1 << 17  # values computed at a time: 512 KiB of float32


def is_known(kind: Any) -> bool:
    """Whether tensors of a gguf.GGMLQuantizationType can be read."""
    from gguf import quants

    return kind.name in ("F32", "F16") or hasattr(quants, kind.name)


def dequantize(data: np.ndarray, kind: Any) -> np.ndarray:
    """float32 values of a tensor.

    Args:
        data: (…, bytes of a row) uint8 as gguf.GGUFReader gives it; (…, columns) of F32 and F16.
        kind: its gguf.GGMLQuantizationType, of those that `is_known`.

    Returns:
        (…, columns), bit for bit what gguf.dequantize gives.
    """
    from gguf import quants

    if kind.name in ("F32", "F16"):
        return quants.dequantize(data, kind)
    codec = getattr(quants, kind.name)
    codec.init_grid()
    blocks = data.reshape(-1, codec.type_size)
    values = np.empty((len(blocks), codec.block_size), np.float32)
    count = STEP // codec.block_size
    for start in range(0, len(blocks), count):
        values[start : start + count] = codec.dequantize_blocks(blocks[start : start + count])
    return values.reshape(*data.shape[:-1], -1)
