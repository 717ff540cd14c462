"""Checks of the sizes that layers are made with."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["as_sizes", "check_sizes"]


def check_sizes(least: int, **sizes: Any) -> None:
    """Check that every size is an int of at least `least`; errors name it by its keyword."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
            raise TypeError(f"{name}: expected an int, got {type(size).__name__}")
        if size < least:
            raise ValueError(f"{name}: expected at least {least}, got {size}")


def as_sizes(value: Any, count: int | None, name: str) -> tuple[int, ...]:
    """`value` as a tuple of ints: `count` of them, or any number if that is None.

    An int is repeated, or is the only one.
    """
    wanted = "ints" if count is None else f"{count} of them"
    if isinstance(value, (int, np.integer)):
        value = (value,) * (1 if count is None else count)
    if not isinstance(value, Iterable) or isinstance(value, str):
        raise TypeError(f"{name}: expected an int or {wanted}, got {value!r}")
    values = tuple(value)
    if count is not None and len(values) != count:
        raise ValueError(f"{name}: expected an int or {wanted}, got {values}")
    if any(isinstance(v, bool) or not hasattr(v, "__index__") for v in values):
        raise TypeError(f"{name}: expected an int or {wanted}, got {values}")
    return tuple(operator.index(v) for v in values)
