"""Pooling and its gradients; see `pydl.kernels.pool2d`."""

from __future__ import annotations

import numpy as np

from pydl.kernels.reference.windows import add_windows, windows
from pydl.kernels.shapes import BAD_INDEX, Pair, Shape, pool_positions


def max_pool2d_forward(
    x: np.ndarray,
    kernel_size: Pair,
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
    return_argmax: bool,
) -> tuple[np.ndarray, np.ndarray | None]:
    """x (N,C,H,W) -> y (N,C,OH,OW), argmax (N,C,OH,OW) int32."""
    n, c, h, w = x.shape
    positions = pool_positions((h, w), kernel_size, stride, padding, dilation, ceil_mode)
    over = (kernel_size, positions, stride, padding, dilation)
    values = windows(x, *over, fill=-np.inf).reshape(
        n, c, *positions, kernel_size[0] * kernel_size[1]
    )
    y = values.max(axis=4)
    if not return_argmax:
        return y, None
    places = windows(np.arange(h * w, dtype=np.float64).reshape(1, 1, h, w), *over, fill=-1)
    places = places.reshape(*positions, kernel_size[0] * kernel_size[1]).astype(np.int32)
    is_max = (places >= 0) & ((values == y[..., None]) | np.isnan(values))
    first = is_max.argmax(axis=4)
    last = is_max.shape[4] - 1 - is_max[..., ::-1].argmax(axis=4)
    chosen = np.where(np.isnan(y), last, first)
    argmax = np.take_along_axis(np.broadcast_to(places, is_max.shape), chosen[..., None], axis=4)[
        ..., 0
    ]
    return y, np.ascontiguousarray(argmax)


def max_pool2d_backward(
    dy: np.ndarray, argmax: np.ndarray, x_shape: tuple[int, int, int, int]
) -> np.ndarray:
    """dy, argmax (N,C,OH,OW) -> dx (N,C,H,W)."""
    n, c, h, w = x_shape
    if ((argmax < 0) | (argmax >= h * w)).any():
        raise ValueError(BAD_INDEX["max_pool2d_backward"])
    dx = np.zeros((n * c, h * w), dy.dtype)
    planes = np.arange(n * c)[:, None]
    per_plane = (n * c, dy.shape[2] * dy.shape[3])
    np.add.at(dx, (planes, argmax.reshape(per_plane)), dy.reshape(per_plane))
    return dx.reshape(x_shape)


def avg_pool2d_forward(
    x: np.ndarray,
    kernel_size: Pair,
    *,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
) -> np.ndarray:
    """x (N,C,H,W) -> y (N,C,OH,OW)."""
    size = (x.shape[2], x.shape[3])
    positions = pool_positions(size, kernel_size, stride, padding, (1, 1), ceil_mode)
    sums = windows(x, kernel_size, positions, stride, padding).sum(axis=(4, 5))
    count = _count(size, kernel_size, positions, stride, padding, count_include_pad)
    return np.ascontiguousarray(sums / count.astype(x.dtype))


def avg_pool2d_backward(
    dy: np.ndarray,
    x_shape: tuple[int, int, int, int],
    kernel_size: Pair,
    *,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
) -> np.ndarray:
    """dy (N,C,OH,OW) -> dx (N,C,H,W)."""
    size, positions = (x_shape[2], x_shape[3]), (dy.shape[2], dy.shape[3])
    count = _count(size, kernel_size, positions, stride, padding, count_include_pad)
    shares = dy / count.astype(dy.dtype)
    values = np.broadcast_to(shares[..., None, None], (*dy.shape, *kernel_size))
    return add_windows(values, x_shape, stride, padding)


def global_avg_pool2d_forward(x: np.ndarray) -> np.ndarray:
    """x (N,C,H,W) -> y (N,C)."""
    return np.ascontiguousarray(x.mean(axis=(2, 3)))


def global_avg_pool2d_backward(dy: np.ndarray, x_shape: Shape) -> np.ndarray:
    """dy (N,C) -> dx (N,C,H,W)."""
    return np.broadcast_to((dy / (x_shape[2] * x_shape[3]))[:, :, None, None], x_shape).copy()


def adaptive_avg_pool2d_forward(x: np.ndarray, output_size: Pair) -> np.ndarray:
    """x (N,C,H,W) -> y (N,C,OH,OW)."""
    y = np.empty((*x.shape[:2], *output_size), x.dtype)
    for i, rows in enumerate(_parts(x.shape[2], output_size[0])):
        for j, columns in enumerate(_parts(x.shape[3], output_size[1])):
            y[:, :, i, j] = x[:, :, rows, columns].mean(axis=(2, 3))
    return y


def adaptive_avg_pool2d_backward(dy: np.ndarray, x_shape: Shape) -> np.ndarray:
    """dy (N,C,OH,OW) -> dx (N,C,H,W)."""
    dx = np.zeros(x_shape, dy.dtype)
    for i, rows in enumerate(_parts(x_shape[2], dy.shape[2])):
        for j, columns in enumerate(_parts(x_shape[3], dy.shape[3])):
            count = (rows.stop - rows.start) * (columns.stop - columns.start)
            dx[:, :, rows, columns] += (dy[:, :, i, j] / count)[:, :, None, None]
    return dx


def _parts(size: int, count: int) -> list[slice]:
    """The places floor(i size / count) to ceil((i + 1) size / count) of each window i."""
    return [slice(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _count(
    size: Pair, kernel_size: Pair, positions: Pair, stride: Pair, padding: Pair, include_pad: bool
) -> np.ndarray:
    """Number of places that each window averages over: (OH,OW)."""
    per_axis = []
    for s, k, o, st, p in zip(size, kernel_size, positions, stride, padding, strict=True):
        start = np.arange(o) * st - p
        end = np.minimum(start + k, s + p)
        if not include_pad:
            start, end = np.maximum(start, 0), np.minimum(end, s)
        per_axis.append(end - start)
    return np.outer(*per_axis)
