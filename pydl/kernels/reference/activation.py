"""Elementwise activations; see `pydl.kernels.activation`."""

from __future__ import annotations

import math

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


def leaky_relu_forward(
    x: np.ndarray, *, negative_slope: float, out: np.ndarray | None
) -> np.ndarray:
    """y = x if x > 0 else negative_slope x."""
    return _into(out, np.where(x > 0, x, x * negative_slope))


def leaky_relu_backward(
    dy: np.ndarray, x: np.ndarray, *, negative_slope: float, out: np.ndarray | None
) -> np.ndarray:
    """dx = dy if x > 0 else negative_slope dy."""
    return _into(out, np.where(x > 0, dy, dy * negative_slope))


def elu_forward(x: np.ndarray, *, alpha: float, out: np.ndarray | None) -> np.ndarray:
    """y = x if x > 0 else alpha (exp(x) - 1)."""
    return _into(out, np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))))


def elu_backward(
    dy: np.ndarray, x: np.ndarray, *, alpha: float, out: np.ndarray | None
) -> np.ndarray:
    """dx = dy if x > 0 else dy alpha exp(x)."""
    return _into(out, np.where(x > 0, dy, dy * (alpha * np.exp(np.minimum(x, 0)))))


def gelu_forward(x: np.ndarray, *, approximate: str, out: np.ndarray | None) -> np.ndarray:
    """y = x P(x)."""
    with np.errstate(invalid="ignore"):
        if approximate == "tanh":
            return _into(out, x * (1 + np.tanh(_gelu_inner(x))) / 2)
        return _into(out, x * _normal_cdf(x))


def gelu_backward(
    dy: np.ndarray, x: np.ndarray, *, approximate: str, out: np.ndarray | None
) -> np.ndarray:
    """dx = dy (P(x) + x P'(x))."""
    if approximate == "tanh":
        t = np.tanh(_gelu_inner(x))
        near = np.clip(x, -64, 64)  # beyond, the second term is 0
        inner_slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * near * near)
        return _into(out, dy * ((1 + t) / 2 + near * (1 - t * t) * inner_slope / 2))
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    with np.errstate(invalid="ignore"):
        return _into(out, dy * (_normal_cdf(x) + x * density))


def silu_forward(x: np.ndarray, *, out: np.ndarray | None) -> np.ndarray:
    """y = x sigmoid(x)."""
    with np.errstate(invalid="ignore"):
        return _into(out, x * sigmoid_forward(x, out=None))


def silu_backward(dy: np.ndarray, x: np.ndarray, *, out: np.ndarray | None) -> np.ndarray:
    """dx = dy s (1 + x (1 - s)), s = sigmoid(x)."""
    s = sigmoid_forward(x, out=None)
    with np.errstate(invalid="ignore"):
        return _into(out, dy * (s * (1 + x * (1 - s))))


def softplus_forward(
    x: np.ndarray, *, beta: float, threshold: float, out: np.ndarray | None
) -> np.ndarray:
    """y = x if beta x > threshold else log(1 + exp(beta x)) / beta."""
    straight = beta * x > threshold
    with np.errstate(invalid="ignore"):
        bent = np.logaddexp(0, np.where(straight, 0, beta * x)) / beta
    return _into(out, np.where(straight, x, bent).astype(x.dtype, copy=False))


def softplus_backward(
    dy: np.ndarray, x: np.ndarray, *, beta: float, threshold: float, out: np.ndarray | None
) -> np.ndarray:
    """dx = dy if beta x > threshold else dy sigmoid(beta x)."""
    slope = sigmoid_forward(np.asarray(beta * x), out=None)
    return _into(out, np.where(beta * x > threshold, dy, dy * slope))


def hardswish_forward(x: np.ndarray, *, out: np.ndarray | None) -> np.ndarray:
    """y = x min(max(x + 3, 0), 6) / 6."""
    with np.errstate(invalid="ignore"):
        return _into(out, x * np.clip(x + 3, 0, 6) / 6)


def hardswish_backward(dy: np.ndarray, x: np.ndarray, *, out: np.ndarray | None) -> np.ndarray:
    """dx = 0 if x <= -3 else dy if x >= 3 else dy (x / 3 + 1/2)."""
    return _into(out, np.where(x <= -3, 0, np.where(x >= 3, dy, dy * (x / 3 + 0.5))))


def add_forward(a: np.ndarray, b: np.ndarray, *, relu: bool, out: np.ndarray | None) -> np.ndarray:
    """y = a + b, or its relu."""
    with np.errstate(invalid="ignore"):
        y = np.asarray(a + b)
    return relu_forward(y, out=out) if relu else _into(out, y)


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    """The standard normal distribution's function, erfc(-x / sqrt 2) / 2."""
    erfc = np.frompyfunc(math.erfc, 1, 1)
    return np.asarray(erfc(x * -math.sqrt(0.5))).astype(x.dtype) / 2


def _gelu_inner(x: np.ndarray) -> np.ndarray:
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


def _into(out: np.ndarray | None, result: np.ndarray) -> np.ndarray:
    if out is None:
        return np.array(result, order="C")
    out[...] = result
    return out
