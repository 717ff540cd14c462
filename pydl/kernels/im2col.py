"""Image patches as columns of a matrix, and their sum back into an image."""

from __future__ import annotations

import numpy as np

from pydl.kernels import shapes
from pydl.kernels.registry import active, kernel
from pydl.kernels.shapes import PairLike


@kernel
def im2col(
    x: np.ndarray,
    kernel_size: PairLike,
    *,
    stride: PairLike = 1,
    padding: PairLike = 0,
    dilation: PairLike = 1,
) -> np.ndarray:
    """Lay the patches under a sliding window out as columns.

    cols[n, (c KH + kh) KW + kw, oh OW + ow] = x[n, c, oh sh - ph + kh dh, ow sw - pw + kw dw], 0
    outside of x

    Parameters
    ----------
    x : (N, C, H, W), float32 or float64
    kernel_size, stride, padding, dilation : int or (h, w)

    Returns
    -------
    cols : (N, C*KH*KW, OH*OW), dtype of x

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Chellapilla, Puri, Simard 2006, "High performance convolutional neural networks for document
    processing".
    """
    x = shapes.real("x", x, shapes.IMAGES)
    kernel_size = shapes.pair("kernel_size", kernel_size, 1)
    stride = shapes.pair("stride", stride, 1)
    padding = shapes.pair("padding", padding, 0)
    dilation = shapes.pair("dilation", dilation, 1)
    shapes.filled("x", x)
    _columns_shape(x.shape, kernel_size, stride, padding, dilation)
    return active("im2col")(x, kernel_size, stride=stride, padding=padding, dilation=dilation)


@kernel
def col2im(
    cols: np.ndarray,
    image_shape: tuple[int, int, int, int],
    kernel_size: PairLike,
    *,
    stride: PairLike = 1,
    padding: PairLike = 0,
    dilation: PairLike = 1,
) -> np.ndarray:
    """Add columns up at the places that `im2col` takes them from; the adjoint of `im2col`.

    x[n, c, h, w] = sum of cols[n, (c KH + kh) KW + kw, oh OW + ow] over all places with
    h = oh sh - ph + kh dh and w = ow sw - pw + kw dw

    Parameters
    ----------
    cols : (N, C*KH*KW, OH*OW), float32 or float64
    image_shape : (N, C, H, W)
    kernel_size, stride, padding, dilation : int or (h, w)

    Returns
    -------
    x : (N, C, H, W), dtype of cols

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `im2col`.
    """
    cols = shapes.real("cols", cols, shapes.COLUMNS)
    image_shape = shapes.shape4("image_shape", image_shape, shapes.IMAGES)
    kernel_size = shapes.pair("kernel_size", kernel_size, 1)
    stride = shapes.pair("stride", stride, 1)
    padding = shapes.pair("padding", padding, 0)
    dilation = shapes.pair("dilation", dilation, 1)
    shapes.same_shape(
        "cols", cols, _columns_shape(image_shape, kernel_size, stride, padding, dilation)
    )
    return active("col2im")(
        cols, image_shape, kernel_size, stride=stride, padding=padding, dilation=dilation
    )


def _columns_shape(
    image_shape: shapes.Shape,
    kernel_size: shapes.Pair,
    stride: shapes.Pair,
    padding: shapes.Pair,
    dilation: shapes.Pair,
) -> tuple[int, int, int]:
    n, c, h, w = image_shape
    oh, ow = shapes.window_positions((h, w), kernel_size, stride, padding, dilation)
    rows = c * kernel_size[0] * kernel_size[1]
    shapes.countable("output", n, rows, oh, ow)
    return n, rows, oh * ow
