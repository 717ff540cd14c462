"""Local response normalisation across channels and its gradient; see `pydl.kernels.lrn`."""

from __future__ import annotations

import numpy as np


def local_response_norm_forward(
    x: np.ndarray, size: int, *, alpha: float, beta: float, k: float, save: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """x (N,C,H,W) -> y, scale (N,C,H,W)."""
    sums = _window_sums(x * x, size // 2, (size - 1) // 2)
    scale = k + alpha / size * sums
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.ascontiguousarray(x / scale**beta)
    return y, np.ascontiguousarray(scale) if save else None


def local_response_norm_backward(
    dy: np.ndarray, x: np.ndarray, scale: np.ndarray, size: int, *, alpha: float, beta: float
) -> np.ndarray:
    """dy, x, scale (N,C,H,W) -> dx (N,C,H,W)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        own = dy / scale**beta
        sums = _window_sums(own * x / scale, (size - 1) // 2, size // 2)
        return np.ascontiguousarray(own - 2 * alpha * beta / size * x * sums)


def _window_sums(x: np.ndarray, before: int, after: int) -> np.ndarray:
    """Sums over so many channels before and after each, zeros beyond the first and the last."""
    channels = x.shape[1]
    sums = np.empty_like(x)
    for c in range(channels):
        sums[:, c] = x[:, max(c - before, 0) : c + after + 1].sum(axis=1)
    return sums
