"""Image patches as columns; see `pydl.kernels.im2col`."""

from __future__ import annotations

import numpy as np

from pydl.kernels.reference.windows import add_windows, windows
from pydl.kernels.shapes import Pair, window_positions


def im2col(
    x: np.ndarray, kernel_size: Pair, *, stride: Pair, padding: Pair, dilation: Pair
) -> np.ndarray:
    """x (N,C,H,W) -> cols (N, C*KH*KW, OH*OW)."""
    n, c, h, w = x.shape
    kh, kw = kernel_size
    oh, ow = window_positions((h, w), kernel_size, stride, padding, dilation)
    patches = windows(x, kernel_size, (oh, ow), stride, padding, dilation)
    return patches.transpose(0, 1, 4, 5, 2, 3).copy().reshape(n, c * kh * kw, oh * ow)


def col2im(
    cols: np.ndarray,
    image_shape: tuple[int, int, int, int],
    kernel_size: Pair,
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> np.ndarray:
    """cols (N, C*KH*KW, OH*OW) -> x (N,C,H,W)."""
    n, c, h, w = image_shape
    oh, ow = window_positions((h, w), kernel_size, stride, padding, dilation)
    patches = cols.reshape(n, c, *kernel_size, oh, ow).transpose(0, 1, 4, 5, 2, 3)
    return add_windows(patches, image_shape, stride, padding, dilation)
