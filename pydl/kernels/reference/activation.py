"""Elementwise activations; see `pydl.kernels.activation`."""

from __future__ import annotations

import numpy as np


def relu_forward(x: np.ndarray, *, out: np.ndarray | None) -> np.ndarray:
    """y = 0 if x < 0 else x."""
    return _into(out, np.where(x < 0, 0, x))


def relu_backward(dy: np.ndarray, y: np.ndarray, *, out: np.ndarray | None) -> np.ndarray:
    """dx = 0 if y <= 0 else dy."""
    return _into(out, np.where(y <= 0, 0, dy))


def sigmoid_forward(x: np.ndarray, *, out: np.ndarray | None) -> np.ndarray:
    """y = 1 / (1 + exp(-x)); exp may overflow to inf, which gives the limit 0."""
    with np.errstate(over="ignore"):
        return _into(out, 1 / (1 + np.exp(-x)))


def sigmoid_backward(dy: np.ndarray, y: np.ndarray, *, out: np.ndarray | None) -> np.ndarray:
    """dx = dy y (1 - y)."""
    return _into(out, dy * (y * (1 - y)))


def tanh_forward(x: np.ndarray, *, out: np.ndarray | None) -> np.ndarray:
    """y = tanh(x)."""
    return _into(out, np.tanh(x))


def tanh_backward(dy: np.ndarray, y: np.ndarray, *, out: np.ndarray | None) -> np.ndarray:
    """dx = dy (1 - y^2)."""
    return _into(out, dy * (1 - y * y))


def _into(out: np.ndarray | None, result: np.ndarray) -> np.ndarray:
    if out is None:
        return np.array(result, order="C")
    out[...] = result
    return out
