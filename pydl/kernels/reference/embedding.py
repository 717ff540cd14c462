"""Rows of a table; see `pydl.kernels.embedding`."""

from __future__ import annotations

import numpy as np

from pydl.kernels.shapes import BAD_INDEX


def embedding_forward(indices: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """indices (...), weight (V,D) -> y (..., D)."""
    _check("embedding_forward", indices, len(weight))
    return np.array(weight[indices.astype(np.int64)], order="C")


def embedding_backward(
    dy: np.ndarray, indices: np.ndarray, num_embeddings: int, *, padding_idx: int | None
) -> np.ndarray:
    """dy (..., D), indices (...) -> dw (V,D)."""
    _check("embedding_backward", indices, num_embeddings)
    dw = np.zeros((num_embeddings, dy.shape[-1]), dy.dtype)
    np.add.at(dw, indices.astype(np.int64), dy)
    if padding_idx is not None:
        dw[padding_idx] = 0
    return dw


def _check(kernel: str, indices: np.ndarray, count: int) -> None:
    if ((indices < 0) | (indices >= count)).any():
        raise ValueError(BAD_INDEX[kernel])
