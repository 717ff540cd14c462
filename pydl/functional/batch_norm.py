"""Batch normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from pydl import kernels
from pydl.autograd import Array, Gradients, Needs, OpResult, Tensor, differentiable
from pydl.kernels import shapes

from .shape import raw, shape_of

__all__ = ["batch_norm"]


@differentiable
def _batch_norm(
    needs: Needs, x: Array, w: Array, b: Array, residual: Array, *, eps: Any, relu: Any, update: Any
) -> OpResult:
    y, mean, rstd = kernels.batch_norm_forward(x, w, b, residual, eps=eps, relu=relu)
    update(mean, rstd, x.size // x.shape[1])
    return y, _batch_norm_vjp(
        needs, x, mean, rstd, w, b, residual, y if relu else None, training=True
    )


@differentiable
def _batch_norm_inference(
    needs: Needs, x: Array, w: Array, b: Array, residual: Array, *,
    mean: Any, var: Any, eps: Any, relu: Any,
) -> OpResult:  # fmt: skip
    y = kernels.batch_norm_inference(x, mean, var, w, b, residual, eps=eps, relu=relu)
    mean, rstd = np.array(mean), 1 / np.sqrt(np.asarray(var) + float(eps))  # later batches change
    return y, _batch_norm_vjp(
        needs, x, mean, rstd, w, b, residual, y if relu else None, training=False
    )


def _batch_norm_vjp(
    needs: Needs, x: Array, mean: Array, rstd: Array, w: Array, b: Array, residual: Array,
    y: Array | None, training: bool,
) -> Any:  # fmt: skip
    """The gradients of x, w, b and residual; y is that of a ReLU, and None without one.

    The ReLU's mask is y, or comes out of x and b, so that y need not be kept.
    """
    masked, bias = y is not None and needs[3], None
    if y is not None and residual is None and b is not None:
        y, bias = None, b

    def vjp(dy: Array) -> Gradients:
        dx, dw, db, *rest = kernels.batch_norm_backward(
            dy, x, mean, rstd, w, y, training=training, residual=masked, bias=bias
        )
        dresidual = (rest[0] if masked else dy) if needs[3] else None
        return dx, dw if needs[1] else None, db if needs[2] else None, dresidual

    return vjp


def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    relu: bool = False,
    residual: Any = None,
) -> Tensor:
    """y = (x - mean) / sqrt(var + eps) weight + bias, with a mean and a variance per channel.

    Parameters
    ----------
    input : (N, C, ...)
    running_mean, running_var : (C,), or None in training
        Used in evaluation. In training, where the batch's own statistics are used, the running ones
        are changed in place: r = (1 - momentum) r + momentum new, the new variance being the
        unbiased one.
    weight, bias : (C,), optional
    training : bool
    momentum : float
        The weight of a new batch, from 0 to 1.
    eps : float
    relu, residual : bool, and an operand of the input's shape or None
        Not in PyTorch: y = relu(batch_norm(x) + residual), without a further pass over memory.

    Returns
    -------
    Tensor, (N, C, ...)

    Raises
    ------
    ValueError
        For one value per channel in training, for no running statistics in evaluation, for running
        statistics of another shape, and for a momentum out of range.
    """
    mean, var = raw(running_mean), raw(running_var)
    if not training:
        for name, value in (("running_mean", mean), ("running_var", var)):
            if value is None:
                raise ValueError(f"{name}: expected an array (C,) in evaluation, got None")
        return _batch_norm_inference(
            input, weight, bias, residual, mean=mean, var=var, eps=eps, relu=relu
        )
    momentum = shapes.probability("momentum", momentum)
    channels = shape_of(input)[1:2]
    for name, value in (("running_mean", mean), ("running_var", var)):
        if value is not None and np.shape(value) != channels:
            raise ValueError(f"{name}: expected shape {channels}, got {np.shape(value)}")

    def update(new_mean: Array, rstd: Array, count: int) -> None:
        if count and mean is not None:
            np.multiply(mean, 1 - momentum, out=mean)
            np.add(mean, new_mean * momentum, out=mean, casting="same_kind")
        if count and var is not None:
            new = np.float64(1) / np.square(rstd, dtype=np.float64) - eps
            share = momentum * count / (count - 1)
            np.multiply(var, 1 - momentum, out=var)
            np.add(var, np.maximum(new, 0) * share, out=var, casting="same_kind")

    return _batch_norm(input, weight, bias, residual, eps=eps, relu=relu, update=update)
