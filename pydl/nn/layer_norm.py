"""Layer normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pydl import functional as F
from pydl.autograd import Tensor, get_default_dtype

from .module import Module, Parameter
from .sizes import as_sizes

__all__ = ["LayerNorm"]


class LayerNorm(Module):
    """Normalise every sample over its last axes, whose sizes `normalized_shape` gives.

    y = (x - mean) / sqrt(var + eps) weight + bias, the same in training and evaluation.

    `weight` (ones at first) and `bias` (zeros) have that shape; without `elementwise_affine` there
    are none.

    Source: Ba, Kiros and Hinton 2016, Layer normalization.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = None,
    ):
        super().__init__()
        self.normalized_shape = as_sizes(normalized_shape, None, "normalized_shape")
        if not self.normalized_shape or min(self.normalized_shape) < 1:
            raise ValueError(
                f"normalized_shape: expected sizes of at least 1, got {normalized_shape}"
            )
        self.eps, self.elementwise_affine = eps, elementwise_affine
        dtype = get_default_dtype() if dtype is None else np.dtype(dtype)
        for name, present in (
            ("weight", elementwise_affine),
            ("bias", elementwise_affine and bias),
        ):
            param = Parameter(np.empty(self.normalized_shape, dtype)) if present else None
            self.register_parameter(name, param)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set weight to 1 and bias to 0."""
        if self.weight is not None:
            self.weight.data.fill(1)
        if self.bias is not None:
            self.bias.data.fill(0)

    def forward(self, input: Any) -> Tensor:
        """(..., *normalized_shape) -> the same shape."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )
