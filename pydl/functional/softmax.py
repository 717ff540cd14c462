"""Softmax and its logarithm."""

from __future__ import annotations

from typing import Any

from numpy.lib.array_utils import normalize_axis_index

from pydl import kernels
from pydl.autograd import Array, Needs, OpResult, Tensor, differentiable

from .shape import ndim_of

__all__ = ["log_softmax", "softmax"]


def _axis(input: Any, dim: int | None) -> int:
    ndim = ndim_of(input)
    if dim is None:
        return 0 if ndim in (0, 1, 3) else 1
    return normalize_axis_index(dim, ndim, "dim")


@differentiable
def _softmax(needs: Needs, x: Array, *, axis: Any) -> OpResult:
    y = kernels.softmax_forward(x, axis=axis)
    return y, lambda dy: (kernels.softmax_backward(dy, y, axis=axis),)


def softmax(input: Any, dim: int | None = None) -> Tensor:
    """y = e ** x / sum e ** x along `dim` (None: 0 for 1 or 3 axes, else 1)."""
    return _softmax(input, axis=_axis(input, dim))


@differentiable
def _log_softmax(needs: Needs, x: Array, *, axis: Any) -> OpResult:
    y = kernels.log_softmax_forward(x, axis=axis)
    return y, lambda dy: (kernels.log_softmax_backward(dy, y, axis=axis),)


def log_softmax(input: Any, dim: int | None = None) -> Tensor:
    """y = x - ln sum e ** x along `dim` (None: 0 for 1 or 3 axes, else 1)."""
    return _log_softmax(input, axis=_axis(input, dim))
