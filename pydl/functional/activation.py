"""Activations."""

from __future__ import annotations

from typing import Any

from pydl import kernels
from pydl.autograd import Array, Needs, OpResult, Tensor, differentiable

__all__ = [
    "elu",
    "gelu",
    "hardswish",
    "leaky_relu",
    "relu",
    "sigmoid",
    "silu",
    "softplus",
    "tanh",
]


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
def _sigmoid(needs: Needs, x: Array) -> OpResult:
    y = kernels.sigmoid_forward(x)
    return y, lambda dy: (kernels.sigmoid_backward(dy, y),)


def sigmoid(input: Any) -> Tensor:
    """y = 1 / (1 + e ** -x)."""
    return _sigmoid(input)


@differentiable
def _tanh(needs: Needs, x: Array) -> OpResult:
    y = kernels.tanh_forward(x)
    return y, lambda dy: (kernels.tanh_backward(dy, y),)


def tanh(input: Any) -> Tensor:
    """y = tanh(x)."""
    return _tanh(input)


@differentiable
def _leaky_relu(needs: Needs, x: Array, *, negative_slope: Any) -> OpResult:
    y = kernels.leaky_relu_forward(x, negative_slope=negative_slope)
    return y, lambda dy: (kernels.leaky_relu_backward(dy, x, negative_slope=negative_slope),)


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """y = x if x > 0 else negative_slope * x."""
    return _leaky_relu(input, negative_slope=negative_slope)


@differentiable
def _elu(needs: Needs, x: Array, *, alpha: Any) -> OpResult:
    y = kernels.elu_forward(x, alpha=alpha)
    return y, lambda dy: (kernels.elu_backward(dy, x, alpha=alpha),)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """y = x if x > 0 else alpha (e ** x - 1)."""
    return _elu(input, alpha=alpha)


@differentiable
def _gelu(needs: Needs, x: Array, *, approximate: Any) -> OpResult:
    y = kernels.gelu_forward(x, approximate=approximate)
    return y, lambda dy: (kernels.gelu_backward(dy, x, approximate=approximate),)


def gelu(input: Any, approximate: str = "none") -> Tensor:
    """y = x Φ(x), Φ the normal distribution function.

    ``approximate="tanh"`` takes 2 Φ(x) = 1 + tanh(sqrt(2 / π) (x + 0.044715 x³)).

    Source: Hendrycks and Gimpel 2016, Gaussian Error Linear Units.
    """
    return _gelu(input, approximate=approximate)


@differentiable
def _silu(needs: Needs, x: Array) -> OpResult:
    return kernels.silu_forward(x), lambda dy: (kernels.silu_backward(dy, x),)


def silu(input: Any, inplace: bool = False) -> Tensor:
    """y = x / (1 + e ** -x)."""
    return _silu(input)


@differentiable
def _softplus(needs: Needs, x: Array, **options: Any) -> OpResult:
    y = kernels.softplus_forward(x, **options)
    return y, lambda dy: (kernels.softplus_backward(dy, x, **options),)


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """y = ln(1 + e ** (beta x)) / beta, and x where beta x > threshold."""
    return _softplus(input, beta=beta, threshold=threshold)


@differentiable
def _hardswish(needs: Needs, x: Array) -> OpResult:
    return kernels.hardswish_forward(x), lambda dy: (kernels.hardswish_backward(dy, x),)


def hardswish(input: Any, inplace: bool = False) -> Tensor:
    """y = x min(max(x + 3, 0), 6) / 6; the gradient is 0 at -3 and 1 at 3.

    Source: Howard et al. 2019, Searching for MobileNetV3.
    """
    return _hardswish(input)
