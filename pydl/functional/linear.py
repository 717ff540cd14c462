"""The affine map."""

from __future__ import annotations

from typing import Any

import numpy as np

from pydl import kernels
from pydl.autograd import Array, Gradients, Needs, OpResult, Product, Tensor, differentiable

from .shape import reshape, shape_of

__all__ = ["linear"]


@differentiable
def _linear(needs: Needs, x: Array, w: Array, b: Array, *, relu: bool) -> OpResult:
    y = kernels.linear_forward(x, w, b, relu=relu)
    kept = y if relu else None
    for_x, for_w = w if needs[0] else None, x if needs[1] else None

    def vjp(dy: Array) -> Gradients:
        if kept is not None:
            dy = kernels.relu_backward(dy, kept)
        return (
            None if for_x is None else kernels.linear_backward_input(dy, for_x),
            None if for_w is None else Product(dy, for_w, kernels.linear_backward_weight),
            kernels.linear_backward_bias(dy) if needs[2] else None,
        )

    return y, vjp


def linear(input: Any, weight: Any, bias: Any = None, *, relu: bool = False) -> Tensor:
    """y = x wᵀ + b.

    Parameters
    ----------
    input : (..., I)
    weight : (O, I)
    bias : (O,), optional
    relu : bool
        Not in PyTorch: 0 in place of what is negative, as `relu` does, in the same pass.

    Returns
    -------
    Tensor, (..., O)

    Raises
    ------
    ValueError
        An input that is a scalar or has other features than I, a weight or a bias of another shape.
    """
    shape, features = shape_of(input), shape_of(weight)[-1:]
    if shape and features and shape[-1] != features[0]:
        raise ValueError(f"input: expected shape (..., {features[0]}), got {shape}")
    if len(shape) == 2:
        return _linear(input, weight, bias, relu=relu)
    if not shape:
        raise ValueError("input: expected at least 1 axis, got a scalar")
    rows = reshape(input, (int(np.prod(shape[:-1])), shape[-1]))
    y = _linear(rows, weight, bias, relu=relu)
    return reshape(y, (*shape[:-1], y.shape[1]))
