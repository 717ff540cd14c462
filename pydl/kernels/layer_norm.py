"""Layer normalisation and its gradients."""

from __future__ import annotations

import numpy as np

from pydl.kernels import shapes
from pydl.kernels.registry import active, kernel


@kernel
def layer_norm_forward(
    x: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    *,
    normalized_ndim: int = 1,
    eps: float = 1e-5,
    out: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalise every sample over its last axes.

    y = (x - mean) rstd weight + bias; rstd = 1 / sqrt(var + eps), var = the mean of (x - mean)^2
    over the last `normalized_ndim` axes

    Parameters
    ----------
    x : (..., *D), float32 or float64; only the leading axes may be empty
    weight, bias : (*D), dtype of x, optional
    normalized_ndim : int of at least 1, the number of axes in D
    eps : float of at least 0
    out : array for y, optional; C-contiguous, x itself or apart from the inputs

    Returns
    -------
    y : shape and dtype of x
    mean, rstd : (...), what `layer_norm_backward` needs

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Ba, Kiros, Hinton 2016, "Layer normalization".
    """
    x = shapes.real("x", x)
    normalized_ndim = shapes.integer("normalized_ndim", normalized_ndim, 1)
    if x.ndim < normalized_ndim:
        raise ValueError(f"x: expected at least {normalized_ndim} axes, got shape {x.shape}")
    tail = x.shape[x.ndim - normalized_ndim :]
    if 0 in tail:
        raise ValueError(f"x: expected sizes of at least 1 on the last axes, got shape {x.shape}")
    others = []
    if weight is not None:
        weight = shapes.sized("weight", weight, tail, x)
        others.append(weight)
    if bias is not None:
        bias = shapes.sized("bias", bias, tail, x)
        others.append(bias)
    eps = shapes.number("eps", eps, 0.0)
    if out is not None:
        shapes.output(out, x.shape, x, elementwise=True)
        if others:
            shapes.output(out, x.shape, *others, elementwise=False)
    return active("layer_norm_forward")(
        x, weight, bias, normalized_ndim=normalized_ndim, eps=eps, out=out
    )


@kernel
def layer_norm_backward(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    rstd: np.ndarray,
    weight: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of `layer_norm_forward`.

    With x^ = (x - mean) rstd and g = dy weight: dbias = sum dy and dweight = sum dy x^ over the
    leading axes; dx = rstd (g - mean g - x^ mean(g x^)), the means being over the last axes

    Parameters
    ----------
    dy : (..., *D), float32 or float64
    x : input of the forward, shape and dtype of dy
    mean, rstd : (...), results of the forward, dtype of dy
    weight : (*D), dtype of dy, optional

    Returns
    -------
    dx : shape and dtype of dy
    dweight, dbias : (*D), also where the forward had none

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `layer_norm_forward`.
    """
    dy = shapes.real("dy", dy)
    x = shapes.sized("x", x, dy.shape, dy)
    mean = shapes.real("mean", mean, None, dy)
    if mean.ndim >= dy.ndim or mean.shape != dy.shape[: mean.ndim]:
        raise ValueError(
            f"mean: expected the leading axes of dy's shape {dy.shape}, got {mean.shape}"
        )
    rstd = shapes.sized("rstd", rstd, mean.shape, dy)
    tail = dy.shape[mean.ndim :]
    if 0 in tail:
        raise ValueError(f"dy: expected sizes of at least 1 on the last axes, got shape {dy.shape}")
    weight = None if weight is None else shapes.sized("weight", weight, tail, dy)
    return active("layer_norm_backward")(dy, x, mean, rstd, weight)
