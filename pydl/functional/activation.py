"""Activations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pydl import kernels
from pydl.autograd import Array, Gradients, Needs, OpResult, Tensor, differentiable

__all__ = ["elu", "gelu", "leaky_relu", "relu", "sigmoid", "silu", "softplus", "tanh"]


@differentiable
def _relu(needs: Needs, x: Array) -> OpResult:
    y = kernels.relu_forward(x)
    return y, lambda dy: (kernels.relu_backward(dy, y),)


def relu(input: Any, inplace: bool = False) -> Tensor:
    """y = max(x, 0); the gradient at 0 is 0.

    `inplace` is accepted, here and below, so that programs carry over; the result is always new.
    """
    return _relu(input)


@differentiable
def sigmoid(needs: Needs, input: Array) -> OpResult:
    """y = 1 / (1 + e ** -x)."""
    y = kernels.sigmoid_forward(input)
    return y, lambda dy: (kernels.sigmoid_backward(dy, y),)


@differentiable
def tanh(needs: Needs, input: Array) -> OpResult:
    """y = tanh(x)."""
    y = kernels.tanh_forward(input)
    return y, lambda dy: (kernels.tanh_backward(dy, y),)


@differentiable
def _leaky_relu(needs: Needs, x: Array, *, slope: Any) -> OpResult:
    return np.where(x > 0, x, x * slope), lambda dy: (np.where(x > 0, dy, dy * slope),)


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """y = x if x > 0 else negative_slope * x."""
    return _leaky_relu(input, slope=negative_slope)


@differentiable
def _elu(needs: Needs, x: Array, *, alpha: Any) -> OpResult:
    y = np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))
    return y, lambda dy: (np.where(x > 0, dy, dy * (alpha * np.exp(np.minimum(x, 0)))),)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """y = x if x > 0 else alpha (e ** x - 1)."""
    return _elu(input, alpha=alpha)


@differentiable
def _gelu(needs: Needs, x: Array) -> OpResult:
    erf = np.frompyfunc(math.erf, 1, 1)
    cdf = (1 + np.asarray(erf(x * math.sqrt(0.5))).astype(x.dtype)) / 2

    def vjp(dy: Array) -> Gradients:
        density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        return (dy * (cdf + x * density),)

    return x * cdf, vjp


@differentiable
def _gelu_tanh(needs: Needs, x: Array) -> OpResult:
    scale = math.sqrt(2 / math.pi)
    t = np.tanh(scale * (x + 0.044715 * x**3))

    def vjp(dy: Array) -> Gradients:
        inner = scale * (1 + 3 * 0.044715 * x * x)
        return (dy * ((1 + t) / 2 + x * (1 - t * t) * inner / 2),)

    return x * (1 + t) / 2, vjp


def gelu(input: Any, approximate: str = "none") -> Tensor:
    """y = x Φ(x), Φ the normal distribution function.

    ``approximate="tanh"`` takes 2 Φ(x) = 1 + tanh(sqrt(2 / π) (x + 0.044715 x³)).

    Source: Hendrycks and Gimpel 2016, Gaussian Error Linear Units.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f'approximate: expected "none" or "tanh", got {approximate!r}')
    return _gelu(input) if approximate == "none" else _gelu_tanh(input)


@differentiable
def _silu(needs: Needs, x: Array) -> OpResult:
    s = kernels.sigmoid_forward(x)
    return x * s, lambda dy: (dy * (s * (1 + x * (1 - s))),)


def silu(input: Any, inplace: bool = False) -> Tensor:
    """y = x / (1 + e ** -x)."""
    return _silu(input)


@differentiable
def _softplus(needs: Needs, x: Array, *, beta: Any, threshold: Any) -> OpResult:
    straight = x * beta > threshold
    bent = np.where(straight, 0, x * beta)
    y = np.where(straight, x, np.logaddexp(0, bent).astype(x.dtype, copy=False) / beta)

    def vjp(dy: Array) -> Gradients:
        return (np.where(straight, dy, dy * kernels.sigmoid_forward(bent)),)

    return y, vjp


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """y = ln(1 + e ** (beta x)) / beta, and x where beta x > threshold."""
    return _softplus(input, beta=beta, threshold=threshold)
