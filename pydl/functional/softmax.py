"""Softmax and its logarithm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.lib.array_utils import normalize_axis_index

from pydl import kernels
from pydl.autograd import Array, Needs, OpResult, Tensor, differentiable

from .shape import ndim_of, reshape

__all__ = ["log_softmax", "softmax"]


def _along(op: Callable[..., Tensor], input: Any, dim: int | None) -> Tensor:
    """Apply an op along an axis; a scalar has one axis, as in PyTorch."""
    ndim = ndim_of(input)
    if dim is None:
        axis = 0 if ndim in (0, 1, 3) else 1
    else:
        axis = normalize_axis_index(dim, max(ndim, 1), "dim")
    if ndim:
        return op(input, axis=axis)
    return reshape(op(reshape(input, (1,)), axis=axis), ())


@differentiable
def _softmax(needs: Needs, x: Array, *, axis: Any) -> OpResult:
    y = kernels.softmax_forward(x, axis=axis)
    return y, lambda dy: (kernels.softmax_backward(dy, y, axis=axis),)


def softmax(input: Any, dim: int | None = None) -> Tensor:
    """y = e ** x / sum e ** x along `dim` (None: 0 for 1 or 3 axes, else 1)."""
    return _along(_softmax, input, dim)


@differentiable
def _log_softmax(needs: Needs, x: Array, *, axis: Any) -> OpResult:
    y = kernels.log_softmax_forward(x, axis=axis)
    return y, lambda dy: (kernels.log_softmax_backward(dy, y, axis=axis),)


def log_softmax(input: Any, dim: int | None = None) -> Tensor:
    """y = x - ln sum e ** x along `dim` (None: 0 for 1 or 3 axes, else 1)."""
    return _along(_log_softmax, input, dim)
