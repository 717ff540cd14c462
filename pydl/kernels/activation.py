"""Elementwise activations, and the sum of two arrays.

Backward takes the forward's result y in relu, sigmoid and tanh, and its argument x in the others.
"""

from __future__ import annotations

from typing import Any

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


@kernel
def leaky_relu_forward(
    x: np.ndarray,
    *,
    negative_slope: float = 0.01,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Rectified linear unit with a slope for negative numbers.

    y = x if x > 0 else negative_slope x

    Parameters
    ----------
    x : any shape, float32 or float64
    negative_slope : a number
    out : array for the result, optional; C-contiguous, x itself or apart from it

    Returns
    -------
    y : shape and dtype of x

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Maas, Hannun, Ng 2013, "Rectifier nonlinearities improve neural network acoustic models".
    """
    negative_slope = shapes.number("negative_slope", negative_slope)
    return _forward("leaky_relu_forward", x, out, negative_slope=negative_slope)


@kernel
def leaky_relu_backward(
    dy: np.ndarray,
    x: np.ndarray,
    *,
    negative_slope: float = 0.01,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Gradient of `leaky_relu_forward`.

    dx = dy if x > 0 else negative_slope dy

    Parameters
    ----------
    dy : any shape, float32 or float64
    x : argument of `leaky_relu_forward`, shape and dtype of dy
    negative_slope : as in `leaky_relu_forward`
    out : array for the result, optional; C-contiguous, dy or x itself or apart from both

    Returns
    -------
    dx : shape and dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `leaky_relu_forward`.
    """
    negative_slope = shapes.number("negative_slope", negative_slope)
    return _backward("leaky_relu_backward", dy, x, out, "x", negative_slope=negative_slope)


@kernel
def elu_forward(
    x: np.ndarray,
    *,
    alpha: float = 1.0,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Exponential linear unit.

    y = x if x > 0 else alpha (exp(x) - 1)

    Parameters
    ----------
    x : any shape, float32 or float64
    alpha : a number
    out : array for the result, optional; C-contiguous, x itself or apart from it

    Returns
    -------
    y : shape and dtype of x

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Clevert, Unterthiner, Hochreiter 2015, "Fast and accurate deep network learning by exponential
    linear units", arXiv:1511.07289.
    """
    alpha = shapes.number("alpha", alpha)
    return _forward("elu_forward", x, out, alpha=alpha)


@kernel
def elu_backward(
    dy: np.ndarray,
    x: np.ndarray,
    *,
    alpha: float = 1.0,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Gradient of `elu_forward`.

    dx = dy if x > 0 else dy alpha exp(x)

    Parameters
    ----------
    dy : any shape, float32 or float64
    x : argument of `elu_forward`, shape and dtype of dy
    alpha : as in `elu_forward`
    out : array for the result, optional; C-contiguous, dy or x itself or apart from both

    Returns
    -------
    dx : shape and dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `elu_forward`.
    """
    alpha = shapes.number("alpha", alpha)
    return _backward("elu_backward", dy, x, out, "x", alpha=alpha)


@kernel
def gelu_forward(
    x: np.ndarray,
    *,
    approximate: str = "none",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Gaussian error linear unit.

    y = x P(x), P the standard normal distribution's function; or, as an approximation,
    P(x) = (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2

    Parameters
    ----------
    x : any shape, float32 or float64
    approximate : "none" or "tanh"
    out : array for the result, optional; C-contiguous, x itself or apart from it

    Returns
    -------
    y : shape and dtype of x

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Hendrycks, Gimpel 2016, "Gaussian error linear units", arXiv:1606.08415.
    """
    _check_approximation(approximate)
    return _forward("gelu_forward", x, out, approximate=approximate)


@kernel
def gelu_backward(
    dy: np.ndarray,
    x: np.ndarray,
    *,
    approximate: str = "none",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Gradient of `gelu_forward`.

    dx = dy (P(x) + x P'(x))

    Parameters
    ----------
    dy : any shape, float32 or float64
    x : argument of `gelu_forward`, shape and dtype of dy
    approximate : as in `gelu_forward`
    out : array for the result, optional; C-contiguous, dy or x itself or apart from both

    Returns
    -------
    dx : shape and dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `gelu_forward`.
    """
    _check_approximation(approximate)
    return _backward("gelu_backward", dy, x, out, "x", approximate=approximate)


@kernel
def silu_forward(
    x: np.ndarray,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Sigmoid linear unit, also called swish.

    y = x / (1 + exp(-x))

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
    Elfwing, Uchibe, Doya 2017, "Sigmoid-weighted linear units for neural network function
    approximation in reinforcement learning", arXiv:1702.03118.
    """
    return _forward("silu_forward", x, out)


@kernel
def silu_backward(
    dy: np.ndarray,
    x: np.ndarray,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Gradient of `silu_forward`.

    dx = dy s (1 + x (1 - s)), s = 1 / (1 + exp(-x))

    Parameters
    ----------
    dy : any shape, float32 or float64
    x : argument of `silu_forward`, shape and dtype of dy
    out : array for the result, optional; C-contiguous, dy or x itself or apart from both

    Returns
    -------
    dx : shape and dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `silu_forward`.
    """
    return _backward("silu_backward", dy, x, out, "x")


@kernel
def softplus_forward(
    x: np.ndarray,
    *,
    beta: float = 1.0,
    threshold: float = 20.0,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Smooth rectified linear unit.

    y = log(1 + exp(beta x)) / beta, but x where beta x > threshold

    Parameters
    ----------
    x : any shape, float32 or float64
    beta : a number other than 0
    threshold : a number
    out : array for the result, optional; C-contiguous, x itself or apart from it

    Returns
    -------
    y : shape and dtype of x

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Dugas, Bengio, Bélisle, Nadeau, Garcia 2000, "Incorporating second-order functional knowledge
    for better option pricing".
    """
    beta, threshold = _softplus_options(beta, threshold)
    return _forward("softplus_forward", x, out, beta=beta, threshold=threshold)


@kernel
def softplus_backward(
    dy: np.ndarray,
    x: np.ndarray,
    *,
    beta: float = 1.0,
    threshold: float = 20.0,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Gradient of `softplus_forward`.

    dx = dy / (1 + exp(-beta x)), but dy where beta x > threshold

    Parameters
    ----------
    dy : any shape, float32 or float64
    x : argument of `softplus_forward`, shape and dtype of dy
    beta, threshold : as in `softplus_forward`
    out : array for the result, optional; C-contiguous, dy or x itself or apart from both

    Returns
    -------
    dx : shape and dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `softplus_forward`.
    """
    beta, threshold = _softplus_options(beta, threshold)
    return _backward("softplus_backward", dy, x, out, "x", beta=beta, threshold=threshold)


@kernel
def hardswish_forward(
    x: np.ndarray,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Piecewise approximation of `silu_forward`.

    y = x min(max(x + 3, 0), 6) / 6

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
    Howard et al. 2019, "Searching for MobileNetV3", arXiv:1905.02244.
    """
    return _forward("hardswish_forward", x, out)


@kernel
def hardswish_backward(
    dy: np.ndarray,
    x: np.ndarray,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Gradient of `hardswish_forward`.

    dx = 0 if x <= -3 else dy if x >= 3 else dy (x / 3 + 1/2)

    Parameters
    ----------
    dy : any shape, float32 or float64
    x : argument of `hardswish_forward`, shape and dtype of dy
    out : array for the result, optional; C-contiguous, dy or x itself or apart from both

    Returns
    -------
    dx : shape and dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `hardswish_forward`.
    """
    return _backward("hardswish_backward", dy, x, out, "x")


@kernel
def add_forward(
    a: np.ndarray, b: np.ndarray, *, relu: bool = False, out: np.ndarray | None = None
) -> np.ndarray:
    """Sum of two arrays, or its rectified linear unit.

    y = a + b, or 0 if a + b < 0 else a + b

    The gradient with respect to both is dy; with `relu` it is `relu_backward(dy, y)`.

    Parameters
    ----------
    a : any shape, float32 or float64
    b : shape and dtype of a
    relu : rectify the sum
    out : array for the result, optional; C-contiguous, a or b itself or apart from both

    Returns
    -------
    y : shape and dtype of a

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    He, Zhang, Ren, Sun 2015, "Deep residual learning for image recognition", figure 2,
    arXiv:1512.03385.
    """
    a = shapes.real("a", a)
    b = shapes.real("b", b, None, a)
    relu = shapes.boolean("relu", relu)
    shapes.same_shape("b", b, a.shape)
    if out is not None:
        shapes.output(out, a.shape, a, b, elementwise=True)
    return active("add_forward")(a, b, relu=relu, out=out)


def _forward(name: str, x: np.ndarray, out: np.ndarray | None, **options: Any) -> np.ndarray:
    x = shapes.real("x", x)
    if out is not None:
        shapes.output(out, x.shape, x, elementwise=True)
    return active(name)(x, out=out, **options)


def _backward(
    name: str,
    dy: np.ndarray,
    saved: np.ndarray,
    out: np.ndarray | None,
    saved_name: str = "y",
    **options: Any,
) -> np.ndarray:
    dy = shapes.real("dy", dy)
    saved = shapes.sized(saved_name, saved, dy.shape, dy)
    if out is not None:
        shapes.output(out, dy.shape, dy, saved, elementwise=True)
    return active(name)(dy, saved, out=out, **options)


def _check_approximation(approximate: str) -> None:
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate: expected one of none, tanh, got {approximate!r}")


def _softplus_options(beta: float, threshold: float) -> tuple[float, float]:
    beta = shapes.number("beta", beta)
    if beta == 0:
        raise ValueError("beta: expected a number other than 0, got 0.0")
    return beta, shapes.number("threshold", threshold)
