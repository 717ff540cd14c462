"""Arrays side by side along an axis, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pydl.kernels import shapes
from pydl.kernels.registry import active, kernel


@kernel
def concatenate_forward(*arrays: np.ndarray, axis: int = 0) -> np.ndarray:
    """Join arrays along an axis.

    y[..., s_0 + ... + s_(k-1) + i, ...] = arrays[k][..., i, ...], s_k the sizes along the axis

    Parameters
    ----------
    arrays : one or more, float32 or float64, of one shape but for the size along `axis`
    axis : the axis; negative ones count from the last

    Returns
    -------
    y : dtype of the arrays

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Huang, Liu, van der Maaten, Weinberger 2016, "Densely connected convolutional networks", joins
    all earlier feature maps so.
    """
    if not arrays:
        raise ValueError("arrays: expected at least one, got none")
    first = shapes.real("arrays[0]", arrays[0])
    axis = shapes.axis("axis", axis, first.ndim)
    before, after = first.shape[:axis], first.shape[axis + 1 :]
    checked, total = [first], first.shape[axis]
    for i, value in enumerate(arrays[1:], 1):
        array = shapes.real(f"arrays[{i}]", value, None, first)
        size = array.shape[axis] if array.ndim == first.ndim else first.shape[axis]
        shapes.same_shape(f"arrays[{i}]", array, (*before, size, *after))
        total += size
        checked.append(array)
    shapes.countable("output", math.prod(before), total, math.prod(after))
    return active("concatenate_forward")(*checked, axis=axis)


@kernel
def concatenate_backward(
    dy: np.ndarray, sizes: Sequence[int], *, axis: int = 0
) -> tuple[np.ndarray, ...]:
    """Gradient of `concatenate_forward`: cut an array along an axis.

    dx_k[..., i, ...] = dy[..., s_0 + ... + s_(k-1) + i, ...], s_k = sizes[k]

    Parameters
    ----------
    dy : float32 or float64
    sizes : one or more sizes along `axis`, whose sum is dy's
    axis : the axis; negative ones count from the last

    Returns
    -------
    tuple of one array for each size, dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `concatenate_forward`.
    """
    dy = shapes.real("dy", dy)
    axis = shapes.axis("axis", axis, dy.ndim)
    if not isinstance(sizes, (tuple, list)):
        raise TypeError(f"sizes: expected a tuple of int, got {type(sizes).__name__}")
    sizes = tuple(shapes.integer("sizes", size, 0) for size in sizes)
    if not sizes or sum(sizes) != dy.shape[axis]:
        raise ValueError(
            f"sizes: expected a sum of {dy.shape[axis]} for dy of shape {dy.shape}, got {sizes}"
        )
    return active("concatenate_backward")(dy, sizes, axis=axis)
