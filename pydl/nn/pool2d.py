"""Pooling layers. Options, shapes and results are those of the functions in `pydl.functional`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydl import functional as F
from pydl.autograd import Tensor

from .module import Module

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "MaxPool1d",
    "MaxPool2d",
]

Sizes = int | Sequence[int]


class _MaxPool(Module):
    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ):
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )

    def _options(self) -> tuple[Any, ...]:
        return (
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )


class MaxPool2d(_MaxPool):
    """The largest element of every window of an image, (N, C, H, W) -> (N, C, OH, OW).

    OH = floor((H + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1, OW likewise; rounded
    up with `ceil_mode`. `stride` is the kernel size unless it is given.
    """

    def forward(self, input: Any) -> Any:
        """(N, C, H, W) -> (N, C, OH, OW), and the positions if `return_indices`."""
        return F.max_pool2d(input, *self._options())


class MaxPool1d(_MaxPool):
    """The largest element of every window of a sequence."""

    def forward(self, input: Any) -> Any:
        """(N, C, L) -> (N, C, OL), and the positions if `return_indices`."""
        return F.max_pool1d(input, *self._options())


class AvgPool2d(Module):
    """The average of every window of an image, (N, C, H, W) -> (N, C, OH, OW), as `MaxPool2d`.

    Padding counts as zeros, or not at all without `count_include_pad`.
    """

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ):
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, input: Any) -> Tensor:
        """(N, C, H, W) -> (N, C, OH, OW)."""
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(Module):
    """The average of every window of a sequence."""

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        super().__init__()
        self.kernel_size = kernel_size if not isinstance(kernel_size, int) else (kernel_size,)
        steps = kernel_size if stride is None else stride
        self.stride = steps if not isinstance(steps, int) else (steps,)
        self.padding = padding if not isinstance(padding, int) else (padding,)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, input: Any) -> Tensor:
        """(N, C, L) -> (N, C, OL)."""
        return F.avg_pool1d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
        )

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """The averages of windows that cut an image evenly into `output_size`; None keeps a size."""

    def __init__(self, output_size: int | Sequence[int | None] | None):
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Any) -> Tensor:
        """(N, C, H, W) -> (N, C, *output_size)."""
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(Module):
    """The averages of windows that cut a sequence evenly into `output_size`."""

    def __init__(self, output_size: int | Sequence[int]):
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Any) -> Tensor:
        """(N, C, L) -> (N, C, output_size)."""
        return F.adaptive_avg_pool1d(input, self.output_size)

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return f"output_size={self.output_size}"
