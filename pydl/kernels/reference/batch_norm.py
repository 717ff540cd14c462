"""Batch normalisation; see `pydl.kernels.batch_norm`."""

from __future__ import annotations

import numpy as np


def batch_norm_forward(
    x: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    *,
    eps: float,
    relu: bool,
    out: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (N,C,...) -> y = (x - mean) rstd weight + bias + residual; mean (C,); rstd (C,)."""
    axes = _all_but_channels(x)
    mean = _mean(x, axes)
    with np.errstate(invalid="ignore"):
        var = _mean((x - _along_channels(mean, x)) ** 2, axes)
    rstd = (1 / np.sqrt(var + eps)).astype(x.dtype)
    return _normalise(x, mean, rstd, weight, bias, residual, relu, out), mean, rstd


def batch_norm_inference(
    x: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    *,
    eps: float,
    relu: bool,
    out: np.ndarray | None,
) -> np.ndarray:
    """x (N,C,...) -> y = (x - mean) / sqrt(var + eps) weight + bias."""
    with np.errstate(invalid="ignore"):
        rstd = (1 / np.sqrt(var + eps)).astype(x.dtype)
    return _normalise(x, mean, rstd, weight, bias, residual, relu, out)


def batch_norm_backward(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    rstd: np.ndarray,
    weight: np.ndarray | None = None,
    y: np.ndarray | None = None,
    *,
    training: bool,
    residual: bool,
    bias: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """Gradients with respect to x, weight, bias and, if asked for, residual.

    With the gradient g behind the ReLU, whose y is given or x^ weight + bias, and
    x^ = (x - mean) rstd: dbias = sum g, dweight = sum g x^,
    dx = weight rstd (g - dbias / m - x^ dweight / m) for the m values of a channel; the last two
    terms come from the statistics, and are not there where those were constants.
    """
    axes = _all_but_channels(x)
    with np.errstate(invalid="ignore"):
        normalised = (x - _along_channels(mean, x)) * _along_channels(rstd, x)
        if bias is not None:
            y = normalised if weight is None else normalised * _along_channels(weight, x)
            y = y + _along_channels(bias, x)
        g = dy if y is None else np.where(y <= 0, dy.dtype.type(0), dy)
        dbias = g.sum(axes)
        dweight = (g * normalised).sum(axes)
        dx = g
        if training and x.size:
            count = x.size // x.shape[1]
            dx = g - _along_channels(dbias / count, x)
            dx = dx - normalised * _along_channels(dweight / count, x)
        scale = rstd if weight is None else rstd * weight
        dx = np.ascontiguousarray(dx * _along_channels(scale, x))
    if residual:
        return dx, dweight, dbias, np.array(g, order="C")
    return dx, dweight, dbias


def _all_but_channels(x: np.ndarray) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _along_channels(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(C,) as (C,1,...), which broadcasts against x (N,C,...)."""
    return values.reshape(-1, *(1,) * (x.ndim - 2))


def _mean(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The mean over axes; 0 where there is nothing."""
    with np.errstate(invalid="ignore"):
        return x.mean(axes) if x.size else np.zeros(x.shape[1], x.dtype)


def _normalise(
    x: np.ndarray,
    mean: np.ndarray,
    rstd: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    residual: np.ndarray | None,
    relu: bool,
    out: np.ndarray | None,
) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        scale = rstd if weight is None else rstd * weight
        y = (x - _along_channels(mean, x)) * _along_channels(scale, x)
        if bias is not None:
            y = y + _along_channels(bias, x)
        if residual is not None:
            y = y + residual
        if relu:
            y = np.where(y < 0, y.dtype.type(0), y)
    if out is None:
        return np.ascontiguousarray(y)
    out[...] = y
    return out
