"""Elementwise functions of one operand that need no kernel of their own."""

from __future__ import annotations

import numpy as np

from pydl.autograd import Array, Needs, OpResult, differentiable

__all__ = ["cos", "exp", "log", "sin", "sqrt", "tan"]


@differentiable
def exp(needs: Needs, input: Array) -> OpResult:
    """y = e ** input."""
    y = np.exp(input)
    return y, lambda dy: (dy * y,)


@differentiable
def log(needs: Needs, input: Array) -> OpResult:
    """y = ln(input)."""
    return np.log(input), lambda dy: (dy / input,)


@differentiable
def sin(needs: Needs, input: Array) -> OpResult:
    """y = sin(input)."""
    return np.sin(input), lambda dy: (dy * np.cos(input),)


@differentiable
def cos(needs: Needs, input: Array) -> OpResult:
    """y = cos(input)."""
    return np.cos(input), lambda dy: (-dy * np.sin(input),)


@differentiable
def tan(needs: Needs, input: Array) -> OpResult:
    """y = tan(input)."""
    y = np.tan(input)
    return y, lambda dy: (dy * (1 + y * y),)


@differentiable
def sqrt(needs: Needs, input: Array) -> OpResult:
    """y = input ** 0.5."""
    y = np.sqrt(input)
    return y, lambda dy: (dy / (2 * y),)
