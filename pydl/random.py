"""The generator that initialisation and dropout draw from unless they are given one."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["default_generator", "get_state", "manual_seed", "set_state"]

default_generator: np.random.Generator = np.random.default_rng()


def manual_seed(seed: int) -> np.random.Generator:
    """Restart the default generator from a seed, and return it."""
    default_generator.bit_generator.state = np.random.PCG64(seed).state
    return default_generator


def get_state() -> dict[str, Any]:
    """Return the default generator's state."""
    return dict(default_generator.bit_generator.state)


def set_state(state: dict[str, Any]) -> None:
    """Give the default generator a state from `get_state`."""
    default_generator.bit_generator.state = state
