"""Layer normalisation; see `pydl.kernels.layer_norm`."""

from __future__ import annotations

import numpy as np


def layer_norm_forward(
    x: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    *,
    normalized_ndim: int,
    eps: float,
    out: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y = (x - mean) rstd weight + bias; mean and rstd are those of the last axes."""
    axes = tuple(range(x.ndim - normalized_ndim, x.ndim))
    with np.errstate(invalid="ignore"):
        mean = x.mean(axes, keepdims=True)
        var = ((x - mean) ** 2).mean(axes, keepdims=True)
        rstd = (1 / np.sqrt(var + eps)).astype(x.dtype)
        y = (x - mean) * rstd
        if weight is not None:
            y = y * weight
        if bias is not None:
            y = y + bias
    if out is None:
        out = np.ascontiguousarray(y)
    else:
        out[...] = y
    return out, mean.reshape(x.shape[: axes[0]]), rstd.reshape(x.shape[: axes[0]])


def layer_norm_backward(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    rstd: np.ndarray,
    weight: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients with respect to x, weight and bias.

    With x^ = (x - mean) rstd and g = dy weight: dbias = sum dy and dweight = sum dy x^ over the
    leading axes; dx = rstd (g - mean g - x^ mean(g x^)), the means being over the last axes.
    """
    leading, axes = tuple(range(mean.ndim)), tuple(range(mean.ndim, x.ndim))
    ones = (1,) * len(axes)
    with np.errstate(invalid="ignore"):
        scale = rstd.reshape(*rstd.shape, *ones)
        normalised = (x - mean.reshape(*mean.shape, *ones)) * scale
        g = dy if weight is None else dy * weight
        dx = g - g.mean(axes, keepdims=True)
        dx = dx - normalised * (g * normalised).mean(axes, keepdims=True)
        dweight = (dy * normalised).sum(leading)
        return np.ascontiguousarray(dx * scale), dweight, np.array(dy.sum(leading), order="C")
