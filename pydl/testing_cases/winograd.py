"""Winograd's convolution on random shapes: its errors beside the bound of docs/numerics.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pydl import kernels
from pydl.testing import tolerance
from pydl.testing_cases.case import normal
from pydl.testing_cases.conv2d import winograd_terms

__all__ = ["WinogradError", "convolution_arrays", "three_directions", "winograd_errors"]


class WinogradError(NamedTuple):
    """The largest error of one direction on one shape, and its bound."""

    of: str  # y, dx or dw
    x: tuple[int, ...]
    w: tuple[int, ...]
    padding: tuple[int, int]
    error: float
    limit: float


def convolution_arrays(
    rng: np.random.Generator,
    x: tuple[int, int, int, int],
    w: tuple[int, int, int, int],
    padding: tuple[int, int],
    dtype: np.typing.DTypeLike = np.float32,
) -> list[np.ndarray]:
    """Normal numbers for x (N,C,H,W), w (OC,C,KH,KW) and the dy that belongs to stride 1."""
    oh, ow = (size + 2 * p - k + 1 for size, p, k in zip(x[2:], padding, w[2:], strict=True))
    return [normal(rng, np.dtype(dtype), *shape) for shape in (x, w, (x[0], w[0], oh, ow))]


def three_directions(
    x: np.ndarray,
    w: np.ndarray,
    dy: np.ndarray,
    padding: int | tuple[int, int],
    algorithm: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, dx and dw of a convolution of stride 1 by this algorithm."""
    return (
        kernels.conv2d_forward(x, w, padding=padding, algorithm=algorithm),
        kernels.conv2d_backward_input(dy, w, x.shape, padding=padding, algorithm=algorithm),
        kernels.conv2d_backward_weight(dy, x, w.shape, padding=padding, algorithm=algorithm),
    )


def winograd_errors(count: int, rng: np.random.Generator) -> Iterator[WinogradError]:
    """y, dx and dw of `count` random shapes in float32, against the direct algorithm in float64.

    Kernels are 3x3 or 5x5, images have up to 23 rows and columns, channels up to 39 on both sides.
    """
    for _ in range(count):
        k = int(rng.choice([3, 5]))
        n, c, oc = (int(v) for v in rng.integers(1, (4, 40, 40)))
        padding = int(rng.integers(k + 1)), int(rng.integers(k + 1))
        h, width = (int(v) for v in rng.integers(k, 24, 2))
        x, w, dy = convolution_arrays(rng, (n, c, h, width), (oc, c, k, k), padding)
        got = three_directions(x, w, dy, padding, "winograd")
        x64, w64, dy64 = (a.astype(np.float64) for a in (x, w, dy))
        exact = three_directions(x64, w64, dy64, padding, "direct")
        terms = c * k * k, oc * k * k, n * dy.shape[2] * dy.shape[3]
        for of, a, b, many in zip(("y", "dx", "dw"), got, exact, terms, strict=True):
            scale = max(1.0, float(np.abs(b).max()))
            limit = tolerance(np.float32, winograd_terms(k, of, many), scale)
            yield WinogradError(of, x.shape, w.shape, padding, float(np.abs(a - b).max()), limit)
