"""Normalisation as a fluent NumPy user writes it: one temporary, changed in place, and einsum."""

from __future__ import annotations

from math import prod

import numpy as np

__all__ = [
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_inference",
    "layer_norm_backward",
    "layer_norm_forward",
]


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
    """x (N,C,...) -> y, mean (C,), rstd (C,)."""
    if not x.size:
        zeros = np.zeros(x.shape[1], x.dtype)
        return x.copy(), zeros, zeros + x.dtype.type(eps**-0.5)
    planes = _planes(x)
    mean = planes.mean((0, 2))
    with np.errstate(invalid="ignore"):
        y = planes - mean[:, None]
        var = np.einsum("ncs,ncs->c", y, y) / (x.size // len(mean))
    rstd = 1 / np.sqrt(var + x.dtype.type(eps))
    return _finished(y, rstd, weight, bias, residual, relu, out, x.shape), mean, rstd


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
    """x (N,C,...) -> y."""
    y = _planes(x) - mean[:, None]
    rstd = 1 / np.sqrt(var + x.dtype.type(eps))
    return _finished(y, rstd, weight, bias, residual, relu, out, x.shape)


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
) -> tuple[np.ndarray, ...]:
    """-> dx, dweight, dbias and, if asked for, dresidual."""
    g = _planes(np.array(dy) if y is None else np.where(y <= 0, dy.dtype.type(0), dy))
    centred = _planes(x) - mean[:, None]
    with np.errstate(invalid="ignore"):
        dbias = g.sum((0, 2))
        dweight = np.einsum("ncs,ncs->c", g, centred) * rstd
        if training and x.size:
            count = x.size // len(mean)
            centred *= (dweight * rstd / count)[:, None]
            centred += (dbias / count)[:, None]
            dx = np.subtract(g, centred, out=centred)
        else:
            dx = g.copy()
        dx *= (rstd if weight is None else rstd * weight)[:, None]
    results = dx.reshape(x.shape), dweight, dbias
    return (*results, g.reshape(x.shape)) if residual else results


def layer_norm_forward(
    x: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    *,
    normalized_ndim: int,
    eps: float,
    out: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (..., *D) -> y, mean (...), rstd (...)."""
    leading = x.shape[: x.ndim - normalized_ndim]
    rows = x.reshape(prod(leading), prod(x.shape[len(leading) :]))
    mean = rows.mean(1)
    with np.errstate(invalid="ignore"):
        y = rows - mean[:, None]
        rstd = 1 / np.sqrt(np.einsum("rd,rd->r", y, y) / y.shape[1] + x.dtype.type(eps))
        y *= rstd[:, None]
        if weight is not None:
            y *= weight.reshape(-1)
        if bias is not None:
            y += bias.reshape(-1)
    return _placed(y, x.shape, out), mean.reshape(leading), rstd.reshape(leading)


def layer_norm_backward(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    rstd: np.ndarray,
    weight: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-> dx, dweight, dbias."""
    tail = x.shape[mean.ndim :]
    rows = (mean.size, prod(tail))
    g, normalised = dy.reshape(rows), x.reshape(rows) - mean.reshape(-1, 1)
    normalised *= rstd.reshape(-1, 1)
    with np.errstate(invalid="ignore"):
        dbias = g.sum(0)
        dweight = np.einsum("rd,rd->d", g, normalised)
        if weight is not None:
            g = g * weight.reshape(-1)
        size = g.shape[1]
        normalised *= (np.einsum("rd,rd->r", g, normalised) / size)[:, None]
        normalised += g.mean(1)[:, None]
        dx = np.subtract(g, normalised, out=normalised)
        dx *= rstd.reshape(-1, 1)
    return dx.reshape(x.shape), dweight.reshape(tail), dbias.reshape(tail)


def _planes(x: np.ndarray) -> np.ndarray:
    """(N,C,...) as (N,C,S)."""
    return x.reshape(*x.shape[:2], prod(x.shape[2:]))


def _finished(
    y: np.ndarray,
    rstd: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    residual: np.ndarray | None,
    relu: bool,
    out: np.ndarray | None,
    shape: tuple[int, ...],
) -> np.ndarray:
    """The centred y (N,C,S), scaled in place and of the given shape."""
    with np.errstate(invalid="ignore"):
        y *= (rstd if weight is None else rstd * weight)[:, None]
        if bias is not None:
            y += bias[:, None]
        if residual is not None:
            y += _planes(residual)
        if relu:
            np.maximum(y, 0, out=y)
    return _placed(y, shape, out)


def _placed(y: np.ndarray, shape: tuple[int, ...], out: np.ndarray | None) -> np.ndarray:
    y = y.reshape(shape)
    if out is None:
        return y
    out[...] = y
    return out
