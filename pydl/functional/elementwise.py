"""Elementwise functions of one operand that need no kernel of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from pydl.autograd import Array, Needs, OpResult, Tensor, differentiable

__all__ = ["cos", "exp", "log", "sin", "sqrt", "tan"]


@differentiable
def _exp(needs: Needs, x: Array) -> OpResult:
    y = np.exp(x)
    return y, lambda dy: (dy * y,)


def exp(input: Any) -> Tensor:
    """y = e ** input."""
    return _exp(input)


@differentiable
def _log(needs: Needs, x: Array) -> OpResult:
    return np.log(x), lambda dy: (dy / x,)


def log(input: Any) -> Tensor:
    """y = ln(input)."""
    return _log(input)


@differentiable
def _sin(needs: Needs, x: Array) -> OpResult:
    return np.sin(x), lambda dy: (dy * np.cos(x),)


def sin(input: Any) -> Tensor:
    """y = sin(input)."""
    return _sin(input)


@differentiable
def _cos(needs: Needs, x: Array) -> OpResult:
    return np.cos(x), lambda dy: (-dy * np.sin(x),)


def cos(input: Any) -> Tensor:
    """y = cos(input)."""
    return _cos(input)


@differentiable
def _tan(needs: Needs, x: Array) -> OpResult:
    y = np.tan(x)
    return y, lambda dy: (dy * (1 + y * y),)


def tan(input: Any) -> Tensor:
    """y = tan(input)."""
    return _tan(input)


@differentiable
def _sqrt(needs: Needs, x: Array) -> OpResult:
    y = np.sqrt(x)
    return y, lambda dy: (dy / (2 * y),)


def sqrt(input: Any) -> Tensor:
    """y = input ** 0.5."""
    return _sqrt(input)
