"""Matrix products, over broadcast batches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pydl import kernels
from pydl.autograd import Array, Gradients, Needs, OpResult, Tensor, differentiable

from .shape import ndim_of, squeeze, sum_to, unsqueeze

__all__ = ["matmul"]


def _rows(a: np.ndarray) -> np.ndarray:
    """a (..., K) -> (M, K)."""
    return a.reshape(math.prod(a.shape[:-1]), a.shape[-1])


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a (..., M, K) times b (..., K, N) -> (..., M, N), with at least two axes each."""
    if a.ndim == b.ndim == 2:
        return kernels.matmul(a, b)
    if b.ndim == 2:
        y = kernels.matmul(_rows(a), b)
        return y.reshape(*a.shape[:-1], b.shape[1])
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    count = math.prod(batch)
    a3 = np.broadcast_to(a, batch + a.shape[-2:]).reshape(count, *a.shape[-2:])
    b3 = np.broadcast_to(b, batch + b.shape[-2:]).reshape(count, *b.shape[-2:])
    return kernels.matmul(a3, b3).reshape(*batch, a.shape[-2], b.shape[-1])


@differentiable
def _matmul(needs: Needs, a: Array, b: Array) -> OpResult:
    a_shape, b_shape = a.shape, b.shape
    for_a, for_b = b if needs[0] else None, a if needs[1] else None

    def vjp(dy: Array) -> Gradients:
        da = db = None
        if for_a is not None:
            da = sum_to(_product(dy, for_a.swapaxes(-1, -2)), a_shape)
        if for_b is not None and len(b_shape) == 2 < for_b.ndim:
            db = _product(_rows(for_b).T, _rows(dy))
        elif for_b is not None:
            db = sum_to(_product(for_b.swapaxes(-1, -2), dy), b_shape)
        return da, db

    return _product(a, b), vjp


def matmul(input: Any, other: Any) -> Tensor:
    """y = input @ other.  (..., M, K), (..., K, N) -> (..., M, N), the leading axes broadcast.

    A vector is a row on the left and a column on the right; its axis is dropped from the result.

    Raises
    ------
    ValueError
        If an operand is a scalar or the inner sizes differ.
    """
    left, right = ndim_of(input), ndim_of(other)
    if not left or not right:
        raise ValueError(f"matmul: expected at least 1 axis each, got {left} and {right}")
    if left > 1 and right > 1:
        return _matmul(input, other)
    y = _matmul(
        unsqueeze(input, 0) if left == 1 else input, unsqueeze(other, 1) if right == 1 else other
    )
    y = squeeze(y, -1) if right == 1 else y
    return squeeze(y, -1 if right == 1 else -2) if left == 1 else y
