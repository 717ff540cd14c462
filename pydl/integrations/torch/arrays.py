"""Tensors as arrays and back, sharing memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.autograd.forward_ad import unpack_dual

REAL = (torch.float32, torch.float64)


def array(name: str, tensor: torch.Tensor | None) -> Any:
    """The memory of a tensor (or None) as an array with its shape and strides.

    Raises
    ------
    TypeError if the dtype is neither float32 nor float64, ValueError if it is not on the CPU.
    """
    if tensor is None:
        return None
    if tensor.dtype not in REAL:
        raise TypeError(f"{name}: expected torch.float32 or torch.float64, got {tensor.dtype}")
    if unpack_dual(tensor).tangent is not None:
        raise RuntimeError(f"{name}: expected no tangent: pydl has gradients backward only")
    return memory(name, tensor)


def memory(name: str, tensor: torch.Tensor) -> np.ndarray:
    """As `array`, for a tensor of any dtype."""
    if tensor.device.type != "cpu":
        raise ValueError(f"{name}: expected a tensor on the CPU, got one on {tensor.device}")
    if tensor.layout != torch.strided:
        raise ValueError(f"{name}: expected a dense tensor, got layout {tensor.layout}")
    return tensor.numpy(force=True)


def tensor(values: np.ndarray) -> torch.Tensor:
    """A contiguous tensor on an array's memory, which lives as long as the tensor."""
    return torch.from_numpy(np.ascontiguousarray(values))
