"""The generator that initialisation and dropout draw from unless they are given one."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

__all__ = ["default_generator", "get_state", "manual_seed", "set_state"]

default_generator: np.random.Generator  # made when it is first read: numpy.random loads slowly


@functools.cache
def _default() -> np.random.Generator:
    return np.random.default_rng()


def __getattr__(name: str) -> Any:
    if name == "default_generator":
        return _default()
    raise AttributeError(f"module 'pydl.random' has no attribute {name!r}")


def manual_seed(seed: int) -> np.random.Generator:
    """Restart the default generator from a seed, and return it."""
    _default().bit_generator.state = np.random.PCG64(seed).state
    return _default()


def get_state() -> dict[str, Any]:
    """Return the default generator's state."""
    return dict(_default().bit_generator.state)


def set_state(state: dict[str, Any]) -> None:
    """Give the default generator a state from `get_state`."""
    _default().bit_generator.state = state
