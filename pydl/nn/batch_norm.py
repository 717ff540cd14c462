"""Batch normalisation of features, sequences and images."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from pydl import functional as F
from pydl.autograd import Tensor, get_default_dtype

from .module import Module, Parameter
from .sizes import check_sizes

__all__ = ["BatchNorm1d", "BatchNorm2d"]


class _BatchNorm(Module):
    """Normalise every channel: by the batch in training, by running statistics in evaluation.

    `weight` starts as ones and `bias` as zeros; without `affine` there are none. `running_mean` and
    `running_var` take `momentum` of each new batch, or are the averages of all if `momentum` is
    None; without `track_running_stats`, evaluation too uses the batch.
    """

    _axes: ClassVar[dict[int, str]]
    _optional = frozenset({"num_batches_tracked"})

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        dtype: Any = None,
    ):
        super().__init__()
        check_sizes(1, num_features=num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        dtype = get_default_dtype() if dtype is None else np.dtype(dtype)

        def array() -> np.ndarray:
            return np.empty(num_features, dtype)

        self.register_parameter("weight", Parameter(array()) if affine else None)
        self.register_parameter("bias", Parameter(array()) if affine and bias else None)
        self.register_buffer("running_mean", array() if track_running_stats else None)
        self.register_buffer("running_var", array() if track_running_stats else None)
        count = np.zeros((), np.int64) if track_running_stats else None
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget all batches: mean 0, variance 1."""
        if self.track_running_stats:
            self.running_mean.fill(0)
            self.running_var.fill(1)
            self.num_batches_tracked.fill(0)

    def reset_parameters(self) -> None:
        """Set weight to 1, bias to 0, and forget all batches."""
        self.reset_running_stats()
        if self.weight is not None:
            self.weight.data.fill(1)
        if self.bias is not None:
            self.bias.data.fill(0)

    def forward(self, input: Any, residual: Any = None, relu: bool = False) -> Tensor:
        """Normalise input (N, C, ...); residual and relu are those of `functional.batch_norm`."""
        shape = np.shape(input.data if isinstance(input, Tensor) else input)
        if len(shape) not in self._axes:
            raise ValueError(
                f"input: expected shape {' or '.join(self._axes.values())}, got {shape}"
            )
        if shape[1] != self.num_features:
            raise ValueError(f"input: expected {self.num_features} channels, got shape {shape}")
        mean, var, momentum = self.running_mean, self.running_var, self.momentum
        tracked = self.training and self.track_running_stats
        if self.training and not tracked:
            mean = var = None
        count = self.num_batches_tracked if tracked else None
        if momentum is None:
            momentum = 0.0 if count is None else 1 / (int(count) + 1)
        y = F.batch_norm(
            input, mean, var, self.weight, self.bias, self.training or mean is None,
            momentum, self.eps, relu=relu, residual=residual,
        )  # fmt: skip
        if count is not None:
            np.add(count, 1, out=count)
        return y

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of features (N, C) or sequences (N, C, L).

    y = (x - mean) / sqrt(var + eps) weight + bias, per channel: with the batch's own mean and
    variance in training, and the running ones in evaluation (`eval`). `running_mean` and
    `running_var` take `momentum` of each new batch, or are the averages of all if it is None.

    Source: Ioffe and Szegedy 2015, Batch normalization.
    """

    _axes: ClassVar = {2: "(N, C)", 3: "(N, C, L)"}


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images (N, C, H, W).

    y = (x - mean) / sqrt(var + eps) weight + bias, per channel: with the batch's own mean and
    variance in training, and the running ones in evaluation (`eval`). `running_mean` and
    `running_var` take `momentum` of each new batch, or are the averages of all if it is None.

    Source: Ioffe and Szegedy 2015, Batch normalization.
    """

    _axes: ClassVar = {4: "(N, C, H, W)"}
