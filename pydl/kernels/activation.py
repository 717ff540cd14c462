"""Elementwise activations; each backward takes the forward's output y."""

from __future__ import annotations

import numpy as np

from pydl.kernels import shapes
from pydl.kernels.registry import active, kernel


@kernel
def relu_forward(x: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
    """Rectified linear unit.

    y = 0 if x < 0 else x; NaN stays NaN

    Parameters
    ----------
    x : any shape, float32 or float64
    out : array for the result, optional; C-contiguous, x itself or apart from it

    Returns
    -------
    y : shape and dtype of x

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Nair, Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".
    """
    return _forward("relu_forward", x, out)


@kernel
def relu_backward(dy: np.ndarray, y: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
    """Gradient of `relu_forward`.

    dx = 0 if y <= 0 else dy

    Parameters
    ----------
    dy : any shape, float32 or float64
    y : result of `relu_forward`, shape and dtype of dy
    out : array for the result, optional; C-contiguous, dy or y itself or apart from both

    Returns
    -------
    dx : shape and dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `relu_forward`.
    """
    return _backward("relu_backward", dy, y, out)


@kernel
def sigmoid_forward(x: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
    """Logistic function.

    y = 1 / (1 + exp(-x))

    Parameters
    ----------
    x : any shape, float32 or float64
    out : array for the result, optional; C-contiguous, x itself or apart from it

    Returns
    -------
    y : shape and dtype of x

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Cybenko 1989, "Approximation by superpositions of a sigmoidal function".
    """
    return _forward("sigmoid_forward", x, out)


@kernel
def sigmoid_backward(dy: np.ndarray, y: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
    """Gradient of `sigmoid_forward`.

    dx = dy y (1 - y)

    Parameters
    ----------
    dy : any shape, float32 or float64
    y : result of `sigmoid_forward`, shape and dtype of dy
    out : array for the result, optional; C-contiguous, dy or y itself or apart from both

    Returns
    -------
    dx : shape and dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `sigmoid_forward`.
    """
    return _backward("sigmoid_backward", dy, y, out)


@kernel
def tanh_forward(x: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
    """Hyperbolic tangent.

    y = (exp(x) - exp(-x)) / (exp(x) + exp(-x))

    Parameters
    ----------
    x : any shape, float32 or float64
    out : array for the result, optional; C-contiguous, x itself or apart from it

    Returns
    -------
    y : shape and dtype of x

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp".
    """
    return _forward("tanh_forward", x, out)


@kernel
def tanh_backward(dy: np.ndarray, y: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
    """Gradient of `tanh_forward`.

    dx = dy (1 - y^2)

    Parameters
    ----------
    dy : any shape, float32 or float64
    y : result of `tanh_forward`, shape and dtype of dy
    out : array for the result, optional; C-contiguous, dy or y itself or apart from both

    Returns
    -------
    dx : shape and dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `tanh_forward`.
    """
    return _backward("tanh_backward", dy, y, out)


def _forward(name: str, x: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    x = shapes.real("x", x)
    if out is not None:
        shapes.output(out, x.shape, x, elementwise=True)
    return active(name)(x, out=out)


def _backward(name: str, dy: np.ndarray, y: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    dy = shapes.real("dy", dy)
    y = shapes.real("y", y, None, dy)
    shapes.same_shape("y", y, dy.shape)
    if out is not None:
        shapes.output(out, dy.shape, dy, y, elementwise=True)
    return active(name)(dy, y, out=out)
