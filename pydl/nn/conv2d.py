"""Convolution layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pydl import functional as F
from pydl.autograd import Tensor, get_default_dtype

from . import init
from .module import Module, Parameter
from .sizes import as_sizes, check_sizes

__all__ = ["Conv1d", "Conv2d"]


class _Conv(Module):
    _axes: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        dtype: Any = None,
        rng: np.random.Generator | None = None,
    ):
        super().__init__()
        check_sizes(1, in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups: expected a divisor of {in_channels} and {out_channels}, got {groups}"
            )
        if padding_mode != "zeros":
            raise ValueError(f'padding_mode: expected "zeros", got {padding_mode!r}')
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f'padding: expected numbers, "same" or "valid", got {padding!r}')
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = as_sizes(kernel_size, self._axes, "kernel_size")
        self.stride = as_sizes(stride, self._axes, "stride")
        self.padding = (
            padding if isinstance(padding, str) else as_sizes(padding, self._axes, "padding")
        )
        self.dilation = as_sizes(dilation, self._axes, "dilation")
        self.padding_mode = padding_mode
        for name, values, least in (
            ("kernel_size", self.kernel_size, 1),
            ("stride", self.stride, 1),
            ("dilation", self.dilation, 1),
            ("padding", self.padding, 0),
        ):
            if not isinstance(values, str) and min(values) < least:
                raise ValueError(f"{name}: expected at least {least}, got {values}")
        if padding == "same" and max(self.stride) > 1:
            raise ValueError(f'padding: "same" needs stride 1, got {stride}')
        dtype = get_default_dtype() if dtype is None else np.dtype(dtype)
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = Parameter(np.empty(shape, dtype))
        self.register_parameter("bias", Parameter(np.empty(out_channels, dtype)) if bias else None)
        self.reset_parameters(rng)

    def reset_parameters(self, rng: np.random.Generator | None = None) -> None:
        """Draw the initial values again."""
        init.layer_uniform_(self.weight, self.bias, rng)

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        if isinstance(self.padding, str) or any(self.padding):
            text += f", padding={self.padding}"
        if any(d != 1 for d in self.dilation):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return text if self.bias is not None else text + ", bias=False"


class Conv2d(_Conv):
    """Convolution of images: `functional.conv2d` with its own weight and bias.

    (N, C, H, W) -> (N, OC, OH, OW), OW like
    OH = floor((H + 2 padding - dilation (KH - 1) - 1) / stride) + 1.

    weight (out_channels, in_channels / groups, KH, KW) and bias (out_channels,) start uniform in
    ±1 / sqrt(fan_in), fan_in = in_channels / groups * KH * KW, drawn from `rng`.
    """

    _axes = 2

    def forward(
        self, input: Any, *, norm: Module | None = None, relu: bool = False, residual: Any = None
    ) -> Tensor:
        """(N, C, H, W) -> (N, OC, OH, OW).

        With more than the input, which PyTorch does not have: relu(norm(y) + residual). `norm` is a
        `BatchNorm2d`, or None: residual and ReLU are then a part of the convolution. In a model of
        `pydl.fuse` they all are.
        """
        here = norm is None
        y = F.conv2d(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            relu=relu and here,
            residual=residual if here else None,
        )
        return y if norm is None else norm(y, relu=relu, residual=residual)


class Conv1d(_Conv):
    """Convolution of sequences: `functional.conv1d` with its own weight and bias.

    weight (out_channels, in_channels / groups, K) and bias (out_channels,) start uniform in
    ±1 / sqrt(fan_in), fan_in = in_channels / groups * K, drawn from `rng`.
    """

    _axes = 1

    def forward(self, input: Any) -> Tensor:
        """(N, C, L) -> (N, OC, OL)."""
        return F.conv1d(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )
