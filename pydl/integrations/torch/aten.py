"""pydl's kernels in the place of PyTorch's own, for every caller in a block."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pydl.integrations.torch import ops


def _batch(x: Tensor) -> Tensor:
    """(N,C,H,W), of an image (C,H,W) too."""
    return x.unsqueeze(0) if x.dim() == 3 else x


def _max_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    both = ops.max_pool2d(_batch(input), kernel_size, stride, padding, dilation, ceil_mode)
    y, argmax = (t.squeeze(0) for t in both) if input.dim() == 3 else both
    return y, argmax.long()


def _max_pool2d_backward(
    grad: Tensor, input: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
    ceil_mode: bool, indices: Tensor,
) -> Tensor:  # fmt: skip
    dx = ops.max_pool2d_backward(_batch(grad), _batch(indices).int(), _batch(input).shape)
    return dx.view(input.shape)


def _undivided(divisor_override: int | None) -> None:
    if divisor_override is not None:
        raise ValueError(f"divisor_override: expected None, got {divisor_override}")


def _avg_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    _undivided(divisor_override)
    y = ops.avg_pool2d(_batch(input), kernel_size, stride, padding, ceil_mode, count_include_pad)
    return y.squeeze(0) if input.dim() == 3 else y


def _avg_pool2d_backward(
    grad: Tensor, input: Tensor, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool,
    count_include_pad: bool, divisor_override: int | None,
) -> Tensor:  # fmt: skip
    _undivided(divisor_override)
    options = kernel_size, stride, padding, ceil_mode, count_include_pad
    return ops.avg_pool2d_backward(_batch(grad), _batch(input).shape, *options).view(input.shape)


def _convolution(
    input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], transposed: bool,
    output_padding: Sequence[int], groups: int,
) -> Tensor:  # fmt: skip
    if transposed or weight.dim() != 4:
        return torch.ops.aten._convolution(
            input, weight, bias, stride, padding, dilation, transposed, output_padding, groups,
            False, False, True, True,
        )  # fmt: skip
    return ops.conv2d(input, weight, bias, stride, padding, dilation, groups)


_OVERRIDES: dict[str, Callable[..., Any]] = {
    "max_pool2d_with_indices": _max_pool2d,
    "max_pool2d_with_indices_backward": _max_pool2d_backward,
    "avg_pool2d": _avg_pool2d,
    "avg_pool2d_backward": _avg_pool2d_backward,
    "convolution": _convolution,
}
_taken: set[str] = set()
_lock = threading.Lock()


@contextmanager
def override(*names: str) -> Iterator[None]:
    """Within the block, let operators of PyTorch on the CPU run by pydl's kernels.

    It holds for all threads and all code, models that are not ours included. Autograd works on: it
    lies above what is replaced. An operator of one name is overridden once at a time.

    Parameters
    ----------
    *names : str
        Of max_pool2d_with_indices (which `max_pool2d` calls), avg_pool2d, the backward of both by
        the name with _backward, and convolution (two-dimensional ones alone; transposed and others
        stay PyTorch's, as does the gradient); all of them if none is named.

    Raises
    ------
    ValueError for another name; RuntimeError if one is overridden already. Within the block, an
    operator raises TypeError for dtypes other than float32 and float64, and ValueError for the
    divisor_override of avg_pool2d.
    """
    for name in names:
        if name not in _OVERRIDES:
            raise ValueError(f"names: expected some of {', '.join(_OVERRIDES)}, got {name!r}")
    chosen = set(names or _OVERRIDES)
    with _lock:
        if _taken & chosen:
            raise RuntimeError(f"overridden already: {', '.join(sorted(_taken & chosen))}")
        _taken.update(chosen)
    try:
        with torch.library._scoped_library("aten", "IMPL") as library:
            _register(library, chosen)
            yield
    finally:
        with _lock:
            _taken.difference_update(chosen)


def _register(library: torch.library.Library, names: set[str]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*verrid")  # that is what is wanted
        for name in names:
            library.impl(name, _OVERRIDES[name], "CPU")
