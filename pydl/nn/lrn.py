"""Local response normalisation as a layer."""

from __future__ import annotations

from typing import Any

from pydl import functional as F
from pydl.autograd import Tensor

from .module import Module

__all__ = ["LocalResponseNorm"]


class LocalResponseNorm(Module):
    """y = x / (k + alpha * mean of x² over `size` neighbouring channels) ** beta."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Any) -> Tensor:
        """(N, C, ...) -> (N, C, ...)."""
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
