"""Losses. `reduction` is "mean", "sum" or "none" (one loss per element or row)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pydl import kernels
from pydl.autograd import Array, Gradients, Needs, OpResult, Tensor, differentiable

from .arithmetic import mul
from .reduction import mean, sum
from .shape import constant, raw, reshape, shape_of, tensor_of

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "smooth_l1_loss",
]


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return mean(loss)
    if reduction == "sum":
        return sum(loss)
    if reduction == "none":
        return loss
    raise ValueError(f'reduction: expected "mean", "sum" or "none", got {reduction!r}')


def one_hot(tensor: Any, num_classes: int = -1) -> np.ndarray:
    """Return labels (...) of integers as int64 rows (..., num_classes) with a 1 at the label.

    `num_classes` -1 means one more than the largest label.

    Raises
    ------
    ValueError
        A label out of range, or no label and no `num_classes`.
    TypeError
        Labels that are no integers.
    """
    labels = np.asarray(raw(tensor))
    if labels.dtype.kind not in "iu":
        raise TypeError(f"tensor: expected integers, got {labels.dtype}")
    if num_classes == -1:
        if not labels.size:
            raise ValueError("num_classes: needed for an empty tensor")
        num_classes = int(labels.max()) + 1
    if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
        raise ValueError(f"tensor: expected labels in 0..{num_classes - 1}, got {labels}")
    return (labels[..., None] == np.arange(num_classes)).astype(np.int64)


def _rows(input: Any, target: Any) -> tuple[Any, np.ndarray, tuple[int, ...]]:
    """Make logits (N, C, d1, ...) or (C,) to rows (B, C), and the target likewise.

    Returns the rows, the labels (B,) or probabilities (B, C), and the shape of a loss per row.
    """
    x = tensor_of(input)
    t = np.asarray(constant("target", target))
    if x.ndim == 0:
        raise ValueError("input: expected (C,) or (N, C, ...), got a scalar")
    axis = 0 if x.ndim == 1 else 1
    classes, shape = x.shape[axis], x.shape[:axis] + x.shape[axis + 1 :]
    last = (*(i for i in range(x.ndim) if i != axis), axis)
    if t.shape == x.shape and t.dtype.kind == "f":
        t = t.transpose(last).reshape(-1, classes).astype(x.dtype, copy=False)
    elif t.dtype.kind not in "iu":
        if t.shape == shape:
            raise TypeError(f"target: expected integer labels for shape {shape}, got {t.dtype}")
        raise ValueError(
            f"target: expected labels {shape} or probabilities {x.shape}, got {t.shape}"
        )
    elif t.shape != shape:
        raise ValueError(
            f"target: expected labels of shape {shape}, or probabilities {x.shape} of a float "
            f"dtype, got {t.dtype} of shape {t.shape}"
        )
    else:
        t = t.reshape(-1)
    if x.ndim != 2:
        x = reshape(x if x.ndim == 1 else x.permute(last), (-1, classes))
    return x, t, shape


def _class_weight(weight: Any, x: Tensor) -> np.ndarray | None:
    if weight is None:
        return None
    w = np.asarray(constant("weight", weight), x.dtype)
    if w.shape != x.shape[1:]:
        raise ValueError(f"weight: expected shape {x.shape[1:]}, got {w.shape}")
    return w


def _checked_labels(labels: np.ndarray, classes: int, ignore_index: int) -> np.ndarray:
    """Return the mask of the rows that count."""
    valid = labels != ignore_index
    wrong = valid & ((labels < 0) | (labels >= classes))
    if wrong.any():
        raise ValueError(
            f"target: expected labels in 0..{classes - 1} or {ignore_index}, got {labels[wrong][0]}"
        )
    return valid


def _mean_of_rows(loss: Array, count: float | None) -> tuple[Any, Callable[[Array], Array]]:
    """Divide the sum of losses (B,) by `count`; None leaves them as they are.

    Returns the result and its vjp, so that a loss and its mean are one node of the tape.
    """
    if count is None:
        return loss, lambda dy: dy
    shape, dtype = loss.shape, loss.dtype
    y = loss.sum() / count if count else np.asarray(np.nan, dtype)
    return y, lambda dy: np.full(shape, dy / count if count else 0, dtype)


@differentiable
def _softmax_cross_entropy(
    needs: Needs, logits: Array, *, target: Any, ignore_index: Any, scale: Any, count: float | None
) -> OpResult:
    try:
        loss, probs = kernels.softmax_cross_entropy_forward(
            logits, target, ignore_index=ignore_index
        )
    except ValueError:
        if target.ndim == 1:
            _checked_labels(target, logits.shape[1], ignore_index)
        raise
    y, dloss_of = _mean_of_rows(loss if scale is None else loss * scale, count)

    def vjp(dy: Array) -> Gradients:
        dloss = dloss_of(dy)
        return (
            kernels.softmax_cross_entropy_backward(
                dloss if scale is None else dloss * scale,
                probs,
                target,
                ignore_index=ignore_index,
            ),
        )

    return y, vjp


def _summed_rows(loss: Tensor, reduction: str, shape: tuple[int, ...]) -> Tensor:
    """Reduce losses (B,), of which "mean" has been taken already."""
    if reduction == "sum":
        return sum(loss)
    return loss if reduction == "mean" or loss.shape == shape else reshape(loss, shape)


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """L = -sum_c weight_c t_c ln softmax(input)_c, with t the target's distribution.

    Parameters
    ----------
    input : (N, C), (N, C, d1, ...) or (C,)
        Logits: scores of any size, as an affine layer gives. Softmax is taken here; one before it
        is no error, but learns slowly.
    target : integers (N,), (N, d1, ...) or (); or probabilities of input's shape
    weight : (C,), optional
        A weight per class.
    ignore_index : int
        Rows with this label have loss 0, gradient 0 and no part in the mean.
    reduction : {"mean", "sum", "none"}
        The mean of labels divides by the sum of their weights; of probabilities, by the rows.
    label_smoothing : float in 0..1
        The share of t that is spread evenly over the classes.

    Raises
    ------
    ValueError
        For shapes that do not fit, labels out of range and options out of range.
    TypeError
        If labels are not integers.
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'reduction: expected "mean", "sum" or "none", got {reduction!r}')
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing: expected 0 to 1, got {label_smoothing}")
    x, t, shape = _rows(input, target)
    w, classes = _class_weight(weight, x), x.shape[1]
    counted: Any = 1
    ignored, scale, count = None, None, float(len(t))
    if t.ndim == 1:
        ignored = ignore_index
        count = float(np.count_nonzero(t != ignore_index))
        if w is not None or label_smoothing:
            valid = _checked_labels(t, classes, ignore_index)
            labels = np.where(valid, t, 0)
            if w is not None:
                scale = w[labels] * valid
                count = float(scale.sum())
            if label_smoothing:
                counted = valid[:, None]
                t = (labels[:, None] == np.arange(classes)) & counted
    if t.ndim == 2:
        t = (1 - label_smoothing) * t + label_smoothing / classes * counted
        t = np.asarray(t if w is None else t * w, x.dtype)
        ignored = scale = None
    loss = _softmax_cross_entropy(
        x, target=t, ignore_index=ignored, scale=scale, count=count if reduction == "mean" else None
    )
    return _summed_rows(loss, reduction, shape)


