"""Fully connected layer and its gradients."""

from __future__ import annotations

import numpy as np

from pydl.kernels import shapes
from pydl.kernels.registry import active, kernel, takes

_INPUTS = ("N", "I")
_OUTPUTS = ("N", "O")
_WEIGHTS = ("O", "I")


@kernel(spare=("relu",))
def linear_forward(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None, *, relu: bool = False
) -> np.ndarray:
    """Apply an affine map to every row.

    y[n, o] = b[o] + sum over i of x[n, i] w[o, i], or 0 where that is negative if relu

    Parameters
    ----------
    x : (N, I), float32 or float64
    w : (O, I), dtype of x
    b : (O,), dtype of x, optional
    relu : bool
        Take the larger of 0 and each sum, as `relu_forward` does: NaN stays.

    Returns
    -------
    y : (N, O), dtype of x

    A backend's function may lack relu; it is then done after it.

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Rumelhart, Hinton, Williams 1986, "Learning representations by back-propagating errors".
    """
    x = shapes.real("x", x, _INPUTS)
    w = shapes.real("w", w, _WEIGHTS, x)
    shapes.filled("x", x)
    shapes.not_empty("w", w)
    shapes.same_size("w", w, 1, "x", x.shape[1])
    if b is not None:
        b = shapes.real("b", b, ("O",), x)
        shapes.same_shape("b", b, w.shape[:1])
    shapes.countable("output", x.shape[0], w.shape[0])
    relu = shapes.boolean("relu", relu)
    run = active("linear_forward")
    if relu and takes(run, "relu"):
        return run(x, w, b, relu=True)
    y = run(x, w, b)
    return active("relu_forward")(y, out=None) if relu else y


@kernel
def linear_backward_input(dy: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Gradient of `linear_forward` with respect to x.

    dx[n, i] = sum over o of dy[n, o] w[o, i]

    Parameters
    ----------
    dy : (N, O), float32 or float64
    w : (O, I), dtype of dy

    Returns
    -------
    dx : (N, I), dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `linear_forward`.
    """
    dy = shapes.real("dy", dy, _OUTPUTS)
    w = shapes.real("w", w, _WEIGHTS, dy)
    shapes.filled("dy", dy)
    shapes.not_empty("w", w)
    shapes.same_size("w", w, 0, "dy", dy.shape[1])
    shapes.countable("output", dy.shape[0], w.shape[1])
    return active("linear_backward_input")(dy, w)


@kernel
def linear_backward_weight(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Gradient of `linear_forward` with respect to w.

    dw[o, i] = sum over n of dy[n, o] x[n, i]

    Parameters
    ----------
    dy : (N, O), float32 or float64
    x : (N, I), dtype of dy

    Returns
    -------
    dw : (O, I), dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `linear_forward`.
    """
    dy = shapes.real("dy", dy, _OUTPUTS)
    x = shapes.real("x", x, _INPUTS, dy)
    shapes.filled("dy", dy)
    shapes.filled("x", x)
    shapes.same_size("x", x, 0, "dy", dy.shape[0])
    shapes.countable("output", dy.shape[1], x.shape[1])
    return active("linear_backward_weight")(dy, x)


@kernel
def linear_backward_bias(dy: np.ndarray) -> np.ndarray:
    """Gradient of `linear_forward` with respect to b.

    db[o] = sum over n of dy[n, o]

    Parameters
    ----------
    dy : (N, O), float32 or float64

    Returns
    -------
    db : (O,), dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `linear_forward`.
    """
    dy = shapes.real("dy", dy, _OUTPUTS)
    shapes.filled("dy", dy)
    return active("linear_backward_bias")(dy)
