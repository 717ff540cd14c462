"""Pooling over images and sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pydl import kernels
from pydl.autograd import Array, Needs, OpResult, Tensor, differentiable
from pydl.kernels import shapes

from .arithmetic import mul
from .conv2d import as_tuple, row_pair
from .shape import ndim_of, reshape, shape_of, squeeze, unsqueeze

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "max_pool1d",
    "max_pool2d",
]

Pair = int | Sequence[int]


@differentiable
def _max_pool2d(
    needs: Needs, x: Array, *, kernel_size: Any, return_argmax: Any, **options: Any
) -> OpResult:
    shape = x.shape
    y, argmax = kernels.max_pool2d_forward(
        x, kernel_size, return_argmax=return_argmax or needs[0], **options
    )
    return (y, argmax), lambda dy, _: (kernels.max_pool2d_backward(dy, argmax, shape),)


def max_pool2d(
    input: Any,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Take the largest element of every window.

    Parameters
    ----------
    input : (N, C, H, W), or (C, H, W) for one image
    kernel_size, stride, padding, dilation : int or (h, w)
        `stride` is the kernel size by default.
    ceil_mode : bool
        Round the output size up.
    return_indices : bool
        Return also the position h * W + w of each maximum.

    Returns
    -------
    Tensor (N, C, OH, OW), and with `return_indices` an int32 array of that shape
    """
    single = ndim_of(input) == 3
    y, argmax = _max_pool2d(
        unsqueeze(input, 0) if single else input,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        return_argmax=return_indices,
    )
    y = squeeze(y, 0) if single else y
    if not return_indices:
        return y
    return y, argmax.data[0] if single else argmax.data


def max_pool1d(
    input: Any,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Take the largest element of every window of (N, C, L) or (C, L) -> (..., OL)."""
    result = max_pool2d(
        _row(input),
        row_pair(kernel_size, "kernel_size", 1),
        None if stride is None else row_pair(stride, "stride", 1),
        row_pair(padding, "padding", 0),
        row_pair(dilation, "dilation", 1),
        ceil_mode,
        return_indices,
    )
    if not return_indices:
        return squeeze(result, -2)
    return squeeze(result[0], -2), result[1].squeeze(-2)


def _row(input: Any) -> Tensor:
    if ndim_of(input) not in (2, 3):
        raise ValueError(f"input: expected 2 or 3 axes, got {ndim_of(input)}")
    return unsqueeze(input, -2)


@differentiable
def _avg_pool2d(needs: Needs, x: Array, *, kernel_size: Any, **options: Any) -> OpResult:
    shape = x.shape
    y = kernels.avg_pool2d_forward(x, kernel_size, **options)
    return y, lambda dy: (kernels.avg_pool2d_backward(dy, shape, kernel_size, **options),)


def _counts(size: int, output: int, kernel: int, stride: int, padding: int) -> np.ndarray:
    """Elements, padding included, in each of the windows along an axis."""
    start = np.arange(output) * stride
    return np.minimum(start + kernel, size + 2 * padding) - start


def avg_pool2d(
    input: Any,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Average every window.

    Parameters
    ----------
    input : (N, C, H, W), or (C, H, W) for one image
    kernel_size, stride, padding : int or (h, w)
        `stride` is the kernel size by default.
    ceil_mode : bool
        Round the output size up.
    count_include_pad : bool
        Count the padding in the divisor.
    divisor_override : int, optional
        Divide every sum by this instead.

    Returns
    -------
    Tensor, (N, C, OH, OW)

    Raises
    ------
    ValueError
        A size out of range, a window that does not fit, or a divisor of 0.
    TypeError
        An option or an input of another type.
    """
    single = ndim_of(input) == 3
    y = _avg_pool2d(
        unsqueeze(input, 0) if single else input,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad or divisor_override is not None,
    )
    if divisor_override is not None:
        if shapes.number("divisor_override", divisor_override) == 0:
            raise ValueError("divisor_override: expected another number than 0")
        window, pads = as_tuple(kernel_size, 2, "kernel_size"), as_tuple(padding, 2, "padding")
        steps = window if stride is None else as_tuple(stride, 2, "stride")
        sizes = shape_of(input)[-2:]
        rows, columns = (
            _counts(sizes[i], y.shape[2 + i], window[i], steps[i], pads[i]) for i in (0, 1)
        )
        y = mul(y, (np.outer(rows, columns) / divisor_override).astype(y.dtype))
    return squeeze(y, 0) if single else y


def avg_pool1d(
    input: Any,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Average every window of (N, C, L) or (C, L) -> (..., OL)."""
    y = avg_pool2d(
        _row(input),
        row_pair(kernel_size, "kernel_size", 1),
        None if stride is None else row_pair(stride, "stride", 1),
        row_pair(padding, "padding", 0),
        ceil_mode,
        count_include_pad,
    )
    return squeeze(y, -2)


@differentiable
def _global_avg_pool2d(needs: Needs, x: Array) -> OpResult:
    shape = x.shape
    y = kernels.global_avg_pool2d_forward(x)
    return y, lambda dy: (kernels.global_avg_pool2d_backward(dy, shape),)


@differentiable
def _adaptive_avg_pool2d(needs: Needs, x: Array, *, output_size: Any) -> OpResult:
    shape = x.shape
    y = kernels.adaptive_avg_pool2d_forward(x, output_size)
    return y, lambda dy: (kernels.adaptive_avg_pool2d_backward(dy, shape),)


def adaptive_avg_pool2d(input: Any, output_size: int | Sequence[int | None] | None) -> Tensor:
    """Average windows that cut the image evenly into a given number.

    Window i of o along an axis of size s holds the elements floor(i s / o) to ceil((i + 1) s / o).

    Parameters
    ----------
    input : (N, C, H, W), or (C, H, W) for one image
    output_size : int or (h, w)
        None keeps a size.

    Returns
    -------
    Tensor, (N, C, OH, OW)

    Raises
    ------
    ValueError
        Other axes, or an output size below 1.
    TypeError
        An output size or an input of another type.
    """
    shape = shape_of(input)
    if len(shape) not in (3, 4):
        raise ValueError(f"input: expected 3 or 4 axes, got {len(shape)}")
    wanted = (None, None) if output_size is None else as_tuple(output_size, 2, "output_size")
    if len(wanted) != 2:
        raise ValueError(f"output_size: expected an int or a pair, got {output_size}")
    (height, width), images = shape[-2:], input if len(shape) == 4 else unsqueeze(input, 0)
    oh, ow = (size if n is None else n for n, size in zip(wanted, (height, width), strict=True))
    if oh < 1 or ow < 1 or height < 1 or width < 1:
        raise ValueError(f"output_size: expected at least 1 of {shape}, got {output_size}")
    if (oh, ow) == (1, 1):
        y = _global_avg_pool2d(images)
    elif height % oh == 0 and width % ow == 0:
        y = avg_pool2d(images, (height // oh, width // ow))
    else:
        y = _adaptive_avg_pool2d(images, output_size=(oh, ow))
    return reshape(y, (*shape[:-2], oh, ow))


def adaptive_avg_pool1d(input: Any, output_size: int | Sequence[int]) -> Tensor:
    """Average windows that cut (N, C, L) or (C, L) evenly into a given number -> (..., OL)."""
    return squeeze(adaptive_avg_pool2d(_row(input), row_pair(output_size, "output_size", 1)), -2)
