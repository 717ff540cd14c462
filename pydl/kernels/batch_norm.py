"""Batch normalisation, with the ReLU and the residual that may follow it, and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from pydl.kernels import shapes
from pydl.kernels.registry import active, kernel, takes


@kernel
def batch_norm_forward(
    x: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    *,
    eps: float = 1e-5,
    relu: bool = False,
    out: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalise every channel of a batch by its own mean and variance.

    y = (x - mean) rstd weight + bias + residual, and max(y, 0) of that with `relu`;
    rstd = 1 / sqrt(var + eps), var = the mean of (x - mean)^2 over all axes but C

    Parameters
    ----------
    x : (N, C, ...), float32 or float64; 0 or more than 1 values per channel
    weight, bias : (C,), dtype of x, optional
    residual : shape and dtype of x, optional; added before the ReLU, in the same pass
    eps : float of at least 0
    relu : bool; NaN stays NaN
    out : array for y, optional; C-contiguous, x or residual itself or apart from the inputs

    Returns
    -------
    y : shape and dtype of x
    mean, rstd : (C,), what `batch_norm_backward` needs; var is 1 / rstd^2 - eps. Of an empty batch:
        0, 1 / sqrt(eps).

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Ioffe, Szegedy 2015, "Batch normalization: accelerating deep network training by reducing
    internal covariate shift".
    """
    x = _images("x", x)
    if x.size == x.shape[1]:
        raise ValueError(
            f"x: expected more than 1 value per channel in training, got shape {x.shape}"
        )
    weight, bias, residual = _operands(x, weight, bias, residual, out)
    eps, relu = shapes.number("eps", eps, 0.0), shapes.boolean("relu", relu)
    return active("batch_norm_forward")(x, weight, bias, residual, eps=eps, relu=relu, out=out)


@kernel
def batch_norm_inference(
    x: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    *,
    eps: float = 1e-5,
    relu: bool = False,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Normalise every channel by a given mean and variance.

    y = (x - mean) / sqrt(var + eps) weight + bias + residual, and max(y, 0) of that with `relu`

    Parameters
    ----------
    x : (N, C, ...), float32 or float64
    mean, var : (C,), dtype of x
    weight, bias : (C,), dtype of x, optional
    residual : shape and dtype of x, optional; added before the ReLU, in the same pass
    eps : float of at least 0
    relu : bool; NaN stays NaN
    out : array for the result, optional; C-contiguous, x or residual itself or apart from the
        inputs

    Returns
    -------
    y : shape and dtype of x

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `batch_norm_forward`.
    """
    x = _images("x", x)
    channels = x.shape[1:2]
    mean, var = shapes.sized("mean", mean, channels, x), shapes.sized("var", var, channels, x)
    weight, bias, residual = _operands(x, weight, bias, residual, out)
    eps, relu = shapes.number("eps", eps, 0.0), shapes.boolean("relu", relu)
    return active("batch_norm_inference")(
        x, mean, var, weight, bias, residual, eps=eps, relu=relu, out=out
    )


@kernel(spare=("bias",))
def batch_norm_backward(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    rstd: np.ndarray,
    weight: np.ndarray | None = None,
    y: np.ndarray | None = None,
    *,
    training: bool = True,
    residual: bool = False,
    bias: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """Gradients of `batch_norm_forward`, or of `batch_norm_inference` if not `training`.

    With x^ = (x - mean) rstd, m values per channel, and g = dy, or 0 where y <= 0 if y is given, or
    where x^ weight + bias <= 0 if that is:
    dbias = sum g, dweight = sum g x^, dresidual = g,
    dx = weight rstd (g - dbias / m - x^ dweight / m), or weight rstd g if not `training`

    Parameters
    ----------
    dy : (N, C, ...), float32 or float64
    x : input of the forward, shape and dtype of dy
    mean, rstd : (C,), dtype of dy: results of `batch_norm_forward`, or for `batch_norm_inference`
        its mean and 1 / sqrt(var + eps)
    weight : (C,), dtype of dy, optional
    y : result of a forward with relu=True, shape and dtype of dy; None without ReLU
    training : bool; whether mean and rstd are functions of x, or constants
    residual : bool; whether dresidual is returned as well
    bias : (C,), dtype of dy, optional; that of a forward with relu=True and without a residual, in
        place of y: an array less to be kept and to be read

    Returns
    -------
    dx : shape and dtype of dy
    dweight, dbias : (C,), also where the forward had none
    dresidual : shape and dtype of dy, only if `residual`

    For a backend's function that lacks `bias`, y is made of it.

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `batch_norm_forward`.
    """
    dy = _images("dy", dy)
    x, channels = shapes.sized("x", x, dy.shape, dy), dy.shape[1:2]
    mean, rstd = shapes.sized("mean", mean, channels, dy), shapes.sized("rstd", rstd, channels, dy)
    weight = shapes.vector_or_none("weight", weight, dy.shape[1], dy)
    y = None if y is None else shapes.sized("y", y, dy.shape, dy)
    training = shapes.boolean("training", training)
    residual = shapes.boolean("residual", residual)
    options: dict[str, Any] = {"training": training, "residual": residual}
    run = active("batch_norm_backward")
    if bias is not None:
        if y is not None:
            raise ValueError("bias: expected None where y is given, got both")
        bias = shapes.sized("bias", bias, channels, dy)
        if takes(run, "bias"):
            options["bias"] = bias
        else:
            columns = (-1, *[1] * (dy.ndim - 2))
            scale = rstd if weight is None else rstd * weight
            y = (x - mean.reshape(columns)) * scale.reshape(columns) + bias.reshape(columns)
    return run(dy, x, mean, rstd, weight, y, **options)


def _images(name: str, value: Any) -> np.ndarray:
    """An array (N, C, ...), of which only N may be 0."""
    array = shapes.real(name, value)
    if array.ndim < 2:
        raise ValueError(f"{name}: expected shape (N, C, ...), got {array.shape}")
    shapes.filled(name, array)
    return array


def _operands(
    x: np.ndarray, weight: Any, bias: Any, residual: Any, out: np.ndarray | None
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """The optional operands of a forward, and the check of `out` against all inputs."""
    weight = shapes.vector_or_none("weight", weight, x.shape[1], x)
    bias = shapes.vector_or_none("bias", bias, x.shape[1], x)
    residual = None if residual is None else shapes.sized("residual", residual, x.shape, x)
    if out is not None:
        inputs = (x,) if residual is None else (x, residual)
        shapes.output(out, x.shape, *inputs, elementwise=True)
        others = [a for a in (weight, bias) if a is not None]
        if others:
            shapes.output(out, x.shape, *others, elementwise=False)
    return weight, bias, residual
