"""Ops that reduce axes: sum, mean, var, std, max, min, logsumexp, argmax, argmin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from pydl.autograd import Array, Gradients, Needs, OpResult, Tensor, differentiable

from .arithmetic import maximum, minimum
from .shape import ndim_of, raw, total

__all__ = [
    "amax",
    "amin",
    "argmax",
    "argmin",
    "logsumexp",
    "max",
    "mean",
    "min",
    "std",
    "sum",
    "var",
]

Dims = int | Sequence[int] | None


class Extremum(NamedTuple):
    """The values along an axis, and where they were found."""

    values: Tensor
    indices: np.ndarray


def _axes(input: Any, dim: Dims) -> tuple[int, ...]:
    ndim = ndim_of(input)
    if isinstance(dim, (bool, np.bool_)):
        raise TypeError(f"dim: expected None or integers, got {dim}")
    if dim is None or (not isinstance(dim, (int, np.integer)) and not len(dim)):
        return tuple(range(ndim))
    return normalize_axis_tuple(dim, ndim, "dim")


def _kept(a: np.ndarray, shape: tuple[int, ...], axes: tuple[int, ...]) -> np.ndarray:
    """Give a reduced array its reduced axes back, with size 1."""
    return a.reshape([1 if i in axes else n for i, n in enumerate(shape)])


@differentiable
def _sum(needs: Needs, x: Array, *, axes: Any, keepdim: Any) -> OpResult:
    shape = x.shape
    y = total(x, axes, keepdim)
    return y, lambda dy: (np.broadcast_to(_kept(dy, shape, axes), shape),)


def sum(input: Any, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Sum over the axes `dim`, or over all."""
    return _sum(input, axes=_axes(input, dim), keepdim=keepdim)


@differentiable
def _mean(needs: Needs, x: Array, *, axes: Any, keepdim: Any) -> OpResult:
    shape = x.shape
    count = math.prod(shape[i] for i in axes)
    with np.errstate(invalid="ignore"):
        y = np.true_divide(total(x, axes, keepdim), count)
    return y, lambda dy: (np.broadcast_to(_kept(dy / (count or 1), shape, axes), shape),)


def mean(input: Any, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Average over the axes `dim`, or over all."""
    return _mean(input, axes=_axes(input, dim), keepdim=keepdim)


@differentiable
def _var(
    needs: Needs, x: Array, *, axes: Any, keepdim: Any, correction: Any, root: Any
) -> OpResult:
    count = math.prod(x.shape[i] for i in axes)
    with np.errstate(invalid="ignore", divide="ignore"):
        centered = x - total(x, axes) / x.dtype.type(count)
        y = total(np.square(centered), axes, keepdim)
        y = y / np.maximum(y.dtype.type(count - correction), 0)
        y = np.sqrt(y) if root else y

    def vjp(dy: Array) -> Gradients:
        with np.errstate(invalid="ignore", divide="ignore"):
            slope = np.where(y == 0, 0, dy / y) if root else 2 * dy
            slope = slope / np.maximum(centered.dtype.type(count - correction), 0)
            return (_kept(np.asarray(slope), centered.shape, axes) * centered,)

    return y, vjp


def _spread(
    input: Any, dim: Any, unbiased: bool, keepdim: bool, correction: float | None, root: bool
) -> Tensor:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    correction = int(unbiased) if correction is None else correction
    return _var(input, axes=_axes(input, dim), keepdim=keepdim, correction=correction, root=root)


def var(
    input: Any,
    dim: Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Variance over the axes `dim`: sum (x - mean)^2 / (n - correction).

    `correction` is 1 if `unbiased`, else 0, unless it is given. A bool in the place of `dim` is
    `unbiased`, of all elements.
    """
    return _spread(input, dim, unbiased, keepdim, correction, False)


def std(
    input: Any,
    dim: Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Standard deviation over the axes `dim`, the root of `var`; its gradient at 0 is 0."""
    return _spread(input, dim, unbiased, keepdim, correction, True)


@differentiable
def _extremum(needs: Needs, x: Array, *, axes: Any, keepdim: Any, largest: Any) -> OpResult:
    reduce = np.max if largest else np.min
    y = np.asarray(reduce(x, axis=axes, keepdims=keepdim))

    def vjp(dy: Array) -> Gradients:
        ties = x == _kept(y, x.shape, axes)
        share = _kept(dy, x.shape, axes) / np.maximum(ties.sum(axis=axes, keepdims=True), 1)
        return (np.where(ties, share, 0).astype(x.dtype, copy=False),)

    return y, vjp


def amax(input: Any, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Largest element over the axes `dim`; equal elements share the gradient."""
    return _extremum(input, axes=_axes(input, dim), keepdim=keepdim, largest=True)


def amin(input: Any, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Smallest element over the axes `dim`; equal elements share the gradient."""
    return _extremum(input, axes=_axes(input, dim), keepdim=keepdim, largest=False)


@differentiable
def _take(needs: Needs, x: Array, *, where: Any, dim: Any, keepdim: Any) -> OpResult:
    shape, dtype = x.shape, x.dtype
    y = np.take_along_axis(x, where, axis=dim)

    def vjp(dy: Array) -> Gradients:
        dx = np.zeros(shape, dtype)
        np.put_along_axis(dx, where, dy.reshape(where.shape), axis=dim)
        return (dx,)

    return y if keepdim else y.squeeze(dim), vjp


def _along(input: Any, dim: int, keepdim: bool, find: Any) -> Extremum:
    dim = normalize_axis_index(dim, ndim_of(input), "dim")
    where = find(np.asarray(raw(input)), axis=dim, keepdims=True)
    values = _take(input, where=where, dim=dim, keepdim=keepdim)
    return Extremum(values, where if keepdim else where.squeeze(dim))


def max(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """Largest element of all; ``(values, indices)`` along an axis; or `maximum` of two tensors."""
    if isinstance(dim, (Tensor, np.ndarray)) or other is not None:
        return maximum(input, dim if other is None else other)
    return amax(input) if dim is None else _along(input, dim, keepdim, np.argmax)


def min(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """Smallest element of all; ``(values, indices)`` along an axis; or `minimum` of two tensors."""
    if isinstance(dim, (Tensor, np.ndarray)) or other is not None:
        return minimum(input, dim if other is None else other)
    return amin(input) if dim is None else _along(input, dim, keepdim, np.argmin)


def argmax(input: Any, dim: int | None = None, keepdim: bool = False) -> np.ndarray:
    """Index of the first largest element along `dim`, or in the flattened array."""
    return np.asarray(np.argmax(raw(input), axis=dim, keepdims=keepdim))


def argmin(input: Any, dim: int | None = None, keepdim: bool = False) -> np.ndarray:
    """Index of the first smallest element along `dim`, or in the flattened array."""
    return np.asarray(np.argmin(raw(input), axis=dim, keepdims=keepdim))


@differentiable
def _logsumexp(needs: Needs, x: Array, *, axes: Any, keepdim: Any) -> OpResult:
    top = (x.max if x.size else x.sum)(axis=axes, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):
        y = np.log(np.exp(x - top).sum(axis=axes, keepdims=True)) + top

    def vjp(dy: Array) -> Gradients:
        return (_kept(dy, x.shape, axes) * np.exp(x - y),)

    return y if keepdim else y.squeeze(axes), vjp


def logsumexp(input: Any, dim: Dims, keepdim: bool = False) -> Tensor:
    """y = ln sum e ** x over the axes `dim`, without overflow; -infinity if they are empty."""
    return _logsumexp(input, axes=_axes(input, dim), keepdim=keepdim)
