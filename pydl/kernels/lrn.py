"""Local response normalisation across channels, and its gradient."""

from __future__ import annotations

import sys

import numpy as np

from pydl.kernels import shapes
from pydl.kernels.registry import active, kernel


@kernel
def local_response_norm_forward(
    x: np.ndarray,
    size: int,
    *,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    save: bool = True,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Divide every element by a power of the mean square of its neighbours in the other channels.

    scale[n, c, h, w] = k + alpha / size * sum of x[n, i, h, w]^2 over i from c - size // 2 to
    c + (size - 1) // 2, x being 0 beside the channels;  y = x / scale^beta

    Parameters
    ----------
    x : (N, C, H, W), float32 or float64
    size : how many channels the mean is over; may be more than C
    alpha, beta, k : numbers of at least 0
    save : False skips scale, which only `local_response_norm_backward` needs

    Returns
    -------
    y : (N, C, H, W), dtype of x
    scale : (N, C, H, W), dtype of x, or None

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep convolutional neural
    networks", section 3.3; there alpha stands for alpha / size.
    """
    x = shapes.real("x", x, shapes.IMAGES)
    size = shapes.integer("size", size, 1)
    alpha, beta, k = _number("alpha", alpha), _number("beta", beta), _number("k", k)
    save = shapes.boolean("save", save)
    shapes.filled("x", x)
    return active("local_response_norm_forward")(x, size, alpha=alpha, beta=beta, k=k, save=save)


@kernel
def local_response_norm_backward(
    dy: np.ndarray,
    x: np.ndarray,
    scale: np.ndarray,
    size: int,
    *,
    alpha: float = 1e-4,
    beta: float = 0.75,
) -> np.ndarray:
    """Gradient of `local_response_norm_forward`.

    dx = dy / scale^beta - 2 alpha beta / size * x * (sum of dy x / scale^(beta + 1) over the
    channels c - (size - 1) // 2 to c + size // 2, whose means hold x)

    Parameters
    ----------
    dy : (N, C, H, W), float32 or float64
    x : (N, C, H, W), the forward's argument
    scale : (N, C, H, W), from `local_response_norm_forward`
    size, alpha, beta : as in `local_response_norm_forward`

    Returns
    -------
    dx : (N, C, H, W), dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    The formula above, differentiated.
    """
    dy = shapes.real("dy", dy, shapes.IMAGES)
    x = shapes.sized("x", x, dy.shape, dy)
    scale = shapes.sized("scale", scale, dy.shape, dy)
    size = shapes.integer("size", size, 1)
    alpha, beta = _number("alpha", alpha), _number("beta", beta)
    shapes.filled("dy", dy)
    return active("local_response_norm_backward")(dy, x, scale, size, alpha=alpha, beta=beta)


def _number(name: str, value: float) -> float:
    return shapes.number(name, value, 0.0, sys.float_info.max)
