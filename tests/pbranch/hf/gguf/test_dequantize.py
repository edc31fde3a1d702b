"""Every type that gguf-py can read is read to the same bits."""

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from pbranch.hf.gguf import dequantize as module
from pbranch.hf.gguf.dequantize import dequantize, is_known

BLOCKED = [kind for kind in Kind if is_known(kind) and kind not in (Kind.F32, Kind.F16)]


def test_what_gguf_py_reads_is_known():
    known = {kind.name for kind in Kind if is_known(kind)}
    assert {"F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q8_0", "Q4_K", "Q6_K", "IQ4_NL"} <= known
    unread = [kind for kind in Kind if not is_known(kind)]
    assert Kind.I8 in unread and Kind.Q8_K in unread
    for kind in unread:
        with pytest.raises(NotImplementedError):
            gguf.dequantize(np.zeros((1, 4), np.uint8), kind)


@pytest.mark.parametrize("kind", BLOCKED, ids=lambda kind: kind.name)
def test_values_are_those_of_gguf_py_bit_for_bit(kind, monkeypatch):
    size, byte_count = gguf.GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(0)
    # any bytes are blocks of a type, infinities and NaN among them
    data = rng.integers(0, 256, (3, 37, 5 * byte_count), np.uint8)
    monkeypatch.setattr(module, "STEP", 7 * size)  # many steps, the last one not full
    with np.errstate(all="ignore"):
        found, expected = dequantize(data, kind), gguf.dequantize(data, kind)
    assert found.shape == expected.shape == (3, 37, 5 * size)
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype, kind", [(np.float32, Kind.F32), (np.float16, Kind.F16)])
def test_plain_values_are_what_is_stored(dtype, kind):
    data = np.random.default_rng(0).normal(size=(3, 4)).astype(dtype)
    found = dequantize(data, kind)
    assert found.dtype == np.float32 and np.array_equal(found, data.astype(np.float32))
