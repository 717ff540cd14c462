"""Dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from pydl import functional as F
from pydl.autograd import Tensor
from pydl.kernels import shapes

from .module import Module

__all__ = ["Dropout"]


class Dropout(Module):
    """In training, set elements to 0 with probability `p` and divide the others by 1 - p.

    The mask comes from `rng`, or from the generator that `pydl.manual_seed` seeds.
    """

    def __init__(
        self, p: float = 0.5, inplace: bool = False, *, rng: np.random.Generator | None = None
    ):
        super().__init__()
        self.p, self.inplace, self.rng = shapes.probability("p", p), inplace, rng

    def forward(self, input: Any) -> Tensor:
        """Drop elements in training; return the input in evaluation."""
        return F.dropout(input, self.p, self.training, rng=self.rng)

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return f"p={self.p}, inplace={self.inplace}"
