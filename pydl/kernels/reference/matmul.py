"""Matrix product; see `pydl.kernels.matmul`."""

from __future__ import annotations

import numpy as np


def matmul(a: np.ndarray, b: np.ndarray, *, out: np.ndarray | None) -> np.ndarray:
    """a (M,K), b (K,N) -> (M,N), or a (B,M,K), b (B,K,N) -> (B,M,N)."""
    if out is None:
        out = np.empty((*a.shape[:-1], b.shape[-1]), a.dtype)
    return np.matmul(a, b, out=out)
