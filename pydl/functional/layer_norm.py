"""Layer normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydl import kernels
from pydl.autograd import Array, Gradients, Needs, OpResult, Tensor, differentiable

from .shape import shape_of

__all__ = ["layer_norm"]


@differentiable
def _layer_norm(
    needs: Needs, x: Array, w: Array, b: Array, *, normalized_ndim: Any, eps: Any
) -> OpResult:
    y, mean, rstd = kernels.layer_norm_forward(x, w, b, normalized_ndim=normalized_ndim, eps=eps)

    def vjp(dy: Array) -> Gradients:
        dx, dw, db = kernels.layer_norm_backward(dy, x, mean, rstd, w)
        return dx, dw if needs[1] else None, db if needs[2] else None

    return y, vjp


def layer_norm(
    input: Any,
    normalized_shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x - mean) / sqrt(var + eps) weight + bias, with a mean and a variance per sample.

    Parameters
    ----------
    input : (..., *normalized_shape)
    normalized_shape : sequence of int
        The sizes of the last axes, over which mean and (biased) variance are taken.
    weight, bias : normalized_shape, optional
    eps : float

    Returns
    -------
    Tensor, shape of input

    Raises
    ------
    ValueError
        For an empty `normalized_shape`, or an input whose last axes have other sizes.
    """
    expected, shape = tuple(normalized_shape), shape_of(input)
    if not expected:
        raise ValueError("normalized_shape: expected at least one size, got ()")
    if shape[len(shape) - len(expected) :] != expected or len(shape) < len(expected):
        sizes = "".join(f", {size}" for size in expected)
        raise ValueError(f"input: expected shape (...{sizes}), got {shape}")
    return _layer_norm(input, weight, bias, normalized_ndim=len(expected), eps=eps)
