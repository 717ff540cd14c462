"""Arrays side by side along an axis, and back; see `pydl.kernels.concatenate`."""

from __future__ import annotations

import numpy as np


def concatenate_forward(*arrays: np.ndarray, axis: int) -> np.ndarray:
    """Arrays of sizes s_k along axis -> y of size sum s_k."""
    shape = list(arrays[0].shape)
    shape[axis] = sum(a.shape[axis] for a in arrays)
    return np.concatenate(arrays, axis=axis, out=np.empty(shape, arrays[0].dtype))


def concatenate_backward(
    dy: np.ndarray, sizes: tuple[int, ...], *, axis: int
) -> tuple[np.ndarray, ...]:
    """Dy of size sum s_k along axis -> arrays of sizes s_k."""
    parts = np.split(dy, np.cumsum(sizes)[:-1], axis=axis)
    return tuple(np.array(part, order="C") for part in parts)
