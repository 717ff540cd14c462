"""Softmax, its logarithm and cross-entropy; see `pydl.kernels.softmax`."""

from __future__ import annotations

import numpy as np

from pydl.kernels.shapes import BAD_INDEX


def softmax_forward(x: np.ndarray, *, axis: int) -> np.ndarray:
    """y = exp(x - max) / sum(exp(x - max)) along axis."""
    with np.errstate(invalid="ignore"):
        e = np.exp(x - x.max(axis, keepdims=True))
        return np.ascontiguousarray(e / e.sum(axis, keepdims=True))


def softmax_backward(dy: np.ndarray, y: np.ndarray, *, axis: int) -> np.ndarray:
    """dx = y (dy - sum(dy y)) along axis."""
    return np.ascontiguousarray(y * (dy - (dy * y).sum(axis, keepdims=True)))


def log_softmax_forward(x: np.ndarray, *, axis: int) -> np.ndarray:
    """y = x - max - log(sum(exp(x - max))) along axis."""
    with np.errstate(invalid="ignore"):
        shifted = x - x.max(axis, keepdims=True)
        return np.ascontiguousarray(shifted - np.log(np.exp(shifted).sum(axis, keepdims=True)))


def log_softmax_backward(dy: np.ndarray, y: np.ndarray, *, axis: int) -> np.ndarray:
    """dx = dy - exp(y) sum(dy) along axis."""
    return np.ascontiguousarray(dy - np.exp(y) * dy.sum(axis, keepdims=True))


def softmax_cross_entropy_forward(
    logits: np.ndarray, labels: np.ndarray, *, ignore_index: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """logits (B,C), labels (B,) or (B,C) -> loss (B,), probs (B,C)."""
    log_p = log_softmax_forward(logits, axis=1)
    probs = softmax_forward(logits, axis=1)
    if labels.ndim == 2:
        return -(labels * log_p).sum(axis=1), probs
    rows = _counted_rows("softmax_cross_entropy_forward", labels, ignore_index, logits.shape[1])
    loss = np.zeros(len(labels), logits.dtype)
    loss[rows] = -log_p[rows, labels[rows]]
    return loss, probs


def softmax_cross_entropy_backward(
    dloss: np.ndarray, probs: np.ndarray, labels: np.ndarray, *, ignore_index: int | None
) -> np.ndarray:
    """dloss (B,), probs (B,C), labels (B,) or (B,C) -> dlogits (B,C)."""
    if labels.ndim == 2:
        return np.ascontiguousarray(
            dloss[:, None] * (probs * labels.sum(axis=1, keepdims=True) - labels)
        )
    rows = _counted_rows("softmax_cross_entropy_backward", labels, ignore_index, probs.shape[1])
    one_hot = np.zeros(probs.shape, probs.dtype)
    one_hot[rows, labels[rows]] = 1
    dlogits = np.zeros(probs.shape, probs.dtype)
    dlogits[rows] = dloss[rows, None] * (probs[rows] - one_hot[rows])
    return dlogits


def _counted_rows(
    kernel: str, labels: np.ndarray, ignore_index: int | None, classes: int
) -> np.ndarray:
    """The rows whose label is not `ignore_index`."""
    counted = np.ones(len(labels), bool) if ignore_index is None else labels != ignore_index
    if ((labels[counted] < 0) | (labels[counted] >= classes)).any():
        raise ValueError(BAD_INDEX[kernel])
    return np.flatnonzero(counted)
