"""Control of the compiled core: threads, instruction set, memory; and where its parts are."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pydl import _pydl_core as _core
from pydl._pydl_core import (
    contiguous,
    copy_into,
    empty,
    empty_cache,
    is_recording,
    isa,
    memory_stats,
)

__all__ = [
    "available_isas",
    "contiguous",
    "copy_into",
    "empty",
    "empty_cache",
    "get_include",
    "get_library",
    "get_num_threads",
    "get_winograd",
    "is_recording",
    "isa",
    "memory_stats",
    "set_num_threads",
    "set_winograd",
    "threads",
    "use_isa",
]

_MOST_THREADS = 1 << 16


def _thread_count(n: object) -> int:
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"n: expected an int, got {type(n).__name__}")
    count = n.__index__()
    if not 1 <= count <= _MOST_THREADS:
        raise ValueError(f"n: expected a number of threads from 1 to {_MOST_THREADS}, got {count}")
    return count


def get_winograd() -> bool:
    """Whether convolutions may choose Winograd's algorithm where none is named."""
    return _core.get_winograd()


def set_winograd(on: bool) -> None:
    """Let the convolutions of the process choose Winograd's algorithm for float32, or not.

    At first they may, unless the environment says PYDL_WINOGRAD=0. A convolution that is called
    with ``algorithm="winograd"`` or ``"direct"`` keeps to that.
    """
    if not isinstance(on, (bool, np.bool_)):
        raise TypeError(f"on: expected a bool, got {type(on).__name__}")
    _core.set_winograd(bool(on))


def get_num_threads() -> int:
    """How many threads a kernel called here and now may use."""
    return _core.get_num_threads()


def set_num_threads(n: int) -> None:
    """Let every kernel of the process use up to n threads; n may exceed the number of CPUs."""
    _core.set_num_threads(_thread_count(n))


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Within the block, and in the thread that entered it, kernels use up to n threads."""
    count = _thread_count(n)
    before = _core.get_scoped_threads()
    _core.set_scoped_threads(count)
    try:
        yield
    finally:
        _core.set_scoped_threads(before)


def available_isas() -> list[str]:
    """The instruction sets that this CPU and build have, best first."""
    return _core.isas()


@contextmanager
def use_isa(name: str) -> Iterator[None]:
    """Within the block every thread's kernels use the named instruction set."""
    before = isa()
    if name not in available_isas():
        raise ValueError(f"name: expected one of {available_isas()}, got {name!r}")
    _core.use_isa(name)
    try:
        yield
    finally:
        _core.use_isa(before)


def get_include() -> str:
    """The folder of ``pydl.h`` and ``pydl_api.h``, for a compiler's ``-I``."""
    return str(Path(__file__).resolve().parent / "include")


def get_library() -> str:
    """The path of the compiled module. It exports the C functions of ``pydl.h``, for ctypes."""
    return str(Path(_core.__file__).resolve())


def _warn_of_environment() -> None:
    """The core heeds its environment variables without a word about what it cannot use."""
    isas = available_isas()
    for name, pattern, expected in (
        ("PYDL_ISA", "|".join(isas), f"one of {', '.join(isas)}"),
        ("PYDL_NUM_THREADS", r"\s*\+?0*[1-9][0-9]*\s*", "a number above 0"),
        ("PYDL_CACHE_LIMIT", r"\s*\+?[0-9]+\s*", "a number of bytes"),
        ("PYDL_WINOGRAD", "0|1", "0 or 1"),
    ):
        value = os.environ.get(name)
        if value and not re.fullmatch(pattern, value):
            warnings.warn(f"{name}: expected {expected}, got {value!r}: ignored", stacklevel=2)


_warn_of_environment()
