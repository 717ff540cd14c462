"""Elementwise arithmetic of two operands, with broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pydl import kernels
from pydl.autograd import Array, Gradients, Needs, OpResult, Tensor, differentiable

from .activation import relu
from .shape import constant, number, raw, shape_of, sum_to

__all__ = [
    "abs",
    "add",
    "add_relu",
    "clamp",
    "clip",
    "div",
    "maximum",
    "minimum",
    "mul",
    "neg",
    "pow",
    "power",
    "sub",
    "where",
]

_KERNEL_SIZE = 2**14  # elements from which on a kernel's call costs less than it gains


@differentiable
def _add(needs: Needs, a: Array, b: Array) -> OpResult:
    a_shape, b_shape = a.shape, b.shape

    def vjp(dy: Array) -> Gradients:
        return (
            sum_to(dy, a_shape) if needs[0] else None,
            sum_to(dy, b_shape) if needs[1] else None,
        )

    return _sum(a, b), vjp


def _sum(a: Array, b: Array) -> Array:
    """Add two arrays; by the kernel, with its threads and its memory, where that pays."""
    if (
        a.size >= _KERNEL_SIZE
        and a.shape == b.shape
        and a.dtype.kind == "f"
        and a.flags.c_contiguous
        and b.flags.c_contiguous
    ):
        return kernels.add_forward(a, b)
    return a + b


def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """y = input + alpha * other."""
    return _add(input, other if alpha == 1 else mul(other, alpha))


@differentiable
def _add_relu(needs: Needs, a: Array, b: Array) -> OpResult:
    y = kernels.add_forward(a, b, relu=True)

    def vjp(dy: Array) -> Gradients:
        dx = kernels.relu_backward(dy, y)
        return dx, dx

    return y, vjp


def add_relu(input: Any, other: Any) -> Tensor:
    """y = max(input + other, 0), in one pass where the shapes agree.

    PyTorch has no function of this name; it is the end of a residual block.
    """
    if shape_of(input) != shape_of(other):
        return relu(_add(input, other))
    return _add_relu(input, other)


@differentiable
def _sub(needs: Needs, a: Array, b: Array) -> OpResult:
    a_shape, b_shape = a.shape, b.shape

    def vjp(dy: Array) -> Gradients:
        return (
            sum_to(dy, a_shape) if needs[0] else None,
            sum_to(-dy, b_shape) if needs[1] else None,
        )

    return a - b, vjp


def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """y = input - alpha * other."""
    return _sub(input, other if alpha == 1 else mul(other, alpha))


@differentiable
def _mul(needs: Needs, a: Array, b: Array) -> OpResult:
    a_shape, b_shape = a.shape, b.shape
    for_a, for_b = b if needs[0] else None, a if needs[1] else None

    def vjp(dy: Array) -> Gradients:
        return (
            None if for_a is None else sum_to(dy * for_a, a_shape),
            None if for_b is None else sum_to(dy * for_b, b_shape),
        )

    return a * b, vjp


def mul(input: Any, other: Any) -> Tensor:
    """y = input * other."""
    return _mul(input, other)


@differentiable
def _div(needs: Needs, a: Array, b: Array) -> OpResult:
    y = a / b
    a_shape, for_b = a.shape, y if needs[1] else None

    def vjp(dy: Array) -> Gradients:
        return (
            sum_to(dy / b, a_shape) if needs[0] else None,
            None if for_b is None else sum_to(-dy * for_b / b, b.shape),
        )

    return y, vjp


def div(input: Any, other: Any) -> Tensor:
    """y = input / other."""
    return _div(input, other)


@differentiable
def _neg(needs: Needs, x: Array) -> OpResult:
    return -x, lambda dy: (-dy,)


def neg(input: Any) -> Tensor:
    """y = -input."""
    return _neg(input)


@differentiable
def _power_number(needs: Needs, x: Array, *, exponent: Any) -> OpResult:
    def vjp(dy: Array) -> Gradients:
        if exponent == 0:
            return (np.zeros_like(x),)
        return (dy * (exponent * x ** (exponent - 1)),)

    return x**exponent, vjp


@differentiable
def _power(needs: Needs, x: Array, exponent: Array) -> OpResult:
    y = np.power(x, exponent)

    def vjp(dy: Array) -> Gradients:
        dx = de = None
        if needs[0]:
            slope = exponent * np.power(x, np.where(exponent == 0, 1, exponent - 1))
            dx = sum_to(dy * slope, x.shape)
        if needs[1]:
            log = np.log(np.where((x == 0) & (exponent >= 0), 1, x))
            de = sum_to(dy * y * log, exponent.shape)
        return dx, de

    return y, vjp


def pow(input: Any, exponent: Any) -> Tensor:
    """y = input ** exponent, elementwise."""
    exponent = number(exponent)
    if isinstance(exponent, (int, float)):
        return _power_number(input, exponent=exponent)
    return _power(input, exponent)


power = pow


@differentiable
def _abs(needs: Needs, x: Array) -> OpResult:
    return np.absolute(x), lambda dy: (dy * np.sign(x),)


def abs(input: Any) -> Tensor:
    """y = |input|; the gradient at 0 is 0."""
    return _abs(input)


def _extremum(choose: np.ufunc, before: np.ufunc) -> Callable[..., Any]:
    def op(needs: Needs, a: Array, b: Array) -> OpResult:
        def vjp(dy: Array) -> Gradients:
            half = np.where(a == b, dy / 2, 0)
            first = before(a, b)
            return (
                sum_to(np.where(first, dy, half), a.shape) if needs[0] else None,
                sum_to(np.where(first | (a == b), half, dy), b.shape) if needs[1] else None,
            )

        return choose(a, b), vjp

    return differentiable(op)


_maximum, _minimum = _extremum(np.maximum, np.greater), _extremum(np.minimum, np.less)


def maximum(input: Any, other: Any) -> Tensor:
    """y = max(input, other), elementwise; equal elements share the gradient."""
    return _maximum(input, other)


def minimum(input: Any, other: Any) -> Tensor:
    """y = min(input, other), elementwise; equal elements share the gradient."""
    return _minimum(input, other)


@differentiable
def _clamp(needs: Needs, x: Array, *, low: Any, high: Any) -> OpResult:
    def vjp(dy: Array) -> Gradients:
        inside = np.ones(x.shape, bool) if low is None else x >= low
        return (sum_to(np.where(inside if high is None else inside & (x <= high), dy, 0), x.shape),)

    return np.clip(x, low, high), vjp


def clamp(input: Any, min: Any = None, max: Any = None) -> Tensor:
    """y = min(max(input, min), max); the bounds are constants, and the gradient is 0 outside."""
    if min is None and max is None:
        raise ValueError("min, max: expected at least one bound, got None for both")
    dtype = input.dtype if hasattr(input, "dtype") else None
    low, high = (
        bound if bound is None or isinstance(bound, (int, float)) else np.asarray(bound, dtype)
        for bound in (number(constant("min", min)), number(constant("max", max)))
    )
    return _clamp(input, low=low, high=high)


clip = clamp


@differentiable
def _where(needs: Needs, a: Array, b: Array, *, condition: Any) -> OpResult:
    a_shape, b_shape = a.shape, b.shape

    def vjp(dy: Array) -> Gradients:
        return (
            sum_to(np.where(condition, dy, 0), a_shape) if needs[0] else None,
            sum_to(np.where(condition, 0, dy), b_shape) if needs[1] else None,
        )

    return np.where(condition, a, b), vjp


def where(condition: Any, input: Any, other: Any) -> Tensor:
    """y = input where condition else other."""
    return _where(input, other, condition=np.asarray(raw(condition), dtype=bool))
