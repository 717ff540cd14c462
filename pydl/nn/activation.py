"""Activation layers: every shape stays. `inplace` is accepted and changes nothing."""

from __future__ import annotations

from typing import Any

from pydl import functional as F
from pydl.autograd import Tensor

from .module import Module

__all__ = [
    "ELU",
    "GELU",
    "Hardswish",
    "LeakyReLU",
    "LogSoftmax",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]


class ReLU(Module):
    """y = max(x, 0)."""

    def __init__(self, inplace: bool = False):
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Any) -> Tensor:
        """Apply the function."""
        return F.relu(input)

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return "inplace=True" if self.inplace else ""


class LeakyReLU(Module):
    """y = x if x > 0 else negative_slope * x."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, input: Any) -> Tensor:
        """Apply the function."""
        return F.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return f"negative_slope={self.negative_slope}{', inplace=True' if self.inplace else ''}"


class ELU(Module):
    """y = x if x > 0 else alpha (e ** x - 1)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Any) -> Tensor:
        """Apply the function."""
        return F.elu(input, self.alpha)

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return f"alpha={self.alpha}{', inplace=True' if self.inplace else ''}"


class GELU(Module):
    """y = x Φ(x), or its approximation by tanh."""

    def __init__(self, approximate: str = "none"):
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Any) -> Tensor:
        """Apply the function."""
        return F.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """y = x / (1 + e ** -x)."""

    def __init__(self, inplace: bool = False):
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Any) -> Tensor:
        """Apply the function."""
        return F.silu(input)

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return "inplace=True" if self.inplace else ""


class Hardswish(Module):
    """y = x min(max(x + 3, 0), 6) / 6."""

    def __init__(self, inplace: bool = False):
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Any) -> Tensor:
        """Apply the function."""
        return F.hardswish(input)

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return "inplace=True" if self.inplace else ""


class Softplus(Module):
    """y = ln(1 + e ** (beta x)) / beta, and x where beta x > threshold."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Any) -> Tensor:
        """Apply the function."""
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Sigmoid(Module):
    """y = 1 / (1 + e ** -x)."""

    def forward(self, input: Any) -> Tensor:
        """Apply the function."""
        return F.sigmoid(input)


class Tanh(Module):
    """y = tanh(x)."""

    def forward(self, input: Any) -> Tensor:
        """Apply the function."""
        return F.tanh(input)


class Softmax(Module):
    """y = e ** x / sum e ** x along `dim`."""

    def __init__(self, dim: int | None = None):
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Tensor:
        """Apply the function."""
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """y = x - ln sum e ** x along `dim`."""

    def __init__(self, dim: int | None = None):
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Tensor:
        """Apply the function."""
        return F.log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return f"dim={self.dim}"