@differentiable
def _nll(needs: Needs, x: Array, *, labels: Any, scale: Any, count: float | None) -> OpResult:
    shape, dtype, rows = x.shape, x.dtype, np.arange(len(labels))
    y, dloss_of = _mean_of_rows(np.where(scale == 0, 0, -x[rows, labels] * scale), count)

    def vjp(dy: Array) -> Gradients:
        dx = np.zeros(shape, dtype)
        dx[rows, labels] = -dloss_of(dy) * scale
        return (dx,)

    return y, vjp


def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """L = -weight[target] * input[target], for log-probabilities.

    Parameters
    ----------
    input : (N, C), (N, C, d1, ...) or (C,)
        Log-probabilities, as from `log_softmax`.
    target : integers (N,), (N, d1, ...) or ()
    weight, ignore_index, reduction : as for `cross_entropy`

    Raises
    ------
    ValueError
        A label out of range, a target or weight of another shape, or another reduction.
    TypeError
        A target that is not of integers.
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'reduction: expected "mean", "sum" or "none", got {reduction!r}')
    x, t, shape = _rows(input, target)
    if t.ndim != 1:
        raise TypeError(f"target: expected integer labels, got {t.dtype}")
    w = _class_weight(weight, x)
    valid = _checked_labels(t, x.shape[1], ignore_index)
    labels = np.where(valid, t, 0)
    scale = (valid if w is None else w[labels] * valid).astype(x.dtype)
    count = float(scale.sum()) if reduction == "mean" else None
    return _summed_rows(_nll(x, labels=labels, scale=scale, count=count), reduction, shape)


def _same_shape(input: Any, target: Any) -> None:
    if shape_of(input) != shape_of(target):
        raise ValueError(
            f"target: expected input's shape {shape_of(input)}, got {shape_of(target)}"
        )


def _check_broadcast(name: str, value: Any, shape: tuple[int, ...]) -> None:
    """Check that an operand can be broadcast to a shape, and does not make it larger."""
    own = shape_of(value)
    try:
        fits = np.broadcast_shapes(own, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name}: expected broadcastable to {shape}, got {own}")


def _weighted(loss: Tensor, weight: Any) -> Tensor:
    if weight is None:
        return loss
    _check_broadcast("weight", weight, loss.shape)
    return mul(loss, weight)


@differentiable
def _square(needs: Needs, x: Array, t: Array) -> OpResult:
    d = x - t

    def vjp(dy: Array) -> Gradients:
        slope = 2 * d * dy
        return slope, -slope if needs[1] else None

    return d * d, vjp


def mse_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """L = (input - target)^2, for equal shapes."""
    _same_shape(input, target)
    return _reduced(_square(input, target), reduction)


@differentiable
def _absolute(needs: Needs, x: Array, t: Array) -> OpResult:
    d = x - t

    def vjp(dy: Array) -> Gradients:
        slope = np.sign(d) * dy
        return slope, -slope if needs[1] else None

    return np.absolute(d), vjp


def l1_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """L = |input - target|, for equal shapes."""
    _same_shape(input, target)
    return _reduced(_absolute(input, target), reduction)


@differentiable
def _smooth_absolute(needs: Needs, x: Array, t: Array, *, beta: Any) -> OpResult:
    d = x - t
    near = np.absolute(d) < beta

    def vjp(dy: Array) -> Gradients:
        slope = np.where(near, d / beta, np.sign(d)) * dy
        return slope, -slope if needs[1] else None

    return np.where(near, d * d / (2 * beta), np.absolute(d) - beta / 2), vjp


def smooth_l1_loss(
    input: Any, target: Any, *, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """L = d^2 / (2 beta) where |d| < beta, else |d| - beta / 2, with d = input - target.

    Raises
    ------
    ValueError
        Unequal shapes, a negative beta, or another reduction.
    """
    _same_shape(input, target)
    if beta < 0:
        raise ValueError(f"beta: expected at least 0, got {beta}")
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    return _reduced(_smooth_absolute(input, target, beta=float(beta)), reduction)


@differentiable
def _bce(needs: Needs, x: Array, t: Array) -> OpResult:
    with np.errstate(divide="ignore"):
        log, log_not = np.maximum(np.log(x), -100), np.maximum(np.log1p(-x), -100)

    def vjp(dy: Array) -> Gradients:
        dx = dy * (x - t) / np.maximum((1 - x) * x, 1e-12) if needs[0] else None
        return dx, dy * (log_not - log) if needs[1] else None

    return (t - 1) * log_not - t * log, vjp


def binary_cross_entropy(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean"
) -> Tensor:
    """L = -weight (t ln x + (1 - t) ln(1 - x)), the logarithms at least -100.

    `input` holds probabilities; `target` has its shape, `weight` is broadcast to it.

    Raises
    ------
    ValueError
        Another shape, an input outside 0..1, or another reduction.
    """
    _same_shape(input, target)
    x = np.asarray(raw(input))
    if x.size and (x.min() < 0 or x.max() > 1):
        raise ValueError(f"input: expected probabilities, got {x.min()} to {x.max()}")
    return _reduced(_weighted(_bce(input, target), weight), reduction)


@differentiable
def _bce_with_logits(needs: Needs, x: Array, t: Array, *, pos_weight: Any) -> OpResult:
    s = kernels.sigmoid_forward(x)
    log_s = -np.logaddexp(0, -x).astype(x.dtype, copy=False)
    scale = 1 + (pos_weight - 1) * t

    def vjp(dy: Array) -> Gradients:
        dx = dy * ((1 - t) - scale * (1 - s)) if needs[0] else None
        return dx, dy * (-x - (pos_weight - 1) * log_s) if needs[1] else None

    return (1 - t) * x - scale * log_s, vjp


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Tensor:
    """L = -weight (pos_weight t ln σ(x) + (1 - t) ln(1 - σ(x))), without overflow.

    `input` holds logits; `target` has its shape, `weight` and `pos_weight` are broadcast to it.

    Raises
    ------
    ValueError
        Another shape, or another reduction.
    """
    _same_shape(input, target)
    x = tensor_of(input)
    positive = np.asarray(1 if pos_weight is None else constant("pos_weight", pos_weight), x.dtype)
    _check_broadcast("pos_weight", positive, x.shape)
    return _reduced(_weighted(_bce_with_logits(x, target, pos_weight=positive), weight), reduction)
