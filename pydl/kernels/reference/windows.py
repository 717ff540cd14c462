"""Sliding windows over images as a view, and their adjoint."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pydl.kernels.shapes import Pair


def windows(
    x: np.ndarray,
    kernel_size: Pair,
    positions: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair = (1, 1),
    fill: float = 0.0,
) -> np.ndarray:
    """The elements under every position of a window: x (N,C,H,W) -> (N,C,OH,OW,KH,KW)."""
    (rows, height), (columns, width) = (
        _reach(x.shape[2 + i], kernel_size[i], positions[i], stride[i], padding[i], dilation[i])
        for i in (0, 1)
    )
    padded = np.pad(x, ((0, 0), (0, 0), rows, columns), constant_values=fill)
    view = sliding_window_view(padded, (height, width), axis=(2, 3))
    return view[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]][
        :, :, : positions[0], : positions[1]
    ]


def add_windows(
    values: np.ndarray,
    x_shape: tuple[int, ...],
    stride: Pair,
    padding: Pair,
    dilation: Pair = (1, 1),
) -> np.ndarray:
    """Add the elements of windows (N,C,OH,OW,KH,KW) up at their places in an image (N,C,H,W)."""
    n, c, h, w = x_shape
    oh, ow, kh, kw = values.shape[2:]
    (top, bottom), _ = _reach(h, kh, oh, stride[0], padding[0], dilation[0])
    (left, right), _ = _reach(w, kw, ow, stride[1], padding[1], dilation[1])
    padded = np.zeros((n, c, top + h + bottom, left + w + right), values.dtype)
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * dilation[0], i * dilation[0] + (oh - 1) * stride[0] + 1, stride[0])
            columns = slice(j * dilation[1], j * dilation[1] + (ow - 1) * stride[1] + 1, stride[1])
            padded[:, :, rows, columns] += values[:, :, :, :, i, j]
    return np.ascontiguousarray(padded[:, :, top : top + h, left : left + w])


def _reach(
    size: int, kernel_size: int, positions: int, stride: int, padding: int, dilation: int
) -> tuple[tuple[int, int], int]:
    """Padding (before, after) that every position fits in, and the extent of the dilated window."""
    extent = dilation * (kernel_size - 1) + 1
    return (padding, max(0, (positions - 1) * stride + extent - size - padding)), extent
