"""Dropout with Philox4x32-10; see `pydl.kernels.dropout`."""

from __future__ import annotations

import numpy as np


def dropout_forward(
    x: np.ndarray, p_drop: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """x -> y = x (mask / (1 - p_drop)), mask."""
    key = int(rng.integers(0, 2**64, dtype=np.uint64))
    words = philox4x32(np.arange(-(-x.size // 4), dtype=np.uint64), key).reshape(-1)[: x.size]
    mask = (words >= int(p_drop * 2**32)).reshape(x.shape)
    return dropout_backward(x, mask, p_drop), mask


def dropout_backward(dy: np.ndarray, mask: np.ndarray, p_drop: float) -> np.ndarray:
    """dx = dy (mask / (1 - p_drop))."""
    scale = 1 / (1 - p_drop) if p_drop < 1 else 0.0
    factor = mask.astype(dy.dtype) * dy.dtype.type(scale)
    with np.errstate(invalid="ignore"):
        return np.array(dy * factor, order="C")


def philox4x32(counter: np.ndarray, key: int) -> np.ndarray:
    """Ten rounds of Philox on the blocks `counter` (n,) with a 64-bit key: words (n, 4).

    Source: Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    c0, c1 = counter & low, counter >> shift
    c2 = c3 = np.zeros_like(counter)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (
            (p1 >> shift) ^ c1 ^ np.uint64(k0),
            p1 & low,
            (p0 >> shift) ^ c3 ^ np.uint64(k1),
            p0 & low,
        )
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack((c0, c1, c2, c3), axis=1)
