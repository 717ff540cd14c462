"""Convolution over images and sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pydl import kernels
from pydl.autograd import Array, Gradients, Needs, OpResult, Tensor, differentiable
from pydl.runtime import empty

from .shape import ndim_of, pad, shape_of, squeeze, unsqueeze

__all__ = ["conv1d", "conv2d"]


@differentiable
def _conv2d(
    needs: Needs,
    x: Array,
    w: Array,
    b: Array,
    residual: Array,
    *,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    relu: bool,
    cache: dict[Any, Any] | None,
) -> OpResult:
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    y = kernels.conv2d_forward(x, w, b, relu=relu, residual=residual, cache=cache, **options)
    kept = y if relu else None

    def vjp(dy: Array) -> Gradients:
        if kept is not None:
            dy = kernels.relu_backward(dy, kept)
        elif not dy.flags.c_contiguous:  # a part of a concatenation's: copied for all kernels here
            dy, part = empty(dy.shape, dy.dtype), dy
            dy[...] = part
        gradients = kernels.conv2d_backward(dy, x, w, needs=needs[:3], **options)
        return (*gradients, dy if needs[3] else None)

    return y, vjp


def as_tuple(value: Any, count: int, name: str) -> tuple[Any, ...]:
    """Repeat a number `count` times; a sequence stays as it is."""
    if isinstance(value, (int, np.integer)):
        return (value,) * count
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"{name}: expected an int or a sequence of {count}, got {value!r}")
    return tuple(value)


def _same(input: Any, weight: Any, stride: Any, dilation: Any) -> tuple[Any, tuple[int, ...]]:
    """Pad where padding="same" is asymmetric, and return the symmetric padding that remains."""
    kernel = shape_of(weight)[2:]
    if any(s != 1 for s in as_tuple(stride, len(kernel), "stride")):
        raise ValueError(f'padding: "same" needs stride 1, got {stride}')
    spread = as_tuple(dilation, len(kernel), "dilation")
    totals = [d * (k - 1) for d, k in zip(spread, kernel, strict=True)]
    if any(total % 2 for total in totals):
        input = pad(input, [width for total in totals[::-1] for width in (0, total % 2)])
    return input, tuple(total // 2 for total in totals)


def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    relu: bool = False,
    residual: Any = None,
    cache: dict[Any, Any] | None = None,
) -> Tensor:
    """Cross-correlate images with filters.

    y[n, o, i, j] = bias[o] + sum over c, u, v of weight[o, c, u, v] times
    input[n, c, i stride + u dilation - padding, j stride + v dilation - padding]

    Parameters
    ----------
    input : (N, C, H, W), or (C, H, W) for one image
    weight : (OC, C / groups, KH, KW)
    bias : (OC,), optional
    stride, dilation : int or (h, w)
    padding : int, (h, w), "valid" or "same"
        "same" keeps H and W, needs stride 1, and pads an odd total more at the end.
    groups : int
    relu : bool
        Not in PyTorch: 0 in place of what is negative, as `relu` does, in the convolution's own
        pass over the result.
    residual : of the result's shape, optional
        Not in PyTorch: added before the ReLU, in the same pass.
    cache : dict, optional
        Not in PyTorch: for further calls with the same weight, whose values do not change; see
        `kernels.conv2d_forward`.

    Returns
    -------
    Tensor, (N, OC, OH, OW) or (OC, OH, OW)
        OH = floor((H + 2 padding - dilation (KH - 1) - 1) / stride) + 1, and OW likewise

    Raises
    ------
    ValueError
        If shapes do not fit, an option is out of range or the output would be empty.
    TypeError
        If dtypes differ.
    """
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f'padding: expected numbers, "same" or "valid", got {padding!r}')
        if padding == "same":
            input, padding = _same(input, weight, stride, dilation)
        else:
            padding = 0
    options = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "relu": relu,
        "cache": cache,
    }
    if ndim_of(input) == 3:
        if residual is not None:
            residual = unsqueeze(residual, 0)
        return squeeze(_conv2d(unsqueeze(input, 0), weight, bias, residual, **options), 0)
    return _conv2d(input, weight, bias, residual, **options)


def row_pair(value: Any, name: str, of_height: int) -> tuple[int, int]:
    """Turn an option of a sequence, an int or a 1-tuple, into that of an image of one row."""
    values = as_tuple(value, 1, name)
    if len(values) != 1:
        raise ValueError(f"{name}: expected an int or a sequence of 1, got {value}")
    return of_height, values[0]


def conv1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlate sequences with filters: `conv2d` on images of one row.

    Parameters
    ----------
    input : (N, C, L), or (C, L) for one sequence
    weight : (OC, C / groups, K)
    bias : (OC,), optional
    stride, padding, dilation, groups : as for `conv2d`

    Returns
    -------
    Tensor, (N, OC, OL) or (OC, OL)

    Raises
    ------
    ValueError, TypeError
        As for `conv2d`.
    """
    if ndim_of(weight) != 3:
        raise ValueError(f"weight: expected 3 axes, got {ndim_of(weight)}")
    if ndim_of(input) not in (2, 3):
        raise ValueError(f"input: expected 2 or 3 axes, got {ndim_of(input)}")
    y = conv2d(
        unsqueeze(input, -2),
        unsqueeze(weight, -2),
        bias,
        row_pair(stride, "stride", 1),
        padding if isinstance(padding, str) else row_pair(padding, "padding", 0),
        row_pair(dilation, "dilation", 1),
        groups,
    )
    return squeeze(y, -2)
