"""Local response normalisation."""

from __future__ import annotations

import math
from typing import Any

from pydl import kernels
from pydl.autograd import Array, Gradients, Needs, OpResult, Tensor, differentiable

from .shape import reshape, shape_of

__all__ = ["local_response_norm"]


@differentiable
def _local_response_norm(
    needs: Needs, x: Array, *, size: Any, alpha: Any, beta: Any, k: Any
) -> OpResult:
    y, scale = kernels.local_response_norm_forward(
        x, size, alpha=alpha, beta=beta, k=k, save=needs[0]
    )

    def vjp(dy: Array) -> Gradients:
        return (kernels.local_response_norm_backward(dy, x, scale, size, alpha=alpha, beta=beta),)

    return y, vjp


def local_response_norm(
    input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Divide by a power of the mean square over neighbouring channels.

    y = x / (k + alpha * mean of x² over the channels c - size // 2 to c + (size - 1) // 2) ** beta,
    x being 0 beside the channels, which the mean counts.

    Parameters
    ----------
    input : (N, C, ...), three axes or more
    size : int
        How many channels the mean is over. The paper's alpha is this one divided by `size`.

    Returns
    -------
    Tensor of input's shape

    Raises
    ------
    ValueError
        For fewer than three axes.

    Source: Krizhevsky, Sutskever and Hinton 2012, ImageNet classification with deep convolutional
    neural networks.
    """
    shape = shape_of(input)
    if len(shape) < 3:
        raise ValueError(f"input: expected 3 axes or more, got shape {shape}")
    images = input
    if len(shape) != 4:
        images = reshape(input, (*shape[:2], 1, math.prod(shape[2:])))
    y = _local_response_norm(images, size=size, alpha=alpha, beta=beta, k=k)
    return y if len(shape) == 4 else reshape(y, shape)
