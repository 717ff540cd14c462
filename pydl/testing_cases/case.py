"""What a case is, how one kernel is the gradient of another, and values for arguments."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Arguments = tuple[list[Any], dict[str, Any]]
Make = Callable[..., Arguments]  # (generator, dtype) -> arguments


@dataclass(frozen=True)
class Case:
    """One call of a kernel.

    kernel, name : what is called, and what the case is for
    make : builds the positional arguments and the options
    terms : rounded operations behind one element of the result, for the tolerance; 0 if it is exact
    smooth : whether the kernel has a derivative at these arguments
    """

    kernel: str
    name: str
    make: Make
    terms: int
    smooth: bool = True

    def arguments(self, dtype: Any) -> Arguments:
        """The arguments in `dtype`: the same values at every call, fresh arrays and generators."""
        seed = zlib.crc32(f"{self.kernel} {self.name}".encode())
        return self.make(np.random.default_rng(seed), np.dtype(dtype))

    def __str__(self) -> str:
        return f"{self.kernel}[{self.name}]"


@dataclass(frozen=True)
class Gradient:
    """How `backward` differentiates `forward` with respect to its positional argument `argument`.

    call : (dy, positional arguments of forward, its results, its options) -> arguments of backward;
        one dy for each of the outputs
    outputs : how many of forward's results, from the first, have a gradient
    result : which of backward's results is the one with respect to `argument`
    """

    backward: str
    forward: str
    argument: int
    call: Callable[..., Arguments]
    outputs: int = 1
    result: int = 0


def normal(rng: np.random.Generator, dtype: np.dtype, *shape: int) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape), dtype)


def apart(rng: np.random.Generator, dtype: np.dtype, *shape: int) -> np.ndarray:
    """Values in (-2, 2) that differ from each other and from 0, in random order."""
    size = max(1, int(np.prod(shape)))
    values = (np.arange(size) + 0.5) * 4 / size - 2 + 0.5 / size
    return rng.permutation(values)[: int(np.prod(shape))].reshape(shape).astype(dtype)
