"""The affine layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from pydl import functional as F
from pydl.autograd import Tensor, get_default_dtype

from . import init
from .module import Module, Parameter
from .sizes import check_sizes

__all__ = ["Linear"]


class Linear(Module):
    """y = x wᵀ + b, for x (..., in_features) -> (..., out_features).

    Weight and bias start uniform in ±1 / sqrt(in_features), drawn from `rng`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: Any = None,
        rng: np.random.Generator | None = None,
    ):
        super().__init__()
        check_sizes(0, in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        dtype = get_default_dtype() if dtype is None else np.dtype(dtype)
        self.weight = Parameter(np.empty((out_features, in_features), dtype))
        self.register_parameter("bias", Parameter(np.empty(out_features, dtype)) if bias else None)
        self.reset_parameters(rng)

    def reset_parameters(self, rng: np.random.Generator | None = None) -> None:
        """Draw the initial values again."""
        init.layer_uniform_(self.weight, self.bias, rng)

    def forward(self, input: Any, *, relu: bool = False) -> Tensor:
        """(..., in_features) -> (..., out_features).

        `relu`, which PyTorch does not have, applies a ReLU in the same pass.
        """
        return F.linear(input, self.weight, self.bias, relu=relu)

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )
