"""Ops that move elements: reshape, transpose, index, cat, stack, split, pad, expand, cast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from pydl import kernels
from pydl.autograd import (
    Array,
    Gradients,
    Needs,
    OpResult,
    Tensor,
    as_dtype,
    differentiable,
    is_grad_enabled,
    refuse_tensors_in,
)
from pydl.runtime import contiguous, is_recording

__all__ = [
    "broadcast_to",
    "cat",
    "chunk",
    "clone",
    "concatenate",
    "expand",
    "flatten",
    "index",
    "pad",
    "permute",
    "reshape",
    "split",
    "squeeze",
    "stack",
    "to",
    "transpose",
    "unflatten",
    "unsqueeze",
    "view",
]


def raw(x: Any) -> Any:
    """Return a Tensor's array, and anything else as it is."""
    return x.data if isinstance(x, Tensor) else x


def constant(name: str, x: Any) -> Any:
    """Return the array of an argument that gets no gradient; ValueError if one is wanted."""
    if isinstance(x, Tensor) and x.requires_grad and is_grad_enabled():
        raise ValueError(f"{name}: no gradient is computed for it; pass {name}.detach()")
    return raw(x)


def number(x: Any) -> Any:
    """Return the Python number of a NumPy scalar or 0-d array, and anything else as it is."""
    return x.item() if isinstance(x, (np.ndarray, np.generic)) and not x.ndim else x


def shape_of(x: Any) -> tuple[int, ...]:
    """Return the shape of a Tensor or array_like; TypeError for a list or tuple of Tensors."""
    if isinstance(x, (Tensor, np.ndarray)):
        return x.shape
    refuse_tensors_in("operands", x)
    return np.shape(x)


def tensor_of(x: Any) -> Tensor:
    """Return a Tensor as it is, and one of anything array_like; TypeError as `shape_of`."""
    refuse_tensors_in("operands", x)
    return x if isinstance(x, Tensor) else Tensor(x)


def ndim_of(x: Any) -> int:
    """Return the number of axes of a Tensor or array_like, as `shape_of`."""
    return len(shape_of(x))


def total(x: np.ndarray, axes: tuple[int, ...], keepdims: bool = True) -> np.ndarray:
    """Sum over axes; many rows in blocks, where NumPy would add one after the other."""
    first = range(len(axes))
    rows = math.prod([x.shape[i] for i in first])
    if rows <= 128 or axes != (*first,) or len(axes) == x.ndim or not x.size or x.dtype.kind != "f":
        return x.sum(axis=axes, keepdims=keepdims)
    y = kernels.linear_backward_bias(x.reshape(rows, -1))
    return y.reshape((1,) * keepdims * len(axes) + x.shape[len(axes) :])


def sum_to(dy: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum `dy` over the axes along which an operand of `shape` was broadcast."""
    if dy.shape == shape:
        return dy
    lead = dy.ndim - len(shape)
    axes = tuple(i for i in range(dy.ndim) if i < lead or shape[i - lead] == 1 != dy.shape[i])
    return total(dy, axes).reshape(shape)


@differentiable
def _reshape(needs: Needs, x: Array, *, shape: Any) -> OpResult:
    old = x.shape
    if is_recording() and not np.may_share_memory(x, x.reshape(shape)):
        x = contiguous(x)  # a copy by NumPy would not be noted
    return x.reshape(shape), lambda dy: (dy.reshape(old),)


def reshape(input: Any, shape: Sequence[int]) -> Tensor:
    """Give the elements another shape; one size may be -1."""
    shape = tuple(shape)
    try:
        return _reshape(input, shape=shape)
    except ValueError:
        old = shape_of(input)
        raise ValueError(
            f"shape: expected the {math.prod(old)} elements of {old}, got {shape}"
        ) from None


def view(input: Any, *shape: Any) -> Tensor:
    """Reshape, as `reshape`; copies where NumPy must."""
    return reshape(input, shape[0] if len(shape) == 1 and np.ndim(shape[0]) else shape)


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Merge the axes `start_dim` to `end_dim` into one."""
    shape = shape_of(input)
    ndim = max(len(shape), 1)
    first = normalize_axis_index(start_dim, ndim, "start_dim")
    last = normalize_axis_index(end_dim, ndim, "end_dim")
    if first > last:
        raise ValueError(f"start_dim: expected at most end_dim = {end_dim}, got {start_dim}")
    merged = math.prod(shape[first : last + 1])
    return _reshape(input, shape=(*shape[:first], merged, *shape[last + 1 :]))


def unflatten(input: Any, dim: int, sizes: Sequence[int]) -> Tensor:
    """Split the axis `dim` into axes of the given sizes; one may be -1."""
    shape = shape_of(input)
    dim = normalize_axis_index(dim, len(shape), "dim")
    sizes = list(sizes)
    if -1 in sizes:
        rest = math.prod(s for s in sizes if s != -1)
        sizes[sizes.index(-1)] = shape[dim] // rest if rest else 0
    if math.prod(sizes) != shape[dim]:
        raise ValueError(f"sizes: expected a product of {shape[dim]}, got {tuple(sizes)}")
    return _reshape(input, shape=(*shape[:dim], *sizes, *shape[dim + 1 :]))


@differentiable
def _permute(needs: Needs, x: Array, *, dims: Any) -> OpResult:
    return x.transpose(dims), lambda dy: (dy.transpose(np.argsort(dims)),)


def permute(input: Any, dims: Sequence[int]) -> Tensor:
    """Order the axes as `dims` says."""
    ndim = ndim_of(input)
    axes = normalize_axis_tuple(dims, ndim, "dims")
    if len(axes) != ndim:
        raise ValueError(f"dims: expected {ndim} axes, got {tuple(dims)}")
    return _permute(input, dims=axes)


def transpose(input: Any, dim0: int, dim1: int) -> Tensor:
    """Exchange two axes."""
    ndim = ndim_of(input)
    dims = list(range(ndim))
    i, j = normalize_axis_index(dim0, ndim, "dim0"), normalize_axis_index(dim1, ndim, "dim1")
    dims[i], dims[j] = j, i
    return _permute(input, dims=tuple(dims))


def squeeze(input: Any, dim: int | Sequence[int] | None = None) -> Tensor:
    """Drop the axes of size 1: all, or those in `dim` that have it."""
    shape = shape_of(input)
    axes = range(len(shape)) if dim is None else normalize_axis_tuple(dim, len(shape), "dim")
    return _reshape(input, shape=tuple(s for i, s in enumerate(shape) if i not in axes or s != 1))


def unsqueeze(input: Any, dim: int) -> Tensor:
    """Insert an axis of size 1 at `dim`."""
    shape = shape_of(input)
    dim = normalize_axis_index(dim, len(shape) + 1, "dim")
    return _reshape(input, shape=(*shape[:dim], 1, *shape[dim:]))


def _selects_once(key: Any) -> bool:
    """Whether an index cannot name an element twice."""
    parts = key if isinstance(key, tuple) else (key,)
    return all(
        part is None
        or part is Ellipsis
        or isinstance(part, (int, np.integer, slice))
        or np.asarray(part).dtype.kind == "b"
        for part in parts
    )


@differentiable
def _index(needs: Needs, x: Array, *, key: Any) -> OpResult:
    shape, dtype = x.shape, x.dtype

    def vjp(dy: Array) -> Gradients:
        dx = np.zeros(shape, dtype)
        if _selects_once(key):
            dx[key] = dy
        else:
            np.add.at(dx, key, dy)
        return (dx,)

    return x[key], vjp


def index(input: Any, key: Any) -> Tensor:
    """``input[key]`` with NumPy's rules; basic indices share memory."""
    return _index(input, key=tuple(raw(k) for k in key) if isinstance(key, tuple) else raw(key))


def _joined(arrays: Sequence[Array], dim: int) -> Array:
    if arrays[0].dtype.kind == "f":
        return kernels.concatenate_forward(*arrays, axis=dim)
    return np.concatenate(arrays, axis=dim)


@differentiable
def _cat(needs: Needs, *arrays: Array, dim: int) -> OpResult:
    """The gradients are views: a map that many layers join (DenseNet) has them added up anyway."""
    ends = np.cumsum([a.shape[dim] for a in arrays])[:-1]
    return _joined(arrays, dim), lambda dy: np.split(dy, ends, axis=dim)


def cat(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Join tensors along an axis; the other sizes must agree."""
    tensors = _sequence(tensors)
    return _cat(*tensors, dim=normalize_axis_index(dim, ndim_of(tensors[0]), "dim"))


concatenate = cat


@differentiable
def _stack(needs: Needs, *arrays: Array, dim: int) -> OpResult:
    y = _joined([np.expand_dims(a, dim) for a in arrays], dim)
    return y, lambda dy: list(np.moveaxis(dy, dim, 0))


def stack(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Join tensors of one shape along a new axis."""
    tensors = _sequence(tensors)
    return _stack(*tensors, dim=normalize_axis_index(dim, ndim_of(tensors[0]) + 1, "dim"))


def _sequence(tensors: Sequence[Any]) -> list[Any]:
    if isinstance(tensors, (Tensor, np.ndarray)) or not len(tensors):
        raise ValueError(f"tensors: expected a non-empty list, got {type(tensors).__name__}")
    return list(tensors)


@differentiable
def _split(needs: Needs, x: Array, *, sizes: Any, dim: Any) -> OpResult:
    dtype = x.dtype
    pieces = tuple(np.split(x, np.cumsum(sizes)[:-1], axis=dim))
    shapes = [piece.shape for piece in pieces]

    def vjp(*dys: Array | None) -> Gradients:
        parts = [
            np.zeros(s, dtype) if dy is None else dy for s, dy in zip(shapes, dys, strict=True)
        ]
        return (np.concatenate(parts, axis=dim),)

    return pieces, vjp


def split(
    tensor: Any, split_size_or_sections: int | Sequence[int], dim: int = 0
) -> tuple[Tensor, ...]:
    """Cut an axis into pieces of one size (the last may be smaller), or of the listed sizes."""
    shape = shape_of(tensor)
    dim = normalize_axis_index(dim, len(shape), "dim")
    size, wanted = shape[dim], split_size_or_sections
    if isinstance(wanted, (int, np.integer)):
        if wanted < 1:
            raise ValueError(f"split_size_or_sections: expected at least 1, got {wanted}")
        sizes = [min(int(wanted), size - i) for i in range(0, size, int(wanted))] or [0]
    else:
        sizes = [int(s) for s in wanted]
        if sum(sizes) != size or min(sizes, default=0) < 0:
            raise ValueError(f"split_size_or_sections: expected a sum of {size}, got {sizes}")
    return _split(tensor, sizes=sizes, dim=dim)


def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut an axis into at most `chunks` pieces of one size (the last may be smaller).

    An empty axis gives `chunks` empty pieces.
    """
    if chunks < 1:
        raise ValueError(f"chunks: expected at least 1, got {chunks}")
    shape = shape_of(input)
    size = shape[normalize_axis_index(dim, len(shape), "dim")]
    return split(input, -(-size // chunks) or [0] * chunks, dim)


@differentiable
def _pad(needs: Needs, x: Array, *, widths: Any, value: Any) -> OpResult:
    keep = tuple(
        slice(max(-low, 0), n - max(-high, 0))
        for n, (low, high) in zip(x.shape, widths, strict=True)
    )
    grow = [(max(low, 0), max(high, 0)) for low, high in widths]
    shape, dtype = x.shape, x.dtype

    def vjp(dy: Array) -> Gradients:
        inside = tuple(slice(low, n - high) for n, (low, high) in zip(dy.shape, grow, strict=True))
        if x_is_whole:
            return (dy[inside],)
        dx = np.zeros(shape, dtype)
        dx[keep] = dy[inside]
        return (dx,)

    x_is_whole = x[keep].shape == shape
    return np.pad(x[keep], grow, constant_values=value), vjp


def pad(
    input: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """Pad with a constant; a negative width crops.

    Parameters
    ----------
    input : Tensor or array_like
    pad : sequence of int
        ``(low, high)`` of the last axis, then of the one before it, and so on.
    mode : {"constant"}
    value : float, optional
        What to pad with; 0 by default.

    Raises
    ------
    ValueError
        An odd number of widths or too many, more cropped than there is, or another mode.
    """
    shape = shape_of(input)
    if mode != "constant":
        raise ValueError(f'mode: expected "constant", got {mode!r}')
    if len(pad) % 2 or len(pad) > 2 * len(shape):
        raise ValueError(f"pad: expected up to {len(shape)} pairs, got {tuple(pad)}")
    pairs = [(int(pad[i]), int(pad[i + 1])) for i in range(0, len(pad), 2)][::-1]
    widths = [(0, 0)] * (len(shape) - len(pairs)) + pairs
    if any(n + low + high < 0 for n, (low, high) in zip(shape, widths, strict=True)):
        raise ValueError(f"pad: {tuple(pad)} crops more than shape {shape} has")
    return _pad(input, widths=widths, value=0 if value is None else value)


@differentiable
def _broadcast_to(needs: Needs, x: Array, *, shape: Any) -> OpResult:
    old = x.shape
    return np.broadcast_to(x, shape), lambda dy: (sum_to(dy, old),)


def broadcast_to(input: Any, shape: Sequence[int]) -> Tensor:
    """Repeat axes of size 1, and new leading axes, without a copy."""
    return _broadcast_to(input, shape=tuple(shape))


def expand(input: Any, *sizes: Any) -> Tensor:
    """Broadcast to `sizes`, where -1 keeps an axis' size."""
    wanted = list(sizes[0] if len(sizes) == 1 and np.ndim(sizes[0]) else sizes)
    shape = shape_of(input)
    lead = len(wanted) - len(shape)
    if lead < 0 or -1 in wanted[:lead]:
        raise ValueError(f"sizes: expected a size per axis of {shape}, got {tuple(wanted)}")
    return _broadcast_to(
        input, shape=tuple(shape[i - lead] if n == -1 else n for i, n in enumerate(wanted))
    )


@differentiable
def _cast(needs: Needs, x: Array, *, dtype: Any) -> OpResult:
    old = x.dtype
    return x.astype(dtype, copy=False), lambda dy: (dy.astype(old, copy=False),)


def to(input: Any, dtype: Any) -> Tensor:
    """Convert to another dtype; the gradient is converted back."""
    wanted = as_dtype(dtype)
    if not isinstance(input, Tensor):
        return Tensor(input, dtype=wanted)
    if wanted in (np.float32, np.float64):
        return _cast(input, dtype=wanted)
    if input.requires_grad:
        raise TypeError(f"dtype: expected float32 or float64 for a gradient, got {wanted}")
    return Tensor(input, dtype=wanted)


@differentiable
def _clone(needs: Needs, x: Array) -> OpResult:
    return x.copy(), lambda dy: (dy,)


def clone(input: Any) -> Tensor:
    """Copy the elements; the gradient passes through."""
    return _clone(input)
