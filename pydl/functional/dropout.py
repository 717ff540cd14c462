"""Dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from pydl import kernels, random
from pydl.autograd import Array, Needs, OpResult, Tensor, differentiable
from pydl.kernels import shapes

__all__ = ["dropout"]


@differentiable
def _dropout(needs: Needs, x: Array, *, p: Any, rng: Any) -> OpResult:
    y, mask = kernels.dropout_forward(x, p, rng)
    return y, lambda dy: (kernels.dropout_backward(dy, mask, p),)


def dropout(
    input: Any,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    rng: np.random.Generator | None = None,
) -> Tensor:
    """Set elements to 0 with probability `p` and divide the others by 1 - p, in training only.

    The mask comes from `rng`, or from the generator that `pydl.manual_seed` seeds.

    Source: Srivastava et al. 2014, Dropout.
    """
    p = shapes.probability("p", p)
    if not training or p == 0:
        return input if isinstance(input, Tensor) else Tensor(input)
    return _dropout(input, p=p, rng=random.given_or_default(rng))
