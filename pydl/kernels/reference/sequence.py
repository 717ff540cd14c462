"""The order of a recurrence's steps, and which samples take part in each."""

from __future__ import annotations

import numpy as np


def step_order(steps: int, *, reverse: bool) -> range:
    """The times 0 .. T - 1, or T - 1 .. 0."""
    return range(steps - 1, -1, -1) if reverse else range(steps)


def running(t: int, lengths: np.ndarray | None) -> np.ndarray:
    """Which samples are long enough to have a time t: (B,1) of bool, or (1,1) for all."""
    return np.array([[True]]) if lengths is None else (t < lengths)[:, None]


def first_state(given: np.ndarray | None, like: np.ndarray, hidden: int) -> np.ndarray:
    """A copy of the given state (B,H), or zeros; `like` (T,B,...) tells B and the dtype."""
    if given is None:
        return np.zeros((like.shape[1], hidden), like.dtype)
    return np.array(given, order="C")


def state_before(
    t: int, states: np.ndarray, first: np.ndarray, *, reverse: bool, lengths: np.ndarray | None
) -> np.ndarray:
    """The state (B,H) that step t began with: of `states` (T,B,H), or the first one (B,H)."""
    before = t + 1 if reverse else t - 1
    if not 0 <= before < len(states):
        return first
    return np.where(running(before, lengths), states[before], first)
