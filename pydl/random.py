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


def given_or_default(rng: Any) -> np.random.Generator:
    """Return `rng`, or the default generator for None."""
    if rng is None:
        return _default()
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a numpy.random.Generator, got {type(rng).__name__}")
    return rng


def manual_seed(seed: int) -> np.random.Generator:
    """Restart the default generator from a seed of at least 0, and return it."""
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool):
        raise TypeError(f"seed: expected an int, got {type(seed).__name__}")
    if seed < 0:
        raise ValueError(f"seed: expected at least 0, got {seed}")
    _default().bit_generator.state = np.random.PCG64(seed).state
    return _default()


def get_state() -> dict[str, Any]:
    """Return the default generator's state."""
    return dict(_default().bit_generator.state)


def set_state(state: dict[str, Any]) -> None:
    """Give the default generator a state from `get_state`."""
    _default().bit_generator.state = state
