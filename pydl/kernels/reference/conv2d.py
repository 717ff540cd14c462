"""Convolution and its gradients as sums over patches, group by group; see `pydl.kernels.conv2d`."""

from __future__ import annotations

from typing import Any

import numpy as np

from pydl.kernels.reference.windows import add_windows, windows
from pydl.kernels.shapes import Pair, Shape, window_positions


def conv2d_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    algorithm: str,
    relu: bool = False,
    residual: np.ndarray | None = None,
    cache: dict[Any, Any] | None = None,
) -> np.ndarray:
    """x (N,C,H,W), w (OC,C/groups,KH,KW), b (OC,), residual of y -> y (N,OC,OH,OW)."""
    patches = _patches(x, w.shape, stride, padding, dilation)
    y = np.empty((x.shape[0], w.shape[0], *patches.shape[2:4]), x.dtype)
    for inputs, outputs in _groups(x.shape[1], w.shape[0], groups):
        # (OC,C,KH,KW) x (N,C,OH,OW,KH,KW) -> (OC,N,OH,OW)
        sums = np.tensordot(w[outputs], patches[:, inputs], axes=((1, 2, 3), (1, 4, 5)))
        y[:, outputs] = sums.transpose(1, 0, 2, 3)
    if b is not None:
        y += b[:, None, None]
    if residual is not None:
        y += residual
    return np.where(y < 0, 0, y) if relu else y


def conv2d_backward_input(
    dy: np.ndarray,
    w: np.ndarray,
    x_shape: tuple[int, int, int, int],
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    algorithm: str,
) -> np.ndarray:
    """dy (N,OC,OH,OW), w (OC,C/groups,KH,KW) -> dx (N,C,H,W)."""
    dx = np.empty(x_shape, dy.dtype)
    for inputs, outputs in _groups(x_shape[1], w.shape[0], groups):
        # (N,OC,OH,OW) x (OC,C,KH,KW) -> (N,OH,OW,C,KH,KW)
        dpatches = np.tensordot(dy[:, outputs], w[outputs], axes=((1,), (0,)))
        shape = (x_shape[0], w.shape[1], *x_shape[2:])
        dx[:, inputs] = add_windows(
            dpatches.transpose(0, 3, 1, 2, 4, 5), shape, stride, padding, dilation
        )
    return dx


def conv2d_backward_weight(
    dy: np.ndarray,
    x: np.ndarray,
    w_shape: tuple[int, int, int, int],
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    algorithm: str,
) -> np.ndarray:
    """dy (N,OC,OH,OW), x (N,C,H,W) -> dw (OC,C/groups,KH,KW)."""
    patches = _patches(x, w_shape, stride, padding, dilation)
    dw = np.empty(w_shape, dy.dtype)
    for inputs, outputs in _groups(x.shape[1], w_shape[0], groups):
        # (N,OC,OH,OW) x (N,C,OH,OW,KH,KW) -> (OC,C,KH,KW)
        dw[outputs] = np.tensordot(dy[:, outputs], patches[:, inputs], axes=((0, 2, 3), (0, 2, 3)))
    return dw


def conv2d_backward_bias(dy: np.ndarray) -> np.ndarray:
    """dy (N,OC,OH,OW) -> db (OC,)."""
    return dy.sum(axis=(0, 2, 3))


def conv2d_backward(
    dy: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    algorithm: str,
    needs: tuple[bool, bool, bool],
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """dy (N,OC,OH,OW), x (N,C,H,W), w (OC,C/groups,KH,KW) -> dx, dw, db or None."""
    options: dict[str, Any] = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "algorithm": algorithm,
    }
    return (
        conv2d_backward_input(dy, w, x.shape, **options) if needs[0] else None,
        conv2d_backward_weight(dy, x, w.shape, **options) if needs[1] else None,
        conv2d_backward_bias(dy) if needs[2] else None,
    )


def _patches(
    x: np.ndarray, w_shape: Shape, stride: Pair, padding: Pair, dilation: Pair
) -> np.ndarray:
    kernel_size = (w_shape[2], w_shape[3])
    positions = window_positions((x.shape[2], x.shape[3]), kernel_size, stride, padding, dilation)
    return windows(x, kernel_size, positions, stride, padding, dilation)


def _groups(channels: int, out_channels: int, groups: int) -> list[tuple[slice, slice]]:
    """The input and the output channels of every group."""
    c, oc = channels // groups, out_channels // groups
    return [(slice(g * c, (g + 1) * c), slice(g * oc, (g + 1) * oc)) for g in range(groups)]
