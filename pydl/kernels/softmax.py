"""Softmax, its logarithm, and the cross-entropy of softmax."""

from __future__ import annotations

import numpy as np

from pydl.kernels import shapes
from pydl.kernels.registry import active, kernel

_LOGITS = ("B", "C")


@kernel
def softmax_forward(x: np.ndarray, *, axis: int = -1) -> np.ndarray:
    """Softmax along one axis.

    y_i = exp(x_i - max x) / sum over j of exp(x_j - max x)

    Parameters
    ----------
    x : any shape with at least one axis, float32 or float64
    axis : int

    Returns
    -------
    y : shape and dtype of x

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs".
    """
    return _forward("softmax_forward", x, axis)


@kernel
def softmax_backward(dy: np.ndarray, y: np.ndarray, *, axis: int = -1) -> np.ndarray:
    """Gradient of `softmax_forward`.

    dx_i = y_i (dy_i - sum over j of dy_j y_j)

    Parameters
    ----------
    dy : any shape with at least one axis, float32 or float64
    y : result of `softmax_forward`, shape and dtype of dy
    axis : int

    Returns
    -------
    dx : shape and dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `softmax_forward`.
    """
    return _backward("softmax_backward", dy, y, axis)


@kernel
def log_softmax_forward(x: np.ndarray, *, axis: int = -1) -> np.ndarray:
    """Logarithm of softmax along one axis.

    y_i = x_i - max x - log(sum over j of exp(x_j - max x))

    Parameters
    ----------
    x : any shape with at least one axis, float32 or float64
    axis : int

    Returns
    -------
    y : shape and dtype of x

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `softmax_forward`.
    """
    return _forward("log_softmax_forward", x, axis)


@kernel
def log_softmax_backward(dy: np.ndarray, y: np.ndarray, *, axis: int = -1) -> np.ndarray:
    """Gradient of `log_softmax_forward`.

    dx_i = dy_i - exp(y_i) sum over j of dy_j

    Parameters
    ----------
    dy : any shape with at least one axis, float32 or float64
    y : result of `log_softmax_forward`, shape and dtype of dy
    axis : int

    Returns
    -------
    dx : shape and dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `softmax_forward`.
    """
    return _backward("log_softmax_backward", dy, y, axis)


@kernel
def softmax_cross_entropy_forward(
    logits: np.ndarray, labels: np.ndarray, *, ignore_index: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Cross-entropy of softmax with classes or with target probabilities, row by row.

    loss_b = -log p[b, labels_b], or -sum over c of labels[b, c] log p[b, c]; p = softmax(logits)

    Parameters
    ----------
    logits : (B, C), float32 or float64
    labels : (B,), any integer dtype, classes from 0 to C - 1; or (B, C), dtype of logits,
        probabilities
    ignore_index : class whose rows have loss 0, optional; only with classes

    Returns
    -------
    loss : (B,), dtype of logits
    probs : (B, C), dtype of logits; the softmax, which the backward needs

    Raises
    ------
    TypeError, ValueError for bad input, a class out of range included; the text names the argument.

    Source
    ------
    Bridle 1990, as `softmax_forward`.
    """
    logits = shapes.real("logits", logits, _LOGITS)
    shapes.filled("logits", logits)
    labels, ignore_index = _labels(labels, ignore_index, logits)
    return active("softmax_cross_entropy_forward")(logits, labels, ignore_index=ignore_index)


@kernel
def softmax_cross_entropy_backward(
    dloss: np.ndarray, probs: np.ndarray, labels: np.ndarray, *, ignore_index: int | None = None
) -> np.ndarray:
    """Gradient of `softmax_cross_entropy_forward` with respect to the logits.

    dlogits[b, c] = dloss_b (p[b, c] sum over k of t[b, k] - t[b, c]), t the one-hot classes or the
    probabilities; 0 in ignored rows

    Parameters
    ----------
    dloss : (B,), float32 or float64
    probs : (B, C), dtype of dloss, from `softmax_cross_entropy_forward`
    labels, ignore_index : as in `softmax_cross_entropy_forward`

    Returns
    -------
    dlogits : (B, C), dtype of dloss

    Raises
    ------
    TypeError, ValueError for bad input, a class out of range included; the text names the argument.

    Source
    ------
    As `softmax_cross_entropy_forward`.
    """
    dloss = shapes.real("dloss", dloss, ("B",))
    probs = shapes.real("probs", probs, _LOGITS, dloss)
    shapes.filled("probs", probs)
    shapes.same_shape("dloss", dloss, probs.shape[:1])
    labels, ignore_index = _labels(labels, ignore_index, probs)
    return active("softmax_cross_entropy_backward")(dloss, probs, labels, ignore_index=ignore_index)


def _forward(name: str, x: np.ndarray, axis: int) -> np.ndarray:
    x = shapes.real("x", x)
    axis = shapes.axis("axis", axis, x.ndim)
    if not x.shape[axis]:
        raise ValueError(f"x: expected at least one element on axis {axis}, got shape {x.shape}")
    return active(name)(x, axis=axis)


def _backward(name: str, dy: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    dy = shapes.real("dy", dy)
    y = shapes.sized("y", y, dy.shape, dy)
    axis = shapes.axis("axis", axis, dy.ndim)
    if not dy.shape[axis]:
        raise ValueError(f"dy: expected at least one element on axis {axis}, got shape {dy.shape}")
    return active(name)(dy, y, axis=axis)


def _labels(
    labels: np.ndarray, ignore_index: int | None, rows: np.ndarray
) -> tuple[np.ndarray, int | None]:
    labels = shapes.targets("labels", labels, rows)
    if ignore_index is not None:
        ignore_index = shapes.integer("ignore_index", ignore_index, -(2**63))
        if labels.ndim == 2:
            raise ValueError(
                f"ignore_index: expected None with probabilities as labels, got {ignore_index}"
            )
    return labels, ignore_index
