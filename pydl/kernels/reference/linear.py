"""Fully connected layer; see `pydl.kernels.linear`."""

from __future__ import annotations

import numpy as np


def linear_forward(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None, *, relu: bool = False
) -> np.ndarray:
    """x (N,I), w (O,I), b (O,) -> y (N,O)."""
    y = x @ w.T
    if b is not None:
        y = y + b
    return np.where(y < 0, 0, y) if relu else y


def linear_backward_input(dy: np.ndarray, w: np.ndarray) -> np.ndarray:
    """dy (N,O), w (O,I) -> dx (N,I)."""
    return dy @ w


def linear_backward_weight(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dy (N,O), x (N,I) -> dw (O,I)."""
    return dy.T @ x


def linear_backward_bias(dy: np.ndarray) -> np.ndarray:
    """dy (N,O) -> db (O,)."""
    return dy.sum(axis=0)
